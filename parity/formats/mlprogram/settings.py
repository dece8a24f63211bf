"""PyTorch's arguments as parameters of MIL's operations."""

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
            "groups": (wanted.groups, 1),
        },
    )


def pooling(operation: Operation, wanted: Pooling) -> Settings:
    """Translate a pool."""
    settings = {
        "kernel_sizes": (wanted.kernel, None),
        "strides": (wanted.stride, [1, 1]),
        "ceil_mode": (wanted.ceil, False),
    }
    if wanted.average and (any(wanted.sides) or wanted.ceil):
        settings["exclude_padding_from_average"] = (not wanted.include, False)
    return unless_default(operation, settings) | _padding(operation, wanted.sides)


def norm(operation: Operation, eps: float) -> Settings:
    """Translate a norm."""
    return unless_default(operation, {epsilon_name(operation): (eps, 1e-5)})


def leaky_relu(operation: Operation, slope: float) -> Settings:
    """Translate a leaky ReLU, whose slope has no default."""
    return unless_default(operation, {"alpha": (slope, None)})


def elu(operation: Operation, alpha: float) -> Settings:
    """Translate an ELU, whose alpha has no default."""
    return unless_default(operation, {"alpha": (alpha, None)})


def gelu(operation: Operation, approximate: str) -> Settings:
    """Translate a GELU."""
    mode = "TANH_APPROXIMATION" if approximate == "tanh" else "EXACT"
    return unless_default(operation, {"mode": (mode, "EXACT")})


def clip(operation: Operation, low: float, high: float) -> Settings:
    """Translate a hardtanh; relu6, which is one too, has no settings."""
    return {"alpha": low, "beta": high} if operation.type == "clip" else {}


def padding(operation: Operation, mode: str) -> Settings:
    """Translate what surrounds an image."""
    return unless_default(operation, {"mode": (mode, "constant")})


def resize(operation: Operation, wanted: Resize) -> Settings:
    """Translate an upsampling."""
    if operation.type != "upsample_bilinear":
        return {}
    return unless_default(operation, {"align_corners": (wanted.align_corners, True)})


def epsilon_name(operation: Operation) -> str:
    """Name a norm's setting of epsilon."""
    return "epsilon"


def own_padding(operation: Operation) -> Sides | None:
    """Read what a convolution or a pool itself puts around the image."""
    kind = operation.attributes.get("pad_type", "valid")
    if kind not in ("custom", "valid"):
        return None
    numbers = whole_numbers(operation.attributes.get("pad", "")) if kind == "custom" else [0] * 4
    top, bottom, left, right = numbers
    return top, bottom, left, right


def _padding(operation: Operation, sides: Sides) -> Settings:
    kind = operation.attributes.get("pad_type", "valid")
    if kind == "custom":
        return {"pad": list(sides)}
    return {"pad_type": "custom", "pad": list(sides)} if any(sides) and kind == "valid" else {}
