"""PyTorch -> ONNX, by torch.export (today's exporter) and by TorchScript (the one before)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.deployed import deployed_module, example_pixels, without_mha_fastpath
from conversion.errors import ConversionError
from conversion.provenance import KEY, Provenance
from conversion.respellings import for_onnx
from conversion.shapes import OpenAxes

if TYPE_CHECKING:
    from conversion.classifier import Classifier

INPUT = "image"
TORCHSCRIPT_OPSET = 17
# What one message of Protocol Buffers holds, and so an ONNX file whose weights are inside.
MOST_BYTES = 2**31 - 1


def export_onnx(classifier: Classifier, path: Path, provenance: Provenance, opened: OpenAxes) -> None:
    """Export through torch.export; the batch axis is dynamic at least, weights are inside the file."""
    import torch

    _check_size(classifier)
    module = deployed_module(classifier)
    # Two images, so that no exporter takes the batch for the constant 1.
    example = example_pixels(classifier, batch=2)
    axes = {axis: torch.export.Dim(name, **ends) for axis, (name, ends) in _axes(opened).items()}
    with for_onnx():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[INPUT],
            output_names=[classifier.task.outputs[0].name],
            dynamic_shapes=(axes,),
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
    opened: OpenAxes,
    opset: int = TORCHSCRIPT_OPSET,
    fixed: bool = False,
) -> None:
    """Export through TorchScript; the batch axis is dynamic at least, unless all are to be fixed."""
    import torch

    _check_size(classifier)
    names = {axis: name for axis, (name, _) in _axes(opened).items()}
    output = classifier.task.outputs[0].name
    with without_mha_fastpath():
        torch.onnx.export(
            deployed_module(classifier),
            (example_pixels(classifier),),
            str(path),
            input_names=[INPUT],
            output_names=[output],
            dynamic_axes=None if fixed else {INPUT: names, output: {0: names[0]}},
            opset_version=opset,
            dynamo=False,
        )
    _sign(path, provenance)


def _check_size(classifier: Classifier) -> None:
    """Refuse a module whose weights no ONNX file holds in one piece, before minutes go into it."""
    values = classifier.module.state_dict().values()
    size = sum(value.numel() * value.element_size() for value in values)
    if size > MOST_BYTES:
        raise ConversionError(
            f"{classifier.name}: its weights take {size / 1e9:.1f} GB, and an ONNX file of one piece holds at most "
            f"{MOST_BYTES / 1e9:.1f} GB; take mlprogram, mlprogram-fp32 or mlprogram-export"
        )


def _axes(opened: OpenAxes) -> dict[int, tuple[str, dict[str, int]]]:
    """List the axes to leave open: place -> name, and bounds where some were given."""
    heights, widths = zip(*opened.sizes, strict=True) if opened.sizes else ((), ())
    options = {
        0: ("batch", opened.batch or ()),
        2: ("height", opened.height or heights),
        3: ("width", opened.width or widths),
    }
    return {
        axis: (name, {"min": min(sizes), "max": max(sizes)} if sizes else {})
        for axis, (name, sizes) in options.items()
        if sizes or name == "batch"
    }


def _sign(path: Path, provenance: Provenance) -> None:
    import onnx

    model: Any = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, provenance.to_json()
    onnx.save(model, str(path))
