"""What float16 cannot hold is a cause; what it rounds is none."""

from __future__ import annotations

from dataclasses import replace

import torch

from conversion import Classifier, convert
from parity.backends.reference import Reference, make_reference
from parity.core.results import Answer, Case
from parity.core.tolerance import CostUnknownError
from parity.diagnosis.examination import Examination
from parity.diagnosis.search import explain
from parity.diagnosis.suspects.precision import harmless
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
