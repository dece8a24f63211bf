"""PyTorch -> ML Program (.mlpackage) with coremltools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.artifact import Precision
from conversion.deployed import deployed_module, example_pixels, without_mha_fastpath
from conversion.provenance import KEY, Provenance
from conversion.quiet import import_coremltools

if TYPE_CHECKING:
    from conversion.classifier import Classifier

PREDICTED, PROBABILITIES = "classLabel", "classLabelProbs"


def convert_mlprogram(classifier: Classifier, path: Path, provenance: Provenance, precision: Precision) -> None:
    """Convert by TorchScript tracing; image in, `classLabel` and `classLabelProbs` out."""
    ct = import_coremltools()
    example = example_pixels(classifier)
    model = ct.convert(
        _trace(deployed_module(classifier), example),
        inputs=[ct.ImageType(name="image", shape=tuple(example.shape), color_layout=ct.colorlayout.RGB)],
        classifier_config=ct.ClassifierConfig(list(classifier.labels), predicted_feature_name=PREDICTED),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
        # Apple's runtime would compile the model here, on a Mac; the backends do that when they load it.
        skip_model_load=True,
    )
    specification = model.get_spec()
    # coremltools calls the dictionary after the predicted feature; users of the classic recipe know this name.
    ct.utils.rename_feature(specification, specification.description.predictedProbabilitiesName, PROBABILITIES)
    specification.description.metadata.userDefined[KEY] = provenance.to_json()
    ct.models.MLModel(specification, weights_dir=model.weights_dir, skip_model_load=True).save(str(path))


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
