"""PyTorch's arguments as attributes of ONNX's operators."""

from __future__ import annotations

from parity.formats.graph import Operation
from parity.formats.translation import (
    Convolution,
    Pooling,
    Resize,
    Settings,
    Sides,
    unless_default,
    whole_numbers,
)


def convolution(operation: Operation, wanted: Convolution) -> Settings:
    """Translate a convolution."""
    return _padding(operation, wanted.sides) | unless_default(
        operation,
        {
            "strides": (wanted.stride, [1, 1]),
            "dilations": (wanted.dilation, [1, 1]),
            "group": (wanted.groups, 1),
        },
    )


def pooling(operation: Operation, wanted: Pooling) -> Settings:
    """Translate a pool."""
    settings = {
        "kernel_shape": (wanted.kernel, None),
        "strides": (wanted.stride, [1, 1]),
        "ceil_mode": (int(wanted.ceil), 0),
    }
    if wanted.average and (any(wanted.sides) or wanted.ceil):
        settings["count_include_pad"] = (int(wanted.include), 0)
    return unless_default(operation, settings) | _padding(operation, wanted.sides)


def norm(operation: Operation, eps: float) -> Settings:
    """Translate a norm in evaluation mode."""
    settings = unless_default(operation, {"epsilon": (eps, 1e-5)})
    if operation.type == "BatchNormalization":
        settings |= unless_default(operation, {"training_mode": (0, 0)})
    return settings


def leaky_relu(operation: Operation, slope: float) -> Settings:
    """Translate a leaky ReLU."""
    return unless_default(operation, {"alpha": (slope, 0.01)})


def elu(operation: Operation, alpha: float) -> Settings:
    """Translate an ELU."""
    return unless_default(operation, {"alpha": (alpha, 1.0)})


def gelu(operation: Operation, approximate: str) -> Settings:
    """Translate a GELU."""
    return unless_default(operation, {"approximate": (approximate, "none")})


def clip(operation: Operation, low: float, high: float) -> Settings:
    """Translate a hardtanh, where the bounds are attributes: later opsets have them as inputs."""
    return {"min": low, "max": high} if {"min", "max"} & set(operation.attributes) else {}


def padding(operation: Operation, mode: str) -> Settings:
    """Translate what surrounds an image."""
    return unless_default(operation, {"mode": ("edge" if mode == "replicate" else mode, "constant")})


def resize(operation: Operation, wanted: Resize) -> Settings:
    """Translate an upsampling."""
    able = ("align_corners",) if wanted.align_corners else ("half_pixel", "pytorch_half_pixel")
    coordinates = operation.attributes.get("coordinate_transformation_mode", "half_pixel")
    settings: dict[str, tuple[object, object]] = {
        "mode": ("cubic" if wanted.cubic else "linear", "nearest"),
        "antialias": (int(wanted.smooth), 0),
        "coordinate_transformation_mode": (coordinates if coordinates in able else able[0], "half_pixel"),
    }
    if wanted.cubic:
        settings["cubic_coeff_a"] = (-0.5 if wanted.smooth else -0.75, -0.75)
    return unless_default(operation, settings)


def epsilon_name(operation: Operation) -> str:
    """Name a norm's setting of epsilon."""
    return "epsilon"


def own_padding(operation: Operation) -> Sides | None:
    """Read what a convolution or a pool itself puts around the image."""
    if operation.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    top, left, bottom, right = whole_numbers(operation.attributes.get("pads", "[0, 0, 0, 0]"))
    return top, bottom, left, right


def _padding(operation: Operation, sides: Sides) -> Settings:
    top, bottom, left, right = sides
    automatic = operation.attributes.get("auto_pad", "NOTSET")
    if automatic not in ("NOTSET", "VALID") or (automatic == "VALID" and any(sides)):
        return {"auto_pad": None, "pads": [top, left, bottom, right]}
    return unless_default(operation, {"pads": ([top, left, bottom, right], [0, 0, 0, 0])})
