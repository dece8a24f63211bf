"""Causes are what restores parity when it is undone: one, two or three at once, and none where nothing is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from conversion import Classifier
from parity.backends.reference import Reference
from parity.core.compare import compare
from parity.core.results import Prediction, Subject
from parity.core.tolerance import Tolerance
from parity.diagnosis.causes import Explainer
from parity.diagnosis.repair import Repair, evidence_of, holds, only
from parity.diagnosis.search import explain
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.environment import asked_again
from parity.diagnosis.trial import apply
from parity.pipeline import judge_artifact
from tests.parity.diagnosis.faulty import (
    before_all,
    behind_all,
    broken,
    causes,
    change_weight,
    examined,
    explained,
    good,
    mixed,
    node,
    reference,
    rejudged,
    set_attribute,
    swapped,
    without_softmax,
)
from tests.parity.tiny import tiny

ONNX = "onnx-torchscript"


def one_std(model: Any) -> None:
    change_weight(model, "image_scale", lambda was: np.full_like(was, 1 / (255 * 0.226)))


def next_label(model: Any) -> None:
    for name in ("module.head.weight", "module.head.bias"):
        change_weight(model, name, lambda was: np.roll(was, 1, 0))


def padding_counts(model: Any) -> None:
    set_attribute(node(model, "AveragePool"), "count_include_pad", 1)


def softmax_twice(model: Any) -> None:
    behind_all(model, "Softmax", axis=1)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([one_std, without_softmax], {"pre-scalar-std", "head-softmax-missing"}),
        ([swapped, next_label], {"pre-bgr-swap", "lab-off-by-one-background"}),
        ([swapped, softmax_twice], {"pre-bgr-swap", "head-softmax-twice"}),
        ([padding_counts, next_label], {"g-avgpool-include-pad", "lab-off-by-one-background"}),
        (
            [swapped, padding_counts, without_softmax],
            {"pre-bgr-swap", "g-avgpool-include-pad", "head-softmax-missing"},
        ),
    ],
)
def test_several_faults_are_all_confirmed(faults: list[Callable[[Any], None]], expected: set[str]) -> None:
    def break_it(model: Any) -> None:
        for fault in faults:
            fault(model)

    assert set(causes(explained(broken(good(ONNX), break_it), reference()))) == expected


def test_what_cannot_be_undone_is_unexplained_with_its_place() -> None:
    def break_it(model: Any) -> None:
        # No picture comes back from this: every answer is one and the same.
        behind_all(model, "Mul", [np.zeros(12, np.float32)])

    examination = examined(broken(good(ONNX), break_it), reference())
    explanation = explain(rejudged(examination, tolerance=1e-5), seconds=1e-9)

    assert not explanation.confirmed
    assert explanation.unexplained.startswith("unexplained")


@pytest.mark.parametrize(("seconds", "said"), [(1e-9, True), (600.0, False)])
def test_a_search_that_the_clock_ends_is_told_beside_the_failure(seconds: float, said: bool) -> None:
    (leg,) = judge_artifact(reference(), broken(good(ONNX), swapped), ["onnxruntime"])
    assert leg.artifact is not None

    subject = Explainer(seconds=seconds)(leg.subject, reference(), leg.artifact, leg.prediction)

    assert subject.verdict == "fail"
    assert ("the search for causes ended after 0 s without one" in subject.unexplained) is said
    assert bool(subject.diagnoses) is not said


@pytest.mark.parametrize(
    ("route", "make"),
    [
        *((route, make) for route in ("onnx", ONNX, "mlprogram", "mlprogram-fp32") for make in (mixed, tiny)),
        ("onnx-coreml", tiny),  # which has no LayerNormalization
    ],
)
def test_a_sound_file_has_no_cause(route: str, make: Callable[[], Classifier]) -> None:
    examination = examined(good(route, make), reference(make))

    assert examination.candidate.judgement.verdict == "pass"
    assert not explain(examination).confirmed


def test_a_sound_file_that_is_called_failing_gets_no_confirmed_cause() -> None:
    # Nothing restores a parity that asks for more than arithmetic gives.
    examination = examined(good(ONNX), reference())

    assert causes(explain(rejudged(examination, verdict="fail", tolerance=1e-12), seconds=20)) == []


def test_an_error_elsewhere_gives_no_cause_to_a_file_that_answers_here() -> None:
    # A record of other pixels is refused as an error; in fp32 the file agrees, and so it does as it is.
    subject = Subject("mixed", "mlprogram", "", "recorded", "fp16", "error", "made from other pixels")

    assert Explainer()(subject, reference(), good("mlprogram"), None).diagnoses == ()


def test_a_repair_that_changes_nothing_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # It failed there and agrees here with nothing undone, and so it does after any repair.
    nothing = Suspect("wt-scaled", "Nothing was done.", Repair(answers=lambda explanation: explanation), seen=True)
    monkeypatch.setattr("parity.diagnosis.search._families", lambda *asked: iter([[nothing]]))
    examination = examined(good(ONNX), reference())

    explanation = explain(rejudged(examination, verdict="fail"))

    assert [(d.fault, d.confirmed, d.evidence) for d in explanation.diagnoses] == [("wt-scaled", False, "")]


def test_what_is_suspected_with_a_repair_and_without_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vain = Suspect("p-fp16-drift", "Rounding.", Repair(answers=lambda answers: answers), seen=True)
    both = [vain, replace(vain, repair=None)]
    monkeypatch.setattr("parity.diagnosis.search._families", lambda *asked: iter([both]))

    explanation = explain(examined(broken(good(ONNX), without_softmax), reference()))

    assert [(d.fault, d.confirmed) for d in explanation.diagnoses] == [("p-fp16-drift", False)]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note which repairs are put on top of which others, and on how many images."""
    undone: list[Any] = []

    def counting(examination: Any, repairs: Any, rows: Any = None) -> Any:
        undone.append(((*examination.candidate.repairs, *repairs), rows is None))
        return apply(examination, repairs, rows)

    monkeypatch.setattr("parity.diagnosis.search.apply", counting)
    return undone


