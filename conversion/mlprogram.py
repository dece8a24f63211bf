"""PyTorch -> ML Program (.mlpackage) with coremltools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.artifact import Precision
from conversion.deployed import deployed_module, example_pixels, without_mha_fastpath
from conversion.guards.quiet import import_coremltools
from conversion.provenance import KEY, Provenance
from conversion.shapes import OpenAxes

if TYPE_CHECKING:
    from conversion.classifier import Classifier

PREDICTED, PROBABILITIES = "classLabel", "classLabelProbs"


def convert_mlprogram(
    classifier: Classifier, path: Path, provenance: Provenance, opened: OpenAxes, precision: Precision
) -> None:
    """Convert by TorchScript tracing; image in, `classLabel` and `classLabelProbs` out.

    With an open batch the input is an array [N, 3, H, W] of pixels 0..255, and the one output `classLabelProbs` is
    [N, classes]: Core ML's image is one picture, and its classifier's dictionary one answer.
    """
    ct = import_coremltools()
    example = example_pixels(classifier)
    model = ct.convert(
        _trace(deployed_module(classifier), example),
        **(_several(ct, classifier, opened) if opened.batch else _single(ct, classifier, opened)),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
        # Apple's runtime would compile the model here, on a Mac; the backends do that when they load it.
        skip_model_load=True,
    )
    specification = model.get_spec()
    if dictionary := specification.description.predictedProbabilitiesName:
        # coremltools calls it after the predicted feature; users of the classic recipe know this name.
        ct.utils.rename_feature(specification, dictionary, PROBABILITIES)
    specification.description.metadata.userDefined[KEY] = provenance.to_json()
    ct.models.MLModel(specification, weights_dir=model.weights_dir, skip_model_load=True).save(str(path))


def _single(ct: Any, classifier: Classifier, opened: OpenAxes) -> dict[str, Any]:
    """Say what coremltools is to make of a classifier of one image."""
    height, width = classifier.preprocessing.size
    shape: Any = (1, 3, height, width)
    if opened.sizes:
        shape = ct.EnumeratedShapes([(1, 3, *size) for size in opened.sizes], default=shape)
    elif opened.height and opened.width:
        ends = ((opened.height, height), (opened.width, width))
        shape = ct.Shape((1, 3, *(ct.RangeDim(*bounds, default=own) for bounds, own in ends)))
    return {
        "inputs": [ct.ImageType(name="image", shape=shape, color_layout=ct.colorlayout.RGB)],
        "classifier_config": ct.ClassifierConfig(list(classifier.labels), predicted_feature_name=PREDICTED),
    }


def _several(ct: Any, classifier: Classifier, opened: OpenAxes) -> dict[str, Any]:
    """Say what coremltools is to make of a network that takes several images at once."""
    import numpy as np

    shape = ct.Shape((ct.RangeDim(*(opened.batch or (1, 1))), 3, *classifier.preprocessing.size))
    return {
        "inputs": [ct.TensorType(name="image", shape=shape, dtype=np.float32)],
        "outputs": [ct.TensorType(name=PROBABILITIES, dtype=np.float32)],
    }


def _trace(module: Any, example: Any) -> Any:
    import torch

    with without_mha_fastpath(), torch.no_grad(), _known_spellings():
        return torch.jit.trace(module, example, check_trace=False)


def _known_spellings() -> Any:
    """Make a torch mode that traces functions which coremltools cannot convert as others that do the same.

    torchvision's swin_v2 calls the one, its maxvit the other.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    swaps = (torch.swapaxes, torch.swapdims, torch.Tensor.swapaxes, torch.Tensor.swapdims)
    axes = {"axis0": "dim0", "axis1": "dim1"}

    class KnownSpellings(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.Tensor.zero_:
                return args[0].fill_(0.0)
            if function in swaps:
                named = {axes.get(name, name): axis for name, axis in (kwargs or {}).items()}
                return torch.transpose(*args, **named)
            return function(*args, **(kwargs or {}))

    return KnownSpellings()
