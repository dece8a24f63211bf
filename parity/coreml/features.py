"""Between what the caller gives and gets (images, arrays, dictionaries) and the tensors of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from parity.coreml.dtypes import NUMPY, carry, settle, uncarry
from parity.coreml.program import Shape, Value
from parity.errors import CoreMLError

# FeatureTypes.proto: ArrayFeatureType.ArrayDataType.
_ARRAY_DTYPES: Mapping[int, str] = {
    65568: "fp32",
    65600: "fp64",
    131104: "int32",
    65552: "fp16",
    131080: "int8",
}
_GRAYSCALE, _RGB, _BGR, _GRAYSCALE_FP16 = 10, 20, 30, 40


def feed(feature: Any, given: Any, declared: Value, where: str) -> torch.Tensor:
    """Turn one input into its tensor: an image into [1, C, H, W] with values 0..255, an array into its type.

    feature: the FeatureDescription of the model; declared: the input as the graph declares it.
    """
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return settle(_image(feature, given, where), declared.dtype)
    if kind == "multiArrayType":
        return settle(_array(feature, given, declared, where), declared.dtype)
    raise CoreMLError(f"{where}: input `{feature.name}` has the type {kind}, which the evaluator does not take")


def _image(feature: Any, given: Any, where: str) -> torch.Tensor:
    image_type = feature.type.imageType
    wanted = f"{where}: input `{feature.name}` takes a PIL image of {image_type.width} x {image_type.height} pixels"
    if not hasattr(given, "convert"):
        raise CoreMLError(f"{wanted} (width x height), not a {type(given).__name__}")
    if given.size not in _image_sizes(image_type):
        raise CoreMLError(f"{wanted} (width x height), not {given.size[0]} x {given.size[1]}; resize it first")
    gray = image_type.colorSpace in (_GRAYSCALE, _GRAYSCALE_FP16)
    if gray and given.mode == "F":
        pixels = np.asarray(given, dtype=np.float32)
    else:
        pixels = np.asarray(given.convert("L" if gray else "RGB"), dtype=np.float32)
    if gray:
        return torch.from_numpy(pixels.copy())[None, None]
    if image_type.colorSpace == _BGR:
        pixels = pixels[:, :, ::-1]
    # In this order the strides say channels last, also for a batch of one.
    return torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)


def _image_sizes(image_type: Any) -> Any:
    flexibility = image_type.WhichOneof("SizeFlexibility")
    if flexibility == "enumeratedSizes":
        sizes = {(int(s.width), int(s.height)) for s in image_type.enumeratedSizes.sizes}
        return sizes | {(int(image_type.width), int(image_type.height))}
    if flexibility == "imageSizeRange":
        return _SizeRange(image_type.imageSizeRange)
    return {(int(image_type.width), int(image_type.height))}


class _SizeRange:
    """Hold the (width, height) pairs between two bounds; an upper bound below zero means none."""

    def __init__(self, size_range: Any) -> None:
        self.bounds = (size_range.widthRange, size_range.heightRange)

    def __contains__(self, size: tuple[int, int]) -> bool:
        return all(
            b.lowerBound <= side and (b.upperBound < 0 or side <= b.upperBound)
            for side, b in zip(size, self.bounds, strict=True)
        )


def _array(feature: Any, given: Any, declared: Value, where: str) -> torch.Tensor:
    try:
        array = np.asarray(given)
        array = array.astype(NUMPY[declared.dtype]) if array.dtype != NUMPY[declared.dtype] else array
    except (TypeError, ValueError) as error:
        raise CoreMLError(f"{where}: input `{feature.name}` takes an array of {declared.dtype}: {error}") from error
    allowed = (declared.shape, *declared.others)
    if not any(_fits(array.shape, shape) for shape in allowed):
        shapes = " or ".join(
            f"({', '.join('any' if size is None else str(size) for size in shape)})" for shape in allowed
        )
        raise CoreMLError(f"{where}: input `{feature.name}` takes the shape {shapes}, not {array.shape}")
    return carry(array, declared.dtype)


def _fits(found: tuple[int, ...], wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(w in (None, f) for w, f in zip(wanted, found, strict=True))


def answer(feature: Any, value: Any, where: str) -> Any:
    """Turn one output of the graph into what MLModel.predict returns for it on macOS."""
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType":
        dtype = _ARRAY_DTYPES.get(feature.type.multiArrayType.dataType, "fp32")
        return uncarry(_as_declared(feature.type.multiArrayType, value), dtype)
    if kind in ("stringType", "int64Type", "doubleType", "dictionaryType"):
        return value.item() if isinstance(value, torch.Tensor) else value
    if kind == "imageType":
        return _picture(feature.type.imageType, value)
    raise CoreMLError(f"{where}: output `{feature.name}` has the type {kind}, which the evaluator does not give")


def _as_declared(array: Any, value: torch.Tensor) -> torch.Tensor:
    """Give an output the number of axes that the file declares, as macOS does.

    A NeuralNetwork computes [Seq, Batch, C, H, W] where the file declares [C]. Without a declared shape, or with
    another number of elements (a sequence, a batch), all axes stay.
    """
    shape = [int(size) for size in array.shape]
    if shape and len(shape) != value.ndim and torch.Size(shape).numel() == value.numel():
        return value.reshape(shape)
    return value


def _picture(image_type: Any, value: torch.Tensor) -> Any:
    from PIL import Image

    pixels = value.reshape(value.shape[-3:]).detach().numpy()
    if image_type.colorSpace == _GRAYSCALE_FP16:
        return Image.fromarray(pixels[0].astype(np.float32), mode="F")
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    if image_type.colorSpace == _GRAYSCALE:
        return Image.fromarray(rounded[0])
    ordered = rounded[::-1] if image_type.colorSpace == _BGR else rounded
    return Image.fromarray(np.ascontiguousarray(ordered.transpose(1, 2, 0)))