def times(undone: list[Any]) -> list[int]:
    """Count how often each set of repairs was tried, a repair being known by its identity."""
    return list(Counter((frozenset(map(id, repairs)), whole) for repairs, whole in undone).values())


def test_a_repair_that_several_suspects_share_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vain, other = (Repair(answers=lambda answers: answers) for _ in range(2))
    names = ("p-fp16-drift", "wt-scaled", "wt-transposed", "g-activation")
    family = [Suspect(name, name, other if name == "g-activation" else vain) for name in names]
    monkeypatch.setattr("parity.diagnosis.search._families", lambda *asked: iter([family]))
    monkeypatch.setattr("parity.diagnosis.search._several", lambda *asked: [])
    monkeypatch.setattr("parity.diagnosis.search.GENERAL", ())
    undone = counted(monkeypatch)

    explanation = explained(broken(good(ONNX), without_softmax), reference())

    assert causes(explanation) == []
    # Two images are asked first, and neither repair helps there: once singly of each of the two searches.
    assert times(undone) == [2, 2]


def test_a_step_towards_parity_that_several_suspects_share_is_gone_on_with_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = Repair(answers=lambda answers: replace(answers, probabilities=answers.probabilities / 2))
    family = [Suspect(name, name, half, seen=True) for name in ("wt-scaled", "wt-transposed", "g-activation")]
    begun: list[Any] = []

    def again(examination: Any, repair: Repair) -> Any:
        begun.append(repair)

    monkeypatch.setattr("parity.diagnosis.search._families", lambda *asked: iter([family]))
    monkeypatch.setattr("parity.diagnosis.search._again", again)

    explained(broken(good(ONNX), without_softmax), reference())

    # By the faults that have names, and by any.
    assert begun == [half] * 2


@settings(deadline=None, max_examples=25)
@given(apart=st.floats(2e-5, 0.3), allowed=st.sampled_from([1e-5, 1e-3, 1e-2]))
def test_nothing_is_confirmed_that_leaves_more_than_the_tolerance(apart: float, allowed: float) -> None:
    assume(abs(apart / 2 - allowed) > 1e-9)
    exact = np.asarray(reference().prediction.probabilities, np.float64)
    moved = replace(reference().prediction, probabilities=exact + apart * np.sign(0.5 - exact))
    examination = examined(good(ONNX), reference(), moved)
    strict = rejudged(examination, tolerance=allowed)
    half = Repair(answers=lambda answers: replace(answers, probabilities=(answers.probabilities + exact) / 2))

    assert holds(apply(strict, [half])) == (apart / 2 <= allowed)


