"""transformers' image processors -> Preprocessing: which settings each class heeds, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conversion.classifier import Interpolation, Preprocessing
from conversion.errors import ConversionError

# Pillow's codes.
_FILTERS: Mapping[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_SUFFIXES = ("Fast", "Pil")


@dataclass(frozen=True)
class _Geometry:
    """Say how the picture becomes as large as the model's input; crop: None where the resize does that alone."""

    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None


@dataclass(frozen=True)
class _Numbers:
    """Say what a pixel 0..255 becomes: (factor * x - offset - mean) / std."""

    factor: float
    offset: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


class _UndescribedError(Exception):
    """A setting that no Preprocessing describes."""


def described(processor: Any, source: str) -> Preprocessing:
    """Describe what an image processor makes of a picture, up to the order of colours.

    source: names the model in errors. Raises ConversionError for a class or a setting that cannot be described.
    """
    kind = _kind(processor)
    try:
        if kind not in _KINDS:
            raise _UndescribedError(f"it prepares images in its own way; {', '.join(sorted(_KINDS))} are known")
        geometry, numbers = (read(processor) for read in _KINDS[kind])
        return _preprocessing(processor, geometry, numbers)
    except _UndescribedError as error:
        raise ConversionError(
            f"{source}: its {kind} cannot be described by a Preprocessing: {error}; wrap the module yourself, in a "
            "Classifier with a Preprocessing of your own"
        ) from None


def flips_colours(processor: Any) -> bool:
    """Say whether an image processor gives blue, green, red."""
    return _kind(processor) == "MobileViTImageProcessor" and bool(processor.do_flip_channel_order)


def _kind(processor: Any) -> str:
    kind = type(processor).__name__
    for suffix in _SUFFIXES:
        kind = kind.removesuffix(suffix)
    return kind


def _preprocessing(processor: Any, geometry: _Geometry, numbers: _Numbers) -> Preprocessing:
    if getattr(processor, "do_pad", None):
        raise _UndescribedError("do_pad")
    size = geometry.crop or geometry.resize
    if not isinstance(size, tuple):
        raise _UndescribedError(
            "it gives images of different sizes (size has no height and width, and do_center_crop is off)"
        )
    code = int(processor.resample) if processor.resample is not None else 2
    if geometry.resize is not None and code not in _FILTERS:
        raise _UndescribedError(f"resample {code}")
    scale = 255 * numbers.factor
    return Preprocessing(
        size=size,
        mean=tuple((mean + numbers.offset) / scale for mean in numbers.mean),
        std=tuple(std / scale for std in numbers.std),
        resize=geometry.resize,
        interpolation=_FILTERS.get(code, "bilinear"),
        crop_rounding="down",
    )


def _plain_geometry(processor: Any) -> _Geometry:
    """Resize to height and width, or the shorter side, then crop."""
    return _Geometry(_resize(processor) if processor.do_resize else None, _crop(processor))


def _convnext_geometry(processor: Any) -> _Geometry:
    """Below 384 crop a share of the shorter side, from there on stretch the whole picture."""
    if not processor.do_resize:
        return _plain_geometry(processor)
    side = _side(_settings(processor.size), "shortest_edge")
    if side is None:
        raise _UndescribedError("size has no shortest_edge")
    if processor.do_center_crop:
        raise _UndescribedError("do_center_crop, beside the crop of crop_pct")
    return _Geometry(int(side / processor.crop_pct) if side < 384 else (side, side), (side, side))


def _levit_geometry(processor: Any) -> _Geometry:
    """Resize the shorter side to 256/224 of what is named."""
    plain = _plain_geometry(processor)
    shorter = int((256 / 224) * plain.resize) if isinstance(plain.resize, int) else plain.resize
    return _Geometry(shorter, plain.crop)


def _plain_numbers(processor: Any) -> _Numbers:
    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    if not processor.do_normalize:
        return _Numbers(factor, 0.0, (0.0,) * 3, (1.0,) * 3)
    return _Numbers(factor, 0.0, _per_channel(processor.image_mean), _per_channel(processor.image_std))


def _unnormalised(processor: Any) -> _Numbers:
    """MobileViT's has mean and std, and heeds neither."""
    return _Numbers(float(processor.rescale_factor) if processor.do_rescale else 1.0, 0.0, (0.0,) * 3, (1.0,) * 3)


def _efficientnet_numbers(processor: Any) -> _Numbers:
    """Perhaps -1 after the factor, and perhaps a second division by std."""
    plain = _plain_numbers(processor)
    offset = 1.0 if processor.do_rescale and processor.rescale_offset else 0.0
    again = _per_channel(processor.image_std) if processor.include_top else (1.0,) * 3
    std = tuple(one * other for one, other in zip(plain.std, again, strict=True))
    return _Numbers(plain.factor, offset, plain.mean, std)


def _resize(processor: Any) -> int | tuple[int, int]:
    size = _settings(processor.size)
    if set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    if set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    raise _UndescribedError(f"size {size}")


def _crop(processor: Any) -> tuple[int, int] | None:
    if not processor.do_center_crop:
        return None
    crop = _settings(processor.crop_size)
    if not {"height", "width"} <= set(crop):
        raise _UndescribedError(f"crop_size {crop}")
    return int(crop["height"]), int(crop["width"])


def _settings(size: Any) -> dict[str, int]:
    return {key: value for key, value in dict(size or {}).items() if value is not None}


def _side(size: Mapping[str, int], key: str) -> int | None:
    return int(size[key]) if key in size else None


def _per_channel(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),) * 3


_Reader = Callable[[Any], Any]
_PLAIN: tuple[_Reader, _Reader] = (_plain_geometry, _plain_numbers)
# By the name of the class: where the picture goes, and what becomes of its numbers.
_KINDS: Mapping[str, tuple[_Reader, _Reader]] = {
    "BeitImageProcessor": _PLAIN,
    "BitImageProcessor": _PLAIN,
    "CLIPImageProcessor": _PLAIN,
    "ConvNextImageProcessor": (_convnext_geometry, _plain_numbers),
    "DeiTImageProcessor": _PLAIN,
    "EfficientNetImageProcessor": (_plain_geometry, _efficientnet_numbers),
    "LevitImageProcessor": (_levit_geometry, _plain_numbers),
    "MobileNetV1ImageProcessor": _PLAIN,
    "MobileNetV2ImageProcessor": _PLAIN,
    "MobileViTImageProcessor": (_plain_geometry, _unnormalised),
    "PvtImageProcessor": _PLAIN,
    "SegformerImageProcessor": _PLAIN,
    "SiglipImageProcessor": _PLAIN,
    "ViTImageProcessor": _PLAIN,
}
