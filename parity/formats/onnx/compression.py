"""The compressed weights of an ONNX file: initializers that DequantizeLinear widens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parity.formats.compression import CompressedWeight, blocks_of, granularity

if TYPE_CHECKING:
    from conversion import Artifact

# Whole numbers of more bits hold what fp32 holds, as those of a quantised bias do.
_MOST_BITS = 8


def compressed_weights(artifact: Artifact) -> tuple[CompressedWeight, ...]:
    """Read which weights are quantised, in the order of the file; each is called as the widened value is."""
    import onnx

    graph = onnx.load(str(artifact.path)).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            held.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    widened = [n for n in graph.node if n.op_type == "DequantizeLinear" and all(i in held for i in n.input if i)]
    return tuple(weight for node in widened if (weight := _weight(node, held)))


def _weight(node: Any, held: dict[str, Any]) -> CompressedWeight | None:
    import onnx

    numbers, scale, *rest = (held[name] for name in node.input if name)
    kind = onnx.TensorProto.DataType.Name(numbers.data_type)
    signed = kind.startswith("INT")
    digits = kind.removeprefix("U").removeprefix("INT")
    if not digits.isdigit() or int(digits) > _MOST_BITS:
        return None
    bits, shape = int(digits), tuple(numbers.dims)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    scales = blocks_of(onnx.numpy_helper.to_array(scale), shape, axis)
    zero = blocks_of(onnx.numpy_helper.to_array(rest[0]), shape, axis) if rest else None
    levels = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    words = granularity(scales.shape, shape)
    return CompressedWeight(node.output[0], "linear", bits, words, shape, scale=scales, zero=zero, levels=levels)
