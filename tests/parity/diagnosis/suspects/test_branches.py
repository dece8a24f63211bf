"""A branch of Python code that tracing froze."""

from __future__ import annotations

import torch

from conversion import Classifier, convert
from parity.backends.reference import make_reference
from parity.diagnosis.suspects.branches import suspects
from tests.parity.diagnosis.faulty import _home, causes, examined, explained, mixed, reference


class Choosing(torch.nn.Module):
    """Look at the image, in Python, before deciding."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(image if float(image.mean()) > -0.3 else image * 0.5)
        return logits


def test_a_frozen_branch_is_told() -> None:
    was = mixed()
    classifier = Classifier("choosing", Choosing(was.module).eval(), was.preprocessing, was.labels)
    explanation = explained(
        convert(classifier, "onnx-torchscript", _home()), make_reference(classifier, reference().images)
    )

    assert causes(explanation) == ["g-trace-constant"]
    assert "right for 5 of 8 image(s)" in explanation.diagnoses[0].message


class Joining(torch.nn.Module):
    """Join values, whose numbers are other ones for each image, and which are no decision."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(torch.cat([image[:, :1], image[:, 1:]], dim=1))
        return logits


def test_tensors_in_a_list_are_no_branch() -> None:
    was = mixed()
    classifier = Classifier("joining", Joining(was.module).eval(), was.preprocessing, was.labels)
    examination = examined(
        convert(classifier, "onnx-torchscript", _home()), make_reference(classifier, reference().images)
    )

    assert list(suspects(examination)) == []
