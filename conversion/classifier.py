"""What is converted: a module that answers logits, the pixels it expects, and the names of its classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf, isfinite, prod
from operator import index
from typing import TYPE_CHECKING, Any, Literal, get_args

from conversion.errors import ConversionError
from conversion.heads import Head, Place, head_of, task_of
from conversion.labels import label_names
from conversion.reference_module import as_reference, remarks_on
from conversion.task import Task

if TYPE_CHECKING:
    import torch

    from conversion.sources.transform_check import OwnTransform

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
CropRounding = Literal["even", "down"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Of an image, as a model takes it or on the way there: 8192x8192. Four of them in fp32 are 3 GiB.
PIXELS_LIMIT = 2**26
_MEANING = {
    "size": "(height, width) in whole pixels, each above 0",
    "resize": "a number for the shorter side, (height, width), each above 0, or None",
}
# 1 / (255 std) is a finite number of fp32 down to here.
_LEAST_STD = 1e-38


@dataclass(frozen=True)
class Preprocessing:
    """Describe the way from a decoded image to the numbers that the module reads.

    size: height and width of the model's input, in pixels.
    mean, std: per channel (RGB), for pixels scaled to 0..1, as torchvision's Normalize takes them. One number each
        stands for one channel: the model takes grey images.
    resize: what torchvision's Resize takes before the crop: one number for the shorter side, or
        (height, width) to stretch; None leaves the image as it is.
    crop_rounding: of half a pixel at the crop's upper left corner: "even" as in torchvision, "down" as in
        transformers.
    A centre crop to `size` follows, padded with black where the image is smaller, as in torchvision.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: int | tuple[int, int] | None = 256
    interpolation: Interpolation = "bilinear"
    crop_rounding: CropRounding = "even"

    def __post_init__(self) -> None:
        # Lists and NumPy numbers, as checkpoints hold them, become what provenance writes and reads back.
        plain = {
            "size": _sides("size", self.size),
            "mean": _per_channel("mean", self.mean),
            "std": _per_channel("std", self.std),
            "resize": None if self.resize is None else _sides("resize", self.resize),
            "interpolation": self.interpolation.value
            if isinstance(self.interpolation, Enum)
            else self.interpolation,
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ConversionError(
                "Preprocessing takes 3 means and 3 stds (red, green, blue), or one of each for grey images, not "
                f"{self.mean} and {self.std}"
            )
        # A buffer of fp32 holds the reciprocal.
        if not all(_LEAST_STD <= s < inf for s in self.std):
            raise ConversionError(f"Preprocessing: every std must be above 0, and finite, got {self.std}")
        if not all(isfinite(m) for m in self.mean):
            raise ConversionError(f"Preprocessing: every mean must be finite, got {self.mean}")
        if any(m > 1 for m in self.mean):
            raise ConversionError(
                f"Preprocessing: mean {self.mean} is for pixels 0..1 (torchvision's convention); "
                "divide values given for 0..255 by 255"
            )
        if not isinstance(self.size, tuple) or len(self.size) != 2:
            raise ConversionError(f"Preprocessing: size is {_MEANING['size']}, got {self.size}")
        if isinstance(self.resize, tuple) and len(self.resize) != 2:
            raise ConversionError(f"Preprocessing: resize is {_MEANING['resize']}, got {self.resize}")
        if self.interpolation not in get_args(Interpolation):
            near = ", ".join(get_args(Interpolation))
            raise ConversionError(f"Preprocessing: interpolation is one of {near}, not {self.interpolation!r}")
        if self.crop_rounding not in get_args(CropRounding):
            raise ConversionError(f"Preprocessing: crop_rounding is even or down, not {self.crop_rounding!r:.60}")

    @property
    def channels(self) -> int:
        """Return 3 for colours, 1 for grey."""
        return len(self.mean)


def _sides(name: str, value: Any) -> Any:
    """Turn a side, or several, into plain numbers of pixels."""
    sides = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    try:
        whole = [0 if isinstance(side, bool) else index(side) for side in sides]
    except TypeError:  # a fraction, text, nothing
        whole = []
    if not whole or min(whole) < 1:
        raise ConversionError(f"Preprocessing: {name} is {_MEANING[name]}, got {value!r:.60}")
    pixels = prod(whole) if len(whole) > 1 else whole[0] ** 2
    if pixels > PIXELS_LIMIT:
        extent = f"{'x'.join(map(str, whole))} pixels" if len(whole) > 1 else f"a side of {whole[0]} pixels"
        raise ConversionError(
            f"Preprocessing: {name} is {extent}, more than the limit of {PIXELS_LIMIT} altogether"
        )
    return tuple(whole) if isinstance(value, Iterable) else whole[0]


def _per_channel(name: str, value: Any) -> tuple[float, ...]:
    """Turn one number for each channel into plain ones."""
    numbers = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else []
    try:
        # float() reads text as well, which a file of settings may hold by mistake.
        if numbers and not any(isinstance(number, str | bytes | bool) for number in numbers):
            return tuple(map(float, numbers))
    except (TypeError, ValueError, OverflowError):
        pass
    raise ConversionError(
        "Preprocessing takes 3 means and 3 stds (red, green, blue), or one of each for grey images, as numbers; "
        f"{name} is {value!r:.60}"
    )


@dataclass(frozen=True, eq=False)
class Model:
    """Hold a PyTorch model of images with what it is for.

    module: takes normalised float images [N, channels, height, width]; what it answers is the task's to say. On a
        GPU, in half precision or compiled it is copied first (conversion.reference_module).
    labels: of the task's classes; empty where it has none.
    """

    name: str
    module: torch.nn.Module
    preprocessing: Preprocessing
    task: Task
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        _check_name(self)
        object.__setattr__(self, "module", as_reference(self.name, self.module))
        object.__setattr__(self, "labels", self.task.labels)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the module is no longer, so that it can be the reference."""
        return remarks_on(self.module)


@dataclass(frozen=True, eq=False)
class Classifier(Model):
    """Hold a PyTorch image classifier with everything that its converted forms must contain.

    module: takes normalised float images [N, channels, height, width] and answers logits [N, classes].
    labels: one unique name per class, in the order of the outputs (see conversion.labels).
    softmax: whether it is `added` by the conversion or `inside` the module, which then answers probabilities. Of
        two labels the module may answer one number, the second's.
    sigmoid: the same, in the place of softmax: each label is then judged by itself.
    output: which of a module's answers counts, a key of a dict or a place in a tuple; None: the only one, or
        `logits`.
    own_transform: what the model's library, or its user, makes of a picture, to be compared with `preprocessing`;
        it decides nothing.
    """

    task: Task = field(init=False)
    labels: tuple[str, ...] = field()
    softmax: Place = "added"
    sigmoid: Place | None = None
    output: str | int | None = None
    own_transform: OwnTransform | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_module(
        cls, module: torch.nn.Module, transform: Any, labels: Sequence[str], name: str = "model"
    ) -> Classifier:
        """Make a classifier of a module and the torchvision transform that its images go through, v1 or v2.

        Raises ConversionError: a step of the transform that no Preprocessing describes.
        """
        from conversion.sources.transform_check import OwnTransform
        from conversion.sources.transforms import preprocessing_of

        own = OwnTransform("torchvision", transform)
        return cls(name, module, preprocessing_of(transform), tuple(labels), own_transform=own)

    def __post_init__(self) -> None:
        _check_name(self)
        object.__setattr__(self, "module", as_reference(self.name, self.module))
        try:
            object.__setattr__(self, "labels", label_names(self.labels))
            head = head_of(self.softmax, self.sigmoid, self.output)
        except ConversionError as error:
            raise ConversionError(f"{self.name}: {error}") from None
        object.__setattr__(self, "task", task_of(self.labels, head))

    @property
    def head(self) -> Head:
        """What follows the module."""
        return head_of(self.softmax, self.sigmoid, self.output)


def _check_name(model: Model) -> None:
    if not isinstance(model.name, str) or not model.name.strip():
        raise ConversionError(f"{type(model).__name__}: name is {model.name!r:.60}; give it a name as text")
