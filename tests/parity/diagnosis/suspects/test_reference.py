"""A reference that computes in less than fp32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from conversion import Classifier
from parity.backends.reference import make_reference
from parity.diagnosis.suspects.reference import _shortened
from parity.suite.images import load_images
from tests.parity.diagnosis.faulty import causes, explained, good
from tests.parity.tiny import pictures, tiny


class Hasty(torch.nn.Module):
    """A module whose author computes in bfloat16, as TF32 does on a GPU."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: torch.Tensor = self.module(image)
        return logits.to(image.dtype)


def hasty() -> Classifier:
    return replace(tiny(), module=Hasty(tiny().module).eval())


def test_a_reference_in_a_lower_precision_is_the_noisy_side() -> None:
    against = make_reference(hasty(), load_images(pictures(), tiny().preprocessing))

    explanation = explained(good("onnx-torchscript", tiny), against)

    assert causes(explanation) == ["p-tf32-reference"]
    assert "in fp64 it answers otherwise" in explanation.diagnoses[0].message
    assert "answers in bfloat16" in explanation.diagnoses[0].message


class Magnifying(torch.nn.Module):
    """A module that takes the difference of large numbers: of a million, fp32 keeps one digit behind the point."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        self.offset = torch.nn.Parameter(torch.tensor(1e6))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(image)
        return logits + self.offset - self.offset


def test_a_reference_in_full_fp32_is_never_told_to_compute_in_fp32() -> None:
    magnifying = replace(tiny(), module=Magnifying(tiny().module).eval())
    against = make_reference(magnifying, load_images(pictures(), tiny().preprocessing))

    # The file computes what is meant, and no rounding grows in it.
    explanation = explained(good("onnx-torchscript", tiny), against)

    assert causes(explanation) == ["p-fp32-drift"]
    assert explanation.diagnoses[0].message.startswith("Rounding in fp32 moves PyTorch's own answers by 0.0")
    assert "the network magnifies it" in explanation.diagnoses[0].message


def test_the_settings_that_shorten_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(_shortened()) == []

    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert list(_shortened()) == ["torch.set_float32_matmul_precision is 'medium'"]


def test_newer_pytorch_may_refuse_to_name_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise RuntimeError("a mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)

    assert list(_shortened()) == []
