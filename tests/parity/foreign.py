"""Files of the tiny classifier as others convert it: bare modules, other ranges and layouts, ML Programs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from conversion.guards.quiet import chatter_to, import_coremltools
from tests.parity.tiny import LABELS, PREPROCESSING, tiny

Change = Callable[[torch.Tensor], torch.Tensor]
MEAN, STD = (torch.tensor(values).reshape(3, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std))


def normalise(image: torch.Tensor) -> torch.Tensor:
    """Take pixels 0..1 as PyTorch's module wants them."""
    return (image - MEAN) / STD


def softmax(logits: torch.Tensor) -> torch.Tensor:
    """Make probabilities."""
    return torch.softmax(logits, 1)


class Foreign(torch.nn.Module):
    """The tiny module with something before it and something behind."""

    def __init__(self, before: Change | None = None, behind: Change | None = None) -> None:
        super().__init__()
        self.module = copy.deepcopy(tiny().module)
        self.before, self.behind = before, behind

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.module(self.before(image) if self.before else image)
        return self.behind(logits) if self.behind else logits


def export(
    path: Path,
    before: Change | None = None,
    behind: Change | None = None,
    example: torch.Tensor | None = None,
    names: tuple[str, str] = ("input", "output"),
    half: bool = False,
) -> Path:
    """Write an ONNX file by torch.onnx.export, its shape fixed."""
    module = Foreign(before, behind).eval()
    image = torch.rand(1, 3, 32, 32) if example is None else example
    if half:
        module, image = module.half(), image.half()
    with chatter_to():
        torch.onnx.export(
            module, (image,), str(path), input_names=[names[0]], output_names=[names[1]], dynamo=False
        )
    return path


def program(
    path: Path, before: Change | None = None, behind: Change | None = None, image: bool = False, **options: Any
) -> Path:
    """Write an ML Program in fp32 by coremltools; image: takes an image, not an array. options: of ct.convert."""
    ct = import_coremltools()
    example = options.pop("example", torch.rand(1, 3, 32, 32))
    kind: Any = ct.ImageType(name="image", shape=example.shape) if image else ct.TensorType("input", example.shape)
    classifier = {"classifier_config": ct.ClassifierConfig(options.pop("labels"))} if "labels" in options else {}
    with chatter_to(), torch.no_grad():
        model = ct.convert(
            torch.jit.trace(Foreign(before, behind).eval(), example),
            inputs=[kind],
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
            **classifier,
            **options,
        )
    model.save(str(path))
    return path


NAMES = list(LABELS)


def core_ai(path: Path, before: Change | None = None, behind: Change | None = None) -> Path:
    """Write a Core AI asset in fp32 by coreai-torch."""
    with chatter_to(), torch.no_grad():
        import coreai_torch

        exported = torch.export.export(Foreign(before, behind).eval(), (torch.rand(1, 3, 32, 32),))
        converter = coreai_torch.TorchConverter()
        converter.add_exported_program(
            exported.run_decompositions(coreai_torch.get_decomp_table()),
            input_names=["input"],
            output_names=["output"],
        )
        converter.to_coreai().save_asset(path)
    return path
