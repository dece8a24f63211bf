"""Between what the caller gives and gets (images, arrays, dictionaries) and the tensors of the graph.

What macOS returns is the word of coremlpython/CoreMLPythonUtils.mm in the coremltools repository: arrays of fp16 as
float32, colour images as RGBA, float16 images in the mode F.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from conversion.errors import ImageError
from conversion.files.image_formats import check_format
from parity.core.errors import CoreMLError
from parity.core.memory import too_large
from parity.coreml.dtypes import NUMPY, carry, settle, uncarry
from parity.coreml.program import Value
from parity.coreml.shapes import core_ml_words, default_shape, fits, image_sizes, name_shapes, name_sizes

# FeatureTypes.proto: ArrayFeatureType.ArrayDataType; 0 is a type that the file leaves open.
_ARRAY_DTYPES: Mapping[int, str] = {
    0: "fp32",
    65568: "fp32",
    65600: "fp64",
    131104: "int32",
    65552: "fp16",
    131080: "int8",
}
_GRAYSCALE, _RGB, _BGR, _GRAYSCALE_FP16 = 10, 20, 30, 40
_CHANNELS = {_GRAYSCALE: 1, _RGB: 3, _BGR: 3, _GRAYSCALE_FP16: 1}
_GRAY_MODES = ("L", "1", "RGB", "RGBA")
_COLOUR_MODES = (*_GRAY_MODES, "P", "LA", "CMYK", "YCbCr", "HSV", "LAB")


def feed(feature: Any, value: Any, declared: Value, where: str) -> torch.Tensor:
    """Turn one input into its tensor: an image into [1, C, H, W] with values 0..255, an array into its type.

    feature: the FeatureDescription of the model; declared: the input as the graph declares it.
    """
    kind = feature.type.WhichOneof("Type")
    try:
        check_format(value)
    except ImageError as error:
        raise CoreMLError(f"{where}: input `{feature.name}`: {error}") from error
    if kind == "imageType":
        return settle(_image(feature, value, declared, where), declared.dtype)
    if kind == "multiArrayType":
        return settle(_array(feature, value, declared, where), declared.dtype)
    raise CoreMLError(f"{where}: input `{feature.name}` has the type {kind}, which the evaluator does not take")


def feed_default(feature: Any, declared: Value, where: str) -> torch.Tensor:
    """Make an optional input that the caller leaves out: the file's default in the default shape, else zeros."""
    array = feature.type.multiArrayType
    if feature.type.WhichOneof("Type") != "multiArrayType":
        raise CoreMLError(f"{where}: the input `{feature.name}` is missing, and only an array may have a default")
    field = array.WhichOneof("defaultOptionalValue")
    value = getattr(array, field) if field else 0
    shape = default_shape(array)
    if fits((), declared.shape):
        shape = ()
    try:
        # A view of one number: the default shape of a damaged file may be any size.
        whole = np.broadcast_to(np.float64(value), shape)
    except ValueError as error:
        raise CoreMLError(
            f"{where}: the input `{feature.name}` is missing, and its default shape {shape} is none; "
            "give the input, or convert again"
        ) from error
    return feed(feature, whole, declared, where)


def _image(feature: Any, image: Any, declared: Value, where: str) -> torch.Tensor:
    image_type = feature.type.imageType
    sizes = image_sizes(image_type)
    wanted = f"{where}: input `{feature.name}` takes images of {name_sizes(sizes)} (width x height)"
    if not hasattr(image, "convert"):
        raise CoreMLError(f"{wanted} from PIL, not a {type(image).__name__}")
    if not any(fits(image.size, size) for size in sizes):
        raise CoreMLError(f"{wanted}, not {image.size[0]} x {image.size[1]}; resize it first")
    pixels = _pixels(image, image_type.colorSpace, wanted)
    # In this order the strides say channels last, also for a batch of one.
    x = pixels[None, None] if pixels.ndim == 2 else pixels[None].permute(0, 3, 1, 2)
    if not fits(x.shape, declared.shape):
        raise CoreMLError(
            f"{wanted}, which make the shape {tuple(x.shape)}, but the model computes with "
            f"{name_shapes([declared.shape])}; the file is damaged, convert again"
        )
    return x


def _pixels(image: Any, space: int, wanted: str) -> torch.Tensor:
    """Return the pixels of a PIL image in this colour space, [H, W] or [H, W, 3]; memory of its own."""
    if space == _GRAYSCALE_FP16 and image.mode == "F":
        with np.errstate(over="ignore"):
            return torch.from_numpy(np.asarray(image, np.float32).astype(np.float16).astype(np.float32))
    gray = space in (_GRAYSCALE, _GRAYSCALE_FP16)
    modes = _GRAY_MODES if gray else _COLOUR_MODES
    if image.mode not in modes:
        # PIL would cut 16-bit and float pixels off at 255 without a word.
        raise CoreMLError(f"{wanted} in a mode of 8 bits ({', '.join(modes)}), not {image.mode}; convert it first")
    mode = "L" if gray else "RGB"
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    return torch.from_numpy(pixels[:, :, ::-1].copy() if space == _BGR else pixels).to(torch.float32)


