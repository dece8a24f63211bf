"""A way through Python code that was frozen by tracing."""

from __future__ import annotations

import torch

from conversion import Classifier, convert
from parity.backends.reference import make_reference
from tests.parity.diagnosis.faulty import _home, causes, explained, mixed, reference


class Choosing(torch.nn.Module):
    """Look at the image, in Python, before deciding."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.module(image if float(image.mean()) > -0.3 else image * 0.5)
        return found


def test_a_frozen_branch_is_told() -> None:
    was = mixed()
    classifier = Classifier("choosing", Choosing(was.module).eval(), was.preprocessing, was.labels)
    found = explained(
        convert(classifier, "onnx-torchscript", _home()), make_reference(classifier, reference().images)
    )

    assert causes(found) == ["g-trace-constant"]
    assert "right for 5 of 8 image(s)" in found.diagnoses[0].message
