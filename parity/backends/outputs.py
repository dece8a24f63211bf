"""Which output of a file holds the probabilities, where the file's names do not say it: by type and by shape."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.core.errors import ParityError

if TYPE_CHECKING:
    from conversion import Artifact

# What our own conversions call it, and Core ML's documentation.
WANTED = "classLabelProbs"
_FLOATS = (1, 10, 11)  # TensorProto: FLOAT, FLOAT16, DOUBLE

Shape = tuple[int | None, ...]


def settle_output(artifact: Artifact, classes: int) -> Artifact:
    """Name the one output that has a number for each class, where none has the wanted name; else change nothing.

    Where several fit, or none does, the backends say that they cannot tell.
    """
    try:
        declared, shapes = read_outputs(artifact)
    except ParityError:  # a damaged file, of which the backends say more
        return artifact
    if artifact.output or declared or WANTED in shapes:
        return artifact
    fitting = [name for name, shape in shapes.items() if _fits(shape, classes)]
    return replace(artifact, output=fitting[0]) if len(fitting) == 1 else artifact


def mapping_told(artifact: Artifact) -> str:
    """Say which output was read and why; empty where the file's own names say it."""
    if not artifact.output:
        return ""
    shapes = read_outputs(artifact)[1]
    others = [name for name in shapes if name != artifact.output]
    among = f"; the others are {', '.join(f'`{name}`' for name in others)}" if others else ""
    return (
        f"the output `{artifact.output}` is read as the probabilities, for its shape "
        f"{told_shape(shapes.get(artifact.output, ()))} (none is called {WANTED}{among})"
    )


def shape_told(artifact: Artifact, shape: Shape) -> str:
    """Say of an answer's shape that it has axes which mean nothing; empty where it is [classes] or [N, classes].

    shape: as the file gives it for one batch.
    """
    # A NeuralNetwork's arrays may have five axes of the format's own, sequence and batch among them.
    own = artifact.format == "neuralnetwork" and len(shape) == 5
    if own or len(shape) < 3 or sum(size != 1 for size in shape[1:]) > 1:
        return ""
    classes = max(size or 1 for size in shape[1:])
    return (
        f"the output has the shape {told_shape(shape)}, and is read as [{shape[0]}, {classes}]: an app that "
        "expects [N, classes] must drop the axes of one; let the model end with flatten(1)"
    )


def read_outputs(artifact: Artifact) -> tuple[str, dict[str, Shape]]:
    """Read the name that a classifier declares, empty without one, and the outputs that may hold probabilities.

    Those are the outputs of floats, and dictionaries; name -> shape, None for a size that is open. A dictionary and
    an array whose shape is not in the file have the shape ().
    """
    if artifact.format == "onnx":
        import onnx

        graph = onnx.load(str(artifact.path), load_external_data=False).graph
        floats = [value for value in graph.output if value.type.tensor_type.elem_type in _FLOATS]
        return "", {value.name: _sizes(value) for value in floats}
    from parity.coreml.reading.files import open_model

    description = open_model(artifact.path).specification.description
    kinds = ("multiArrayType", "dictionaryType")
    found = [feature for feature in description.output if feature.type.WhichOneof("Type") in kinds]
    shapes: dict[str, Shape] = {
        str(feature.name): tuple(int(size) for size in feature.type.multiArrayType.shape) for feature in found
    }
    dictionaries = [str(f.name) for f in found if f.type.WhichOneof("Type") == "dictionaryType"]
    alone = dictionaries[0] if len(dictionaries) == 1 else ""
    return str(description.predictedProbabilitiesName) or alone, shapes


def told_shape(shape: Shape) -> str:
    """Write a shape; `?` for a size that is open."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]" if shape else "[?]"


def _fits(shape: Shape, classes: int) -> bool:
    """Say whether an output has a number for each class and nothing else; its first axis counts the images."""
    return len(shape) > 1 and [size for size in shape[1:] if size != 1] == [classes]


def _sizes(value: Any) -> Shape:
    return tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)
