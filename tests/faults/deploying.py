"""Convert what a user might have converted: any module, any labels, without provenance and without care."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from conversion import Classifier
from conversion.guards.quiet import chatter_to, import_coremltools
from conversion.neuralnetwork import onnx_to_neuralnetwork

FORMATS = ("onnx", "mlprogram-fp32", "mlprogram", "neuralnetwork")


@dataclass(frozen=True)
class Recipe:
    """Say how a module is put behind pixels 0..255, and what its answers become; each part may be wrong.

    scale, bias: per channel, of `pixels * scale + bias`. before: of the normalised image. head: of the logits.
    """

    module: torch.nn.Module
    scale: tuple[float, ...]
    bias: tuple[float, ...]
    labels: tuple[str, ...]
    size: tuple[int, int]
    before: Callable[[torch.Tensor], torch.Tensor] = field(default=lambda image: image)
    head: Callable[[torch.Tensor], torch.Tensor] = field(default=lambda logits: torch.softmax(logits, dim=1))

    def but(self, **changes: Any) -> Recipe:
        """Return the recipe with something changed."""
        return replace(self, **changes)


def recipe(classifier: Classifier, module: torch.nn.Module | None = None) -> Recipe:
    """Write down the right recipe; module: a changed copy of the classifier's."""
    statistics = classifier.preprocessing
    return Recipe(
        module or classifier.module,
        tuple(1 / (255 * std) for std in statistics.std),
        tuple(-mean / std for mean, std in zip(statistics.mean, statistics.std, strict=True)),
        classifier.labels,
        statistics.size,
    )


class Deployed(torch.nn.Module):
    """Carry a recipe out."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, given: Recipe) -> None:
        super().__init__()
        self.module, self.given = given.module, given
        scale, bias = (torch.tensor(values, dtype=torch.float64) for values in (given.scale, given.bias))
        # Not pixels * scale + bias: coremltools 9.0 makes a batch norm of that, whose epsilon, 1e-5, it forgets.
        for name, values in (("scale", scale), ("shift", bias / scale)):
            self.register_buffer(name, values.float().reshape(3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Answer for pixels [N, 3, H, W]."""
        return self.given.head(self.module(self.given.before((image + self.shift) * self.scale)))


def deploy(given: Recipe, format_name: str, directory: Path, train: bool = False, opset: int = 17) -> Path:
    """Convert a recipe into one of FORMATS, or `onnx-dynamo`; train: as somebody does who forgot eval()."""
    with chatter_to(directory / "convert.log"):
        return _deploy(given, format_name, directory, train, opset)


def _deploy(given: Recipe, format_name: str, directory: Path, train: bool, opset: int) -> Path:
    module = Deployed(given)
    module.train(train) if train else module.eval()
    generator = torch.Generator().manual_seed(1)
    example = torch.randint(0, 256, (1, 3, *given.size), generator=generator).float()
    if format_name in ("onnx", "onnx-dynamo", "neuralnetwork"):
        path = directory / "model.onnx"
        _export(module, example, path, format_name, train, opset)
        if format_name != "neuralnetwork":
            return path
        model = onnx_to_neuralnetwork(
            path,
            mode="classifier",
            image_input_names=["image"],
            class_labels=list(given.labels),
            predicted_feature_name="classLabel",
        )
        import_coremltools().utils.save_spec(model.get_spec(), str(directory / "model.mlmodel"))
        return directory / "model.mlmodel"
    return _program(module, example, given.labels, directory, format_name)


def _export(
    module: torch.nn.Module, example: torch.Tensor, path: Path, format_name: str, train: bool, opset: int
) -> None:
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["classLabelProbs"], "verbose": False}
    if format_name == "onnx-dynamo":
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.onnx.export(
            module, (example.repeat(2, 1, 1, 1),), dynamo=True, dynamic_shapes=shapes, opset_version=opset, **names
        )
        assert program is not None
        program.save(str(path), external_data=False)
        return
    old = format_name == "neuralnetwork"
    mode = torch.onnx.TrainingMode.TRAINING if train else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        module,
        (example,),
        str(path),
        dynamo=False,
        opset_version=9 if old else opset,
        dynamic_axes=None if old else {"image": {0: "batch"}, "classLabelProbs": {0: "batch"}},
        training=mode,
        do_constant_folding=not train,
        **names,
    )


def _program(
    module: torch.nn.Module, example: torch.Tensor, labels: Sequence[str], directory: Path, format_name: str
) -> Path:
    ct = import_coremltools()
    with torch.no_grad():
        traced = torch.jit.trace(module, example, check_trace=False)
    model = ct.convert(
        traced,
        inputs=[ct.ImageType(name="image", shape=example.shape, color_layout=ct.colorlayout.RGB)],
        classifier_config=ct.ClassifierConfig(list(labels)),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32 if format_name.endswith("fp32") else ct.precision.FLOAT16,
        skip_model_load=True,
    )
    model.save(str(directory / "model.mlpackage"))
    return directory / "model.mlpackage"
