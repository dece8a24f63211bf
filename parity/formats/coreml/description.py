"""What a Core ML file says of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from conversion.shapes import coreml_input_shapes, layout_of
from parity.core.errors import ParityError
from parity.coreml.reading.files import open_model
from parity.formats.description import DeclaredInput
from parity.formats.outputs import Shape

if TYPE_CHECKING:
    from conversion import Artifact

# Takes the inputs that are arrays, and whether there are class labels; gives the converter's call.
Call = Callable[[Sequence[str], bool], str]


def declared_input(artifact: Artifact) -> DeclaredInput:
    """Read name and type of the first input."""
    feature = open_model(artifact.path).specification.description.input[0]
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        return DeclaredInput(feature.name, "uint8", image.ColorSpace.Name(image.colorSpace))
    array = feature.type.multiArrayType
    kind = array.ArrayDataType.Name(array.dataType).lower()
    return DeclaredInput(feature.name, kind, layout=layout_of(list(array.shape)))


def read_outputs(artifact: Artifact) -> tuple[str, dict[str, Shape]]:
    """Read the name that a classifier declares, and its arrays and dictionaries."""
    description = open_model(artifact.path).specification.description
    kinds = ("multiArrayType", "dictionaryType")
    features = [feature for feature in description.output if feature.type.WhichOneof("Type") in kinds]
    shapes: dict[str, Shape] = {
        str(feature.name): tuple(int(size) for size in feature.type.multiArrayType.shape) for feature in features
    }
    dictionaries = [str(f.name) for f in features if f.type.WhichOneof("Type") == "dictionaryType"]
    alone = dictionaries[0] if len(dictionaries) == 1 else ""
    return str(description.predictedProbabilitiesName) or alone, shapes


def numbered_classes(artifact: Artifact) -> list[int] | None:
    """Read the class labels of a classifier whose answer is a whole number, in the order of its outputs."""
    description = open_model(artifact.path).specification.description
    kinds = {feature.name: feature.type.WhichOneof("Type") for feature in description.output}
    if kinds.get(description.predictedFeatureName) != "int64Type":
        return None
    from parity.formats import format_of

    edit = format_of(artifact).edit
    return [int(label) for label in edit.labels(edit.read(artifact)) or ()]


def vision_gaps(artifact: Artifact, call: Call) -> str:
    """Say what Vision misses in a file, and what to convert it with; empty where it is a classifier."""
    try:
        description = open_model(artifact.path).specification.description
    except ParityError:  # a damaged file, of which the backends say more
        return ""
    labelled = bool(description.predictedFeatureName)
    arrays = [feature for feature in description.input if feature.type.WhichOneof("Type") != "imageType"]
    if labelled and not arrays:
        return ""
    parts = [
        *(["its input is an array, not an image"] if arrays else []),
        *([] if labelled else ["it has no class labels"]),
    ]
    # An image is one picture, and a dictionary one answer.
    open_batch = any(_takes_several(feature) for feature in arrays)
    lacking = (
        f"to Vision this file is no classifier: {', and '.join(parts)}{', for its batch is open' * open_batch}"
    )
    how = "convert it for one image at a time, with" if open_batch else "pass"
    return f"{lacking}; for an app {how} {call([str(feature.name) for feature in arrays], labelled)}"


def _takes_several(feature: Any) -> bool:
    options = coreml_input_shapes(feature).options
    return any(len(option) == 4 and (option[0].upper is None or option[0].upper > 1) for option in options)
