"""PyTorch's arguments as what Core AI's operations read; padding is an operation of its own."""

from __future__ import annotations

from parity.formats.graph import Operation
from parity.formats.translation import Convolution, Pooling, Resize, Settings, Sides, unless_default


def convolution(operation: Operation, wanted: Convolution) -> Settings:
    """Translate a convolution, as far as padding has no part in it."""
    return unless_default(
        operation,
        {
            "stride": (wanted.stride, None),
            "dilation": (wanted.dilation, None),
            "groups": (wanted.groups, None),
        },
    )


def pooling(operation: Operation, wanted: Pooling) -> Settings:
    """Translate a pool; an average is a sum that is divided."""
    settings: dict[str, tuple[object, object]] = {
        "kernel_size": (wanted.kernel, None),
        "stride": (wanted.stride, None),
    }
    if "ceil_mode" in operation.attributes:
        settings["ceil_mode"] = (wanted.ceil, None)
    return unless_default(operation, settings)


def norm(operation: Operation, eps: float) -> Settings:
    """Translate nothing: a norm is folded, or spelled by simple operations."""
    return {}


def leaky_relu(operation: Operation, slope: float) -> Settings:
    """Translate nothing: it is spelled by simple operations."""
    return {}


def elu(operation: Operation, alpha: float) -> Settings:
    """Translate nothing: it is spelled by simple operations."""
    return {}


def gelu(operation: Operation, approximate: str) -> Settings:
    """Translate a GELU."""
    return unless_default(operation, {"approximate": (approximate, "none")})


def clip(operation: Operation, low: float, high: float) -> Settings:
    """Translate nothing: it is spelled by the larger and the smaller of two numbers."""
    return {}


def padding(operation: Operation, mode: str) -> Settings:
    """Translate what surrounds an image."""
    return unless_default(operation, {"padding_mode": (mode, "constant")})


def resize(operation: Operation, wanted: Resize) -> Settings:
    """Translate nothing: the alignment is in numbers of scale and offset."""
    return {}


def epsilon_name(operation: Operation) -> str:
    """Name a norm's setting of epsilon, which no operation has."""
    return "epsilon"


def own_padding(operation: Operation) -> Sides | None:
    """Say that a convolution or a pool itself puts nothing around the image."""
    return 0, 0, 0, 0
