"""What is converted: a module that answers logits, the pixels it expects, and the names of its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from conversion.errors import ConversionError

if TYPE_CHECKING:
    import torch

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Describe the way from a decoded image to the numbers that the module reads.

    size: height and width of the model's input, in pixels.
    mean, std: per channel (RGB), for pixels scaled to 0..1, as torchvision's Normalize takes them.
    resize: what torchvision's Resize takes before the crop: one number for the shorter side, or
        (height, width) to stretch; None leaves the image as it is.
    A centre crop to `size` follows, padded with black where the image is smaller, as in torchvision.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: int | tuple[int, int] | None = 256
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        # Lists and NumPy numbers, as checkpoints hold them, become what provenance writes and reads back.
        for name, plain in (("size", int), ("mean", float), ("std", float), ("resize", int)):
            object.__setattr__(self, name, _plain(getattr(self, name), plain))
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ConversionError(
                f"Preprocessing takes 3 means and 3 stds (red, green, blue), not {self.mean} and {self.std}"
            )
        if not all(s > 0 for s in self.std):
            raise ConversionError(f"Preprocessing: every std must be above 0, got {self.std}")
        if any(m > 1 for m in self.mean):
            raise ConversionError(
                f"Preprocessing: mean {self.mean} is for pixels 0..1 (torchvision's convention); "
                "divide values given for 0..255 by 255"
            )
        if len(self.size) != 2 or not all(side > 0 for side in self.size):
            raise ConversionError(f"Preprocessing: size is (height, width) in pixels, got {self.size}")


def _plain(value: Any, kind: Callable[[Any], Any]) -> Any:
    if value is None:
        return None
    return tuple(kind(one) for one in value) if isinstance(value, Iterable) else kind(value)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Hold a PyTorch image classifier with everything that its converted forms must contain.

    module: takes normalised float images [N, 3, height, width] and answers logits [N, classes];
        softmax is added by the conversion and must not be inside.
    labels: one unique name per class, in the order of the outputs (see conversion.labels).
    """

    name: str
    module: torch.nn.Module
    preprocessing: Preprocessing
    labels: tuple[str, ...]
