"""A torchvision transform, v1 or v2 -> the Preprocessing that gives the same pixels, or a refusal of one step.

The steps are followed with a state of what is known so far. A tensor is resized to other pixels than a picture, so
that is refused; a crop may come at any place, as long as it does not have to pad what is normalised already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from conversion.classifier import Interpolation, Preprocessing
from conversion.errors import ConversionError
from conversion.guards.torchvision_guard import torchvision

# Pillow knows one way to take the nearest pixel, torchvision two names for it.
_SAME_FILTER = {"nearest-exact": "nearest"}


@dataclass(frozen=True)
class _State:
    """Hold what the steps so far made of a picture.

    scale: what 1 of the numbers is, in pixels 0..255: 1 as they are in the file, 255 as 0..1.
    statistics: mean and std, once they were applied.
    """

    kind: str = "picture"  # then "bytes", a tensor of uint8, then "floats"
    resize: int | tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    crop: tuple[int, int] | None = None
    scale: float = 1.0
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None


class _UndescribedError(Exception):
    """A step that no Preprocessing describes."""


def preprocessing_of(transform: Any) -> Preprocessing:
    """Describe a torchvision transform: a Compose of v1 or v2, or the preset of a model's weights.

    It begins with a picture and ends with floats [3, height, width]. Resize, CenterCrop, ToTensor, PILToTensor,
    ToImage, ToPureTensor, RGB, ConvertImageDtype, ToDtype, Normalize and Identity are understood.
    Raises ConversionError, which names the step and its place: any other step, a setting of one, or an order that
    makes other pixels than a resize of the picture, a crop and a normalisation.
    """
    torchvision()
    steps = list(_steps(transform))
    state = _State()
    for place, step in enumerate(steps, start=1):
        try:
            state = _after(step, state)
        except _UndescribedError as error:
            raise ConversionError(
                f"transform step {place} of {len(steps)}, {type(step).__name__}, cannot be described by a "
                f"Preprocessing: {error}"
            ) from None
    return _preprocessing(state, len(steps))


def _steps(transform: Any) -> Iterator[Any]:
    """Unfold what holds other steps."""
    import torch

    if type(transform).__name__ == "Compose":
        for step in transform.transforms:
            yield from _steps(step)
    elif isinstance(transform, torch.nn.Sequential | list | tuple):
        for step in transform:
            yield from _steps(step)
    else:
        yield transform


def _after(step: Any, state: _State) -> _State:
    follow = (
        _STEPS.get(type(step).__name__) if type(step).__module__.startswith(("torch.", "torchvision.")) else None
    )
    if follow is None:
        raise _UndescribedError(f"known are {', '.join(_STEPS)}, of torchvision; leave it out or use these")
    return follow(step, state)


def _preprocessing(state: _State, steps: int) -> Preprocessing:
    if state.kind != "floats":
        kind = "tensor of bytes" if state.kind == "bytes" else state.kind
        raise ConversionError(
            f"transform of {steps} steps: it gives a {kind}, not floats; end it with ToTensor(), or "
            "ToDtype(torch.float32, scale=True), and Normalize"
        )
    size = state.crop or state.resize
    if not isinstance(size, tuple):
        raise ConversionError(
            f"transform of {steps} steps: it gives images of different sizes; add CenterCrop(...), or "
            "Resize((height, width))"
        )
    mean, std = state.statistics or ((0.0,) * 3, (1.0,) * 3)
    # A pixel p of 0..255 becomes (p / scale - mean) / std; Preprocessing says the same of p / 255.
    share = state.scale / 255
    return Preprocessing(
        size=size,
        mean=tuple(value * share for value in mean),
        std=tuple(value * share for value in std),
        resize=state.resize,
        interpolation=state.interpolation,
    )


def _resized(step: Any, state: _State) -> _State:
    size = _sides(step.size, single=True)
    if getattr(step, "max_size", None) is not None:
        raise _UndescribedError("max_size limits the longer side")
    return _with_resize(state, size, step.interpolation)


def _with_resize(state: _State, size: Any, interpolation: Any) -> _State:
    if state.kind != "picture":
        raise _UndescribedError(
            "a tensor is resized to other pixels than a picture is; put Resize before ToTensor or ToImage"
        )
    if state.resize is not None or state.crop is not None:
        raise _UndescribedError("it resizes what was resized or cropped before; one Resize, then CenterCrop")
    named = getattr(interpolation, "value", interpolation)
    named = _SAME_FILTER.get(named, named)
    if named not in get_args(Interpolation):
        raise _UndescribedError(f"interpolation {named}; {', '.join(get_args(Interpolation))} are known")
    return replace(state, resize=size, interpolation=named)


def _cropped(step: Any, state: _State) -> _State:
    return _with_crop(state, _sides(step.size))


def _with_crop(state: _State, size: Any) -> _State:
    if state.crop is not None:
        raise _UndescribedError("it crops what was cropped before; leave one out")
    # Black is 0 only as long as no mean was subtracted.
    if state.statistics is not None and not _covers(state.resize, size):
        raise _UndescribedError(
            "it pads a smaller picture after Normalize with what is not black; put it before Normalize"
        )
    return replace(state, crop=size)


def _covers(resize: int | tuple[int, int] | None, crop: tuple[int, int]) -> bool:
    """Say whether every picture is at least as large as the crop."""
    if resize is None:
        return False
    height, width = (resize, resize) if isinstance(resize, int) else resize
    return height >= crop[0] and width >= crop[1]


def _to_floats(step: Any, state: _State) -> _State:
    if state.kind != "picture":
        raise _UndescribedError("it takes a picture, and this is a tensor; use ToDtype(torch.float32, scale=True)")
    return replace(state, kind="floats", scale=255.0)


def _to_bytes(step: Any, state: _State) -> _State:
    return replace(state, kind="bytes") if state.kind == "picture" else state


def _unchanged(step: Any, state: _State) -> _State:
    return state


def _converted(step: Any, state: _State) -> _State:
    return _with_dtype(state, step.dtype, scaled=True)


def _cast(step: Any, state: _State) -> _State:
    return _with_dtype(state, step.dtype, scaled=step.scale)


def _with_dtype(state: _State, dtype: Any, scaled: bool) -> _State:
    import torch

    if dtype == torch.uint8 and state.kind == "bytes":
        return state
    if dtype != torch.float32:
        raise _UndescribedError(f"dtype {dtype}; a module is given torch.float32")
    if state.kind == "picture":
        raise _UndescribedError("it leaves a picture as it is; put PILToTensor or ToImage before it")
    if state.kind == "floats":
        return state
    return replace(state, kind="floats", scale=255.0 if scaled else 1.0)


def _normalised(step: Any, state: _State) -> _State:
    return _with_statistics(state, step.mean, step.std)


def _with_statistics(state: _State, mean: Any, std: Any) -> _State:
    if state.kind != "floats":
        raise _UndescribedError("it takes floats; put ToTensor, or ToDtype(torch.float32, scale=True), before it")
    if state.statistics is not None:
        raise _UndescribedError("it normalises what is normalised already; leave one out")
    return replace(state, statistics=(_numbers(mean), _numbers(std)))


def _preset(step: Any, state: _State) -> _State:
    """The transform that torchvision's weights carry; its steps have the order of their lines here."""
    state = _with_resize(state, _sides(step.resize_size, single=True), step.interpolation)
    state = _to_floats(step, _with_crop(state, _sides(step.crop_size)))
    return _with_statistics(state, step.mean, step.std)


def _sides(size: Any, single: bool = False) -> Any:
    """Return (height, width); single: one number stays one, for the shorter side."""
    sides = tuple(size) if isinstance(size, Iterable) else (size,)
    if len(sides) not in (1, 2) or not all(isinstance(side, int) for side in sides):
        raise _UndescribedError(f"size {size}")
    if len(sides) == 1:
        return sides[0] if single else sides * 2
    return sides


def _numbers(values: Any) -> tuple[float, ...]:
    listed = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(listed, Iterable):
        return (float(listed),) * 3
    numbers = tuple(map(float, listed))
    return numbers * 3 if len(numbers) == 1 else numbers


_STEPS: Mapping[str, Callable[[Any, _State], _State]] = {
    "Resize": _resized,
    "CenterCrop": _cropped,
    "ToTensor": _to_floats,
    "PILToTensor": _to_bytes,
    "ToImage": _to_bytes,
    "ToPureTensor": _unchanged,
    "RGB": _unchanged,
    "ConvertImageDtype": _converted,
    "ToDtype": _cast,
    "Normalize": _normalised,
    "Identity": _unchanged,
    "ImageClassification": _preset,
}
