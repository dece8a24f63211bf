"""What is in an ONNX file: its operations with their settings, and the parts that its digest is taken of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.errors import ConversionError
from conversion.files.model_files import messages
from parity.formats.facts import Content
from parity.formats.listing import Operation, as_text

if TYPE_CHECKING:
    from conversion import Artifact


def operations(artifact: Artifact) -> Iterator[Operation]:
    """List the nodes in the order of the file, without constants."""
    import onnx

    path = str(artifact.path)
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's and onnx's own, another class in each version
        raise ConversionError(f"{path}: not an ONNX model ({' '.join(str(error).split())})") from error
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                weights[node.output[0]] = attribute.t
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        attributes: dict[str, str | np.ndarray] = {
            attribute.name: _setting(onnx.helper.get_attribute_value(attribute)) for attribute in node.attribute
        }
        for place, name in enumerate(node.input):
            if name in weights:
                attributes[f"input[{place}]"] = onnx.numpy_helper.to_array(weights[name])
        yield Operation(
            node.op_type, node.name or node.output[0], attributes, tuple(node.input), tuple(node.output)
        )


def _setting(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple) and not any(hasattr(item, "ListFields") for item in value):
        return as_text(list(value))
    # A subgraph, or a tensor: a text of any length.
    return as_text(value.SerializeToString(deterministic=True) if hasattr(value, "SerializeToString") else value)


def content(path: Path) -> Content:
    """Read what facts and digest are taken from, without the notes of converters."""
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's and onnx's own, another class in each version
        raise ConversionError(
            f"{path}: not an ONNX model ({' '.join(str(error).split())}); export it again"
        ) from error
    for note in ("producer_name", "producer_version"):
        model.ClearField(note)
    counts: Counter[str] = Counter()
    weights: set[str] = set()
    for message in messages(model):
        for note in ("doc_string", "metadata_props"):
            if note in message.DESCRIPTOR.fields_by_name:
                message.ClearField(note)
        if isinstance(message, onnx.NodeProto) and message.op_type != "Constant":
            counts[f"{message.domain}::{message.op_type}" if message.domain else message.op_type] += 1
        if isinstance(message, onnx.TensorProto):
            weights |= {entry.value for entry in message.external_data if entry.key == "location"}
    opsets = [f"{entry.domain} {entry.version}".strip() for entry in model.opset_import]
    parts: dict[str, bytes | Path] = {"model": model.SerializeToString(deterministic=True)}
    return Content(f"opset {', '.join(sorted(opsets))}", counts, {**parts, **_beside(path.parent, weights)})


def _beside(home: Path, names: set[str]) -> dict[str, Path]:
    missing = sorted(name for name in names if not (home / name).is_file())
    if missing:
        raise ConversionError(f"{home / missing[0]}: these weights are missing; copy them beside the model")
    return {name: home / name for name in names}
