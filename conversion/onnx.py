"""PyTorch -> ONNX, by torch.export (today's exporter) and by TorchScript (the one before)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.deployed import deployed_module, example_pixels, without_mha_fastpath
from conversion.provenance import KEY, Provenance

if TYPE_CHECKING:
    from conversion.classifier import Classifier

INPUT, OUTPUT = "image", "classLabelProbs"
TORCHSCRIPT_OPSET = 17


def export_onnx(classifier: Classifier, path: Path, provenance: Provenance) -> None:
    """Export through torch.export; the batch axis is dynamic, weights are inside the file."""
    import torch

    module = deployed_module(classifier)
    # Two images, so that no exporter takes the batch for the constant 1.
    example = example_pixels(classifier, batch=2)
    program = torch.onnx.export(
        module,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # None is what the TorchScript exporter returns
    program.save(str(path), external_data=False)
    _sign(path, provenance)


def export_onnx_torchscript(
    classifier: Classifier,
    path: Path,
    provenance: Provenance,
    opset: int = TORCHSCRIPT_OPSET,
    dynamic_batch: bool = True,
) -> None:
    """Export through TorchScript."""
    import torch

    with without_mha_fastpath():
        torch.onnx.export(
            deployed_module(classifier),
            (example_pixels(classifier),),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}} if dynamic_batch else None,
            opset_version=opset,
            dynamo=False,
        )
    _sign(path, provenance)


def _sign(path: Path, provenance: Provenance) -> None:
    import onnx

    model: Any = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, provenance.to_json()
    onnx.save(model, str(path))
