"""What float16 cannot hold is a cause; what it rounds is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conversion import Classifier, convert
from parity.backends.reference import Reference, make_reference
from parity.core.results import Answer, Case
from parity.core.tolerance import CostUnknownError
from parity.diagnosis.examination import Examination
from parity.diagnosis.search import explain
from parity.diagnosis.suspects.precision import half_loss, harmless
from tests.parity.diagnosis.faulty import _home, causes, examined, explained, good, mixed, reference, rejudged


class Loud(torch.nn.Module):
    """Multiply by 60,000 and divide again: nothing in fp32, infinity in fp16."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module((image * 6e4).clamp(-1e9, 1e9) * (1 / 6e4))
        return logits


def test_an_overflow_is_named_with_its_number() -> None:
    was = mixed()
    classifier = Classifier("loud", Loud(was.module).eval(), was.preprocessing, was.labels)
    loud = make_reference(classifier, reference().images)

    explanation = explained(convert(classifier, "mlprogram", _home()), loud)

    assert causes(explanation) == ["p-fp16-overflow"]
    assert "> 65504" in explanation.diagnoses[0].message
    assert "compute_precision" in explanation.diagnoses[0].fix


class Faint(torch.nn.Module):
    """Divide by the root of the mean of squares that are too small for fp16, though what is squared is not."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        root = (image * 2e-4).square().mean((1, 2, 3), keepdim=True).sqrt() * 5e3
        logits: torch.Tensor = self.module(image / (root + 0.1))
        return logits


def test_an_underflow_is_named_with_its_number() -> None:
    was = mixed()
    classifier = Classifier("faint", Faint(was.module).eval(), was.preprocessing, was.labels)
    faint = make_reference(classifier, reference().images)

    explanation = explained(convert(classifier, "mlprogram", _home()), faint)

    assert causes(explanation) == ["p-fp16-underflow"]
    assert "too small for float16, whose steps are 6e-08 there" in explanation.diagnoses[0].message


@pytest.mark.parametrize(
    ("numbers", "share"),
    [
        ([1.0, 2.0], 0.0),
        ([2.0**-25 * 0.99] * 3, 1.0),  # less than half of the smallest step
        ([2.0**-24 * 1.25] * 3, 0.2),  # to one step
        ([1.0, 2.0**-30], 2.0**-30),
        ([0.0, 0.0], 0.0),
        ([1e5, 1.0], 0.0),  # an overflow is something else
    ],
)
def test_what_rounding_to_float16_takes(numbers: list[float], share: float) -> None:
    assert half_loss(np.array(numbers)) == pytest.approx(share, rel=1e-6)


def test_a_tie_and_float16s_rounding_are_no_fault() -> None:
    examination: Examination = examined(good("mlprogram"), reference())
    tie = Case("cat.jpg", "tie", Answer("ant", 0.5), Answer("bee", 0.5), max_abs_diff=0.004)
    judged = rejudged(examination, cases=(tie,), max_abs_diff=0.004)
    faults = [s.fault for s in harmless(judged)]

    assert examination.candidate.judgement.verdict == "pass"
    assert faults == ["p-near-tie", "p-fp16-drift"]
    assert not any(d.confirmed for d in explain(judged).diagnoses)


def test_what_float16_does_not_predict_is_not_said_to_be_its_rounding() -> None:
    examination: Examination = examined(good("mlprogram"), reference())
    assert 3 * reference().fp16_cost < 0.009 < examination.tolerance
    judged = rejudged(examination, max_abs_diff=0.009)

    assert list(harmless(judged)) == []


def test_a_cost_that_cannot_be_measured_excuses_nothing() -> None:
    examination: Examination = examined(good("mlprogram"), reference())
    judged = rejudged(examination, max_abs_diff=0.009)

    class Unmeasured(Reference):
        @property
        def fp16_cost(self) -> float:  # type: ignore[override]
            raise CostUnknownError("what rounding the PyTorch module costs cannot be measured: no modes here")

    unmeasured = Unmeasured(*(getattr(reference(), name) for name in ("classifier", "images", "prediction")))

    assert list(harmless(replace(judged, candidate=replace(judged.candidate, reference=unmeasured)))) == []