def _array(feature: Any, value: Any, declared: Value, where: str) -> torch.Tensor:
    wanted = f"{where}: input `{feature.name}` takes"
    described = _array_dtype(feature, where)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CoreMLError(f"{wanted} an array of {described}: {error}") from error
    if array.dtype.kind not in "biuf":
        raise CoreMLError(f"{wanted} an array of {described}, not of {array.dtype}")
    allowed = (declared.shape, *declared.others)
    # A single number has no axes, or one in the description, and in Python as it comes.
    if array.size == 1 and array.ndim < 2 and declared.shape in ((), (1,)):
        array = array.reshape([1] * len(declared.shape))
    if not any(fits(array.shape, shape) for shape in allowed):
        words = core_ml_words(array.shape, allowed)
        quoted = f" (Core ML says: {words})" if words else ""
        raise CoreMLError(f"{wanted} the shape {name_shapes(allowed)}, not {array.shape}{quoted}")
    if excess := too_large(array.shape, NUMPY[declared.dtype].itemsize):
        raise CoreMLError(f"{where}: input `{feature.name}`: {excess}")
    try:
        # What is too large for the type becomes infinite, as in a conversion on a device.
        with np.errstate(all="ignore"):
            return carry(array.astype(NUMPY[described], copy=False), declared.dtype)
    except MemoryError as error:
        raise CoreMLError(f"{wanted} the shape {array.shape}, for which memory does not suffice") from error


def _array_dtype(feature: Any, where: str) -> str:
    number = feature.type.multiArrayType.dataType
    if number not in _ARRAY_DTYPES:
        raise CoreMLError(
            f"{where}: `{feature.name}` has the unknown array type {number}; known are {sorted(_ARRAY_DTYPES)}"
        )
    return _ARRAY_DTYPES[number]


def answer(feature: Any, value: Any, where: str) -> Any:
    """Turn one output of the graph into what MLModel.predict returns for it on macOS; memory of its own."""
    kind = feature.type.WhichOneof("Type")
    output = f"{where}: output `{feature.name}`"
    if value is None:
        raise CoreMLError(f"{output}: nothing that ran gave it")
    if kind == "multiArrayType" and isinstance(value, torch.Tensor):
        dtype = _array_dtype(feature, where)
        described = _as_described(feature.type.multiArrayType, value)
        rounded = settle(described, dtype) if dtype == "fp16" else described
        return np.array(uncarry(rounded, "fp32" if dtype == "fp16" else dtype))
    if kind == "imageType" and isinstance(value, torch.Tensor):
        return _picture(feature.type.imageType, value, output)
    if kind in ("int64Type", "doubleType") and isinstance(value, torch.Tensor) and value.numel() == 1:
        return int(value.item()) if kind == "int64Type" else float(value.item())
    plain = {"stringType": str, "int64Type": int, "dictionaryType": dict}.get(str(kind))
    if plain is not None and isinstance(value, plain):
        return value
    tensor = isinstance(value, torch.Tensor)
    computed = f"a tensor of the shape {tuple(value.shape)}" if tensor else f"a {type(value).__name__}"
    raise CoreMLError(f"{output} has the type {kind}, but the model computes {computed}; convert again")


def _as_described(array: Any, value: torch.Tensor) -> torch.Tensor:
    """Give an output the number of axes that the file describes, and at least one, as macOS does.

    A NeuralNetwork computes [Seq, Batch, C, H, W] where the file says [C]. Without a described shape, or with
    another number of elements (a sequence, a batch), all axes stay.
    """
    shape = [int(size) for size in array.shape] or ([1] if value.ndim == 0 else [])
    if shape and len(shape) != value.ndim and torch.Size(shape).numel() == value.numel():
        return value.reshape(shape)
    return value


def _picture(image_type: Any, value: torch.Tensor, output: str) -> Any:
    from PIL import Image

    channels = _CHANNELS.get(image_type.colorSpace)
    if value.ndim < 3 or value.shape[-3] != channels or value.shape[:-3].numel() != 1:
        raise CoreMLError(
            f"{output} is an image of {channels or 'unknown'} channel(s), but the model computes the shape "
            f"{tuple(value.shape)}; convert again"
        )
    pixels = np.nan_to_num(value.reshape(value.shape[-3:]).numpy(), nan=0, posinf=np.inf, neginf=-np.inf)
    if image_type.colorSpace == _GRAYSCALE_FP16:
        return Image.fromarray(settle(torch.from_numpy(pixels[0]), "fp16").numpy())
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    if channels == 1:
        return Image.fromarray(rounded[0])
    ordered = rounded[::-1] if image_type.colorSpace == _BGR else rounded
    opaque = np.full_like(rounded[:1], 255)
    return Image.fromarray(np.ascontiguousarray(np.concatenate([ordered, opaque]).transpose(1, 2, 0)))
