"""What both Core ML backends share: which input is the image, and which outputs are the classifier's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.images import to_picture
from conversion.shapes import coreml_input_shapes
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.formats.bound import bound_predictions
from parity.formats.feeding import answers, as_array
from parity.formats.outputs import OutputNotFoundError, pick_output

if TYPE_CHECKING:
    from conversion import Artifact


def classifier_predictions(
    artifact: Artifact, description: Any, run: Callable[[Mapping[str, Any]], Mapping[str, Any]], batch: int
) -> Callable[[np.ndarray], Prediction]:
    """Make a Predict of a Core ML classifier: feed its image input, read its label and its dictionary.

    description: ModelDescription of Model.proto; run: what MLModel.predict is; batch: images that go in at once.
    A model that is no classifier but has one output [N, classes] is read by position.
    """
    feature = _only_input(artifact, description)
    named: str = description.predictedFeatureName
    accepted = coreml_input_shapes(feature, artifact.contract.layout)

    def once(pixels: np.ndarray) -> Mapping[str, Any]:
        return run({feature.name: fed(artifact, feature, pixels)})

    if artifact.bound:
        return bound_predictions(artifact, accepted, [str(one.name) for one in description.output], once, batch)
    probabilities = _probabilities_output(artifact, description)
    names = artifact.contract.names

    def name(label: Any) -> str:
        return names[label] if isinstance(label, int) and 0 <= label < len(names) else str(label)

    def predict(pixels: np.ndarray) -> Prediction:
        batches = list(answers(artifact, accepted, pixels, batch, once))
        first = batches[0][0][probabilities]
        if not isinstance(first, dict):
            arrays = [np.asarray(answer[probabilities]).reshape(batch, -1)[:count] for answer, count in batches]
            rows = artifact.contract.finish(np.concatenate(arrays))
            return Prediction(rows, _labels(artifact), answer_shape=np.shape(first))
        labels = tuple(first)
        rows = np.array([[answer[probabilities][label] for label in labels] for answer, _ in batches])
        top1 = tuple(name(answer[named]) for answer, _ in batches) if named else None
        return Prediction(artifact.contract.finish(rows), tuple(name(label) for label in labels), top1)

    return predict


def _only_input(artifact: Artifact, description: Any) -> Any:
    if len(description.input) != 1:
        names = ", ".join(feature.name for feature in description.input) or "none"
        raise ParityError(f"{artifact.path}: a classifier takes one image; this model takes {names}")
    wanted = artifact.contract.input
    if wanted and wanted != description.input[0].name:
        raise ParityError(
            f"{artifact.path}: no input is called `{wanted}`; this model takes {description.input[0].name}"
        )
    return description.input[0]


def _probabilities_output(artifact: Artifact, description: Any) -> str:
    declared = str(description.predictedProbabilitiesName)
    names = [str(feature.name) for feature in description.output]
    if artifact.output in names:
        return artifact.output
    if declared in names:
        return declared
    if declared:
        raise OutputNotFoundError(
            f"{artifact.path}: predictedProbabilitiesName is {declared}, and no output is called so; "
            f"the outputs are {', '.join(names)}"
        )
    dictionaries = [str(f.name) for f in description.output if f.type.WhichOneof("Type") == "dictionaryType"]
    if len(dictionaries) == 1:
        return dictionaries[0]
    shapes: dict[str, tuple[int | None, ...]] = {
        f.name: tuple(f.type.multiArrayType.shape) or (None, None)
        for f in description.output
        if f.type.WhichOneof("Type") == "multiArrayType"
    }
    if not shapes:
        raise OutputNotFoundError(f"{artifact.path}: no output holds probabilities")
    return pick_output(shapes, artifact, "classLabelProbs")


def fed(artifact: Artifact, feature: Any, pixels: np.ndarray) -> Any:
    """Make what an input takes of the pixels of a batch, uint8 [N, H, W, C], by the file's contract.

    An image is pixels, whatever the contract says: Core ML has no other.
    """
    if feature.type.WhichOneof("Type") == "imageType":
        return to_picture(pixels[0])
    return as_array(artifact, pixels, list(feature.type.multiArrayType.shape))


def _labels(artifact: Artifact) -> tuple[str, ...] | None:
    """Return the labels of a file whose format has no place for them where the output is an array."""
    return artifact.provenance.labels or None if artifact.provenance else None
