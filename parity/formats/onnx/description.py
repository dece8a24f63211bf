"""What an ONNX file says of its inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conversion.shapes import layout_of
from parity.formats.description import DeclaredInput
from parity.formats.outputs import Shape

if TYPE_CHECKING:
    from conversion import Artifact

_FLOATS = (1, 10, 11)  # TensorProto: FLOAT, FLOAT16, DOUBLE


def declared_input(artifact: Artifact) -> DeclaredInput:
    """Read name and type of the image."""
    import onnx

    image = image_of(onnx.load(str(artifact.path), load_external_data=False))
    kind = onnx.TensorProto.DataType.Name(image.type.tensor_type.elem_type).lower()
    return DeclaredInput(image.name, kind, layout=layout_of(sizes_of(image)))


def read_outputs(artifact: Artifact) -> tuple[str, dict[str, Shape]]:
    """Read the outputs of floats; the format declares none to be a classifier's."""
    import onnx

    graph = onnx.load(str(artifact.path), load_external_data=False).graph
    floats = [value for value in graph.output if value.type.tensor_type.elem_type in _FLOATS]
    return "", {value.name: sizes_of(value) for value in floats}


def image_of(model: Any) -> Any:
    """Find the input that is no weight, as a ValueInfoProto."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return next(one for one in model.graph.input if one.name not in weights)


def sizes_of(value: Any) -> Shape:
    """Read the shape of a ValueInfoProto."""
    return tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)


def numbered_classes(artifact: Artifact) -> list[int] | None:
    """Read none: the format has no labels."""
    return None


def vision_told(artifact: Artifact) -> str:
    """Say nothing: Vision takes Core ML files alone."""
    return ""
