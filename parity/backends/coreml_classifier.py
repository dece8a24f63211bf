"""What both Core ML backends share: which input is the image, and which outputs are the classifier's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends import OutputNotFoundError, pick_output
from parity.errors import ParityError
from parity.results import Prediction

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict


def classifier_predictions(
    artifact: Artifact, description: Any, run: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Predict:
    """Make a Predict of a Core ML classifier: feed its image input, read its label and its dictionary.

    description: ModelDescription of Model.proto; run: what MLModel.predict is. A model that is no classifier but
    has one output [1, classes] is read by position.
    """
    feature = _only_input(artifact, description)
    named: str = description.predictedFeatureName
    probabilities: str = description.predictedProbabilitiesName or _probabilities_output(artifact, description)

    def predict(pixels: np.ndarray) -> Prediction:
        answers = [run({feature.name: _fed(feature, picture)}) for picture in pixels]
        first = answers[0][probabilities]
        if not isinstance(first, dict):
            return Prediction(np.stack([np.asarray(answer[probabilities]).reshape(-1) for answer in answers]))
        labels = tuple(first)
        rows = [[answer[probabilities][label] for label in labels] for answer in answers]
        top1 = tuple(str(answer[named]) for answer in answers) if named else None
        return Prediction(np.array(rows), tuple(str(label) for label in labels), top1)

    return predict


def _only_input(artifact: Artifact, description: Any) -> Any:
    if len(description.input) != 1:
        names = ", ".join(feature.name for feature in description.input) or "none"
        raise ParityError(f"{artifact.path}: a classifier takes one image; this model takes {names}")
    return description.input[0]


def _probabilities_output(artifact: Artifact, description: Any) -> str:
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


def _fed(feature: Any, picture: np.ndarray) -> Any:
    if feature.type.WhichOneof("Type") == "imageType":
        from PIL import Image

        return Image.fromarray(picture)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None]).astype(np.float32)
