"""PyTorch's arguments as fields of NeuralNetwork.proto's layers."""

from __future__ import annotations

from parity.formats.graph import Operation
from parity.formats.translation import (
    Convolution,
    Pooling,
    Resize,
    Settings,
    Sides,
    unless_default,
)

# Norms, in lower case -> where each has its epsilon.
_EPSILONS = {"batchnorm": "batchnorm.epsilon", "layernormalization": "layerNormalization.eps"}
_EDGES = ("[0].startEdgeSize", "[0].endEdgeSize", "[1].startEdgeSize", "[1].endEdgeSize")


def convolution(operation: Operation, wanted: Convolution) -> Settings:
    """Translate a convolution."""
    settings = unless_default(
        operation,
        {"convolution.stride": (wanted.stride, [1, 1]), "convolution.dilationFactor": (wanted.dilation, [1, 1])},
    )
    return settings | _padding(operation, "convolution", wanted.sides)


def pooling(operation: Operation, wanted: Pooling) -> Settings:
    """Translate a pool."""
    settings: dict[str, tuple[object, object]] = {
        "pooling.kernelSize": (wanted.kernel, [3, 3]),
        "pooling.stride": (wanted.stride, [1, 1]),
    }
    if wanted.average and any(wanted.sides):
        settings["pooling.avgPoolExcludePadding"] = (not wanted.include, False)
    return unless_default(operation, settings) | _padding(operation, "pooling", wanted.sides)


def norm(operation: Operation, eps: float) -> Settings:
    """Translate a norm, of those that are a batchnorm's layer."""
    return unless_default(operation, {_EPSILONS["batchnorm"]: (eps, 1e-5)})


def leaky_relu(operation: Operation, slope: float) -> Settings:
    """Translate a leaky ReLU."""
    return unless_default(operation, {"activation.leakyReLU.alpha": (slope, None)})


def elu(operation: Operation, alpha: float) -> Settings:
    """Translate an ELU."""
    return unless_default(operation, {"activation.ELU.alpha": (alpha, None)})


def gelu(operation: Operation, approximate: str) -> Settings:
    """Translate nothing: the converter writes a GELU as its single operations."""
    return {}


def clip(operation: Operation, low: float, high: float) -> Settings:
    """Translate nothing: the bounds are not looked at."""
    return {}


def padding(operation: Operation, mode: str) -> Settings:
    """Translate what surrounds an image: here the kind of a layer's field, which is no setting."""
    return {}


def resize(operation: Operation, wanted: Resize) -> Settings:
    """Translate nothing: the mode is not looked at."""
    return {}


def epsilon_name(operation: Operation) -> str:
    """Name a norm's setting of epsilon."""
    return _EPSILONS.get(operation.type.lower(), "epsilon")


def own_padding(operation: Operation) -> Sides | None:
    """Read what a convolution or a pool itself puts around the image."""
    start = f"{'convolution' if 'conv' in operation.type else 'pooling'}.valid.paddingAmounts.borderAmounts"
    top, bottom, left, right = (int(operation.attributes.get(f"{start}{edge}", "0")) for edge in _EDGES)
    return top, bottom, left, right


def _padding(operation: Operation, kind: str, sides: Sides) -> Settings:
    start = f"{kind}.valid.paddingAmounts.borderAmounts"
    if not any(name.startswith(f"{kind}.valid") for name in operation.attributes):
        return {}
    return {
        f"{start}{edge}": size
        for edge, size in zip(_EDGES, sides, strict=True)
        if size or f"{start}{edge}" in operation.attributes
    }
