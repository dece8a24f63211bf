"""How large the values of an ONNX file become, worked out before a runtime makes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from parity.core.errors import ParityError
from parity.core.memory import memory_limit, too_large

if TYPE_CHECKING:
    from conversion import Artifact

# Sizes and other numbers that shapes follow from are short; weights are left out of the inference.
_SHORT = 1024


def check_sizes(artifact: Artifact, batch: int) -> None:
    """Raise a ParityError for a file with a value that is too large, as far as ONNX can infer the shapes.

    batch: how many images go in at once, where the file leaves that open. A file that cannot be read passes here:
    the runtimes say more of it.
    """
    import onnx

    model: Any = None
    with suppress(Exception):
        model = onnx.load(str(artifact.path), load_external_data=False)
    if model is None:
        return
    limit = memory_limit()
    kinds = {name: node for graph in _graphs(model.graph) for node in graph.node for name in node.output}
    for name, shape, kind in _shapes(model, batch):
        if trouble := too_large(shape, _bytes(kind), limit):
            node = kinds.get(name)
            what = f"operation `{node.name}` ({node.op_type})" if node else f"the value `{name}`"
            raise ParityError(f"{artifact.path}: {what}: {trouble}")


def _shapes(model: Any, batch: int) -> Iterator[tuple[str, list[int], int]]:
    """Give name, shape and type of every value whose shape is known."""
    import onnx

    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            yield tensor.name, list(tensor.dims), tensor.data_type
            if math.prod(tensor.dims) > _SHORT:
                for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                    tensor.ClearField(field)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name not in weights and sizes and not sizes[0].dim_value:
            sizes[0].dim_value = batch
    inferred = model
    with suppress(Exception):  # a graph that contradicts itself; the runtimes say where
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for graph in _graphs(inferred.graph):
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor_type = value.type.tensor_type
            sizes = [size.dim_value for size in tensor_type.shape.dim]
            if all(size > 0 for size in sizes):
                yield value.name, sizes, tensor_type.elem_type


def _graphs(graph: Any) -> Iterator[Any]:
    """Give a graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)


def _bytes(kind: int) -> float:
    import onnx

    try:
        return float(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except KeyError:  # texts, and what is no tensor
        return 1.0