def test_agreement_that_proves_nothing_confirms_nothing() -> None:
    twice = only(reference(), [0, 0])

    explanation = explained(broken(good(ONNX), swapped), twice)

    # A model that ignores its input would agree on these too: what was seen is listed as a suspect.
    assert compare(twice.prediction, twice.prediction, Tolerance(1e-5), twice.images.names).verdict == (
        "inconclusive"
    )
    assert [(d.fault, d.confirmed) for d in explanation.diagnoses][:1] == [("pre-bgr-swap", False)]


@pytest.mark.parametrize(
    ("faults", "evidence"),
    [
        ([swapped], "undoing it restores parity"),
        ([swapped, without_softmax], "undoing all 2 together restores parity"),
    ],
)
def test_what_was_proven_is_said_of_all_that_it_takes(faults: list[Any], evidence: str) -> None:
    explanation = explained(broken(good(ONNX), lambda model: [fault(model) for fault in faults]), reference())

    assert len(explanation.diagnoses) == len(faults)
    assert {d.evidence for d in explanation.diagnoses} == {evidence}


def test_what_was_proven_of_unlike_repairs_names_each() -> None:
    assert evidence_of([Repair(evidence="run here it agrees"), Repair()]) == (
        "with all 2 out of the way parity holds (run here it agrees; undoing it restores parity)"
    )


def test_two_repairs_of_the_reference_are_no_cause_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def mirrored(against: Reference) -> Reference:
        return asked_again(against, against.images.pixels[:, :, ::-1])

    both = [
        Suspect("pre-exif-orientation", "Mirrored.", Repair(reference=mirrored), seen=True),
        # It takes back what the first one did.
        Suspect("mode-reference-in-train", "Asked again.", Repair(reference=asked_again), seen=True),
    ]
    monkeypatch.setattr("parity.diagnosis.search._families", lambda *asked: iter([both]))
    answers = reference().prediction.probabilities.astype(np.float64)
    moved = answers + 0.03 * np.sign(0.5 - answers)

    explanation = explained(good(ONNX), reference(), Prediction(moved, reference().prediction.labels))

    assert causes(explanation) == []


def test_an_artefact_is_explained_once_for_all_its_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counting(*arguments: Any) -> Any:
        asked.append(arguments)
        return explain(*arguments)

    monkeypatch.setattr("parity.diagnosis.causes.explain", counting)
    artifact = broken(good(ONNX), swapped)
    examination = examined(artifact, reference())
    judgement = examination.candidate.judgement
    subject = Subject(
        "mixed", ONNX, "", "onnxruntime", "fp32", "fail", cases=judgement.cases, tolerance=judgement.tolerance
    )
    explainer = Explainer()
    first = explainer(subject, reference(), artifact, examination.candidate.prediction)
    second = explainer(
        replace(subject, backend="onnx-reference"), reference(), artifact, examination.candidate.prediction
    )

    assert [d.fault for d in first.diagnoses] == ["pre-bgr-swap"]
    assert second.diagnoses == first.diagnoses
    assert len(asked) == 1


def test_nobody_is_asked_who_is_not_wanted_or_passes() -> None:
    subject = Subject("mixed", ONNX, "", "onnxruntime", "fp32", "pass")

    assert Explainer()(subject, reference(), good(ONNX), None) is subject
    failing = replace(subject, verdict="fail")
    assert Explainer(wanted=False)(failing, reference(), good(ONNX), None) is failing


def test_names_from_a_file_do_not_reach_the_terminal_as_they_are() -> None:
    def break_it(model: Any) -> None:
        operation = node(model, "LeakyRelu")
        operation.name = "\x1b[31mred"
        operation.op_type = "Tanh"
        del operation.attribute[:]

    explanation = explained(broken(good(ONNX), break_it), reference())

    assert causes(explanation) == ["g-activation"]
    assert explanation.first_divergence is not None
    place = explanation.first_divergence
    assert "\x1b" not in explanation.diagnoses[0].message + place.told + place.operation
    assert "\\x1b[31mred" in explanation.diagnoses[0].message


def test_the_file_itself_is_left_alone() -> None:
    artifact = broken(good(ONNX), swapped)
    before = artifact.path.read_bytes()
    explained(artifact, reference())

    assert artifact.path.read_bytes() == before
    assert [numpy_helper.to_array(t).shape for t in onnx.load(str(artifact.path)).graph.initializer]


def test_a_grey_picture_hides_an_exchange_of_colours_and_nothing_is_claimed() -> None:
    # An injection that changes nothing is a control.
    examination = examined(broken(good(ONNX), lambda model: before_all(model, "Identity", [])), reference())

    assert examination.candidate.judgement.verdict == "pass"
