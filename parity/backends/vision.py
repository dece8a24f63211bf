"""Whether a Core ML file is a classifier to Vision, which is what an app asks it through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conversion.shapes import coreml_input_shapes
from parity.core.errors import ParityError

if TYPE_CHECKING:
    from conversion import Artifact


def vision_told(artifact: Artifact) -> str:
    """Say what Vision misses in a file, and what to convert it with; empty where it is a classifier, and for ONNX.

    VNCoreMLRequest gives a model images, and answers VNClassificationObservation only where it has class labels.
    """
    if artifact.format == "onnx":
        return ""
    from parity.coreml.reading.files import open_model

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
    told = f"to Vision this file is no classifier: {', and '.join(parts)}{', for its batch is open' * open_batch}"
    how = "convert it for one image at a time, with" if open_batch else "pass"
    names = [str(feature.name) for feature in arrays]
    return f"{told}; for an app {how} {_call(artifact, names, labelled)}"


def _takes_several(feature: Any) -> bool:
    options = coreml_input_shapes(feature).options
    return any(len(option) == 4 and (option[0].upper is None or option[0].upper > 1) for option in options)


def _call(artifact: Artifact, arrays: list[str], labelled: bool) -> str:
    """Write the call that makes an image of each input that is an array, and names the classes."""
    if artifact.format == "mlprogram":
        images = ", ".join(f'ct.ImageType(name="{name}", shape=...)' for name in arrays)
        inputs = [f"inputs=[{images}]"] if arrays else []
        labels = [] if labelled else ["classifier_config=ct.ClassifierConfig(labels)"]
        return f"ct.convert(..., {', '.join([*inputs, *labels])})"
    listed = ", ".join(f'"{name}"' for name in arrays)
    inputs = [f"image_input_names=[{listed}]"] if arrays else []
    labels = [] if labelled else ['mode="classifier"', "class_labels=labels"]
    return f"onnx_coreml.convert(..., {', '.join([*labels, *inputs])})"
