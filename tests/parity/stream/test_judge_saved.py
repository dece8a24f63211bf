"""Judging again: what `compare` would say with the other tolerance is said without the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.cases import judge_case_again
from parity.core.compare import compare
from parity.core.errors import ParityError
from parity.core.results import (
    Answer,
    Case,
    ClassPair,
    Diagnosis,
    Divergence,
    Environment,
    KnownIssue,
    Prediction,
    Run,
    Subject,
    summarise,
    to_json,
)
from parity.core.tolerance import Tolerance
from parity.judging import with_comparison
from parity.stream.judge_saved import judge_file, judge_run

LABELS = tuple("abcdefgh")


def judged(reference: np.ndarray, candidate: np.ndarray, tolerance: float, **more: object) -> Subject:
    """Compare answers as a run does."""
    names = [f"{row}.png" for row in range(len(reference))]
    found = compare(Prediction(reference, LABELS), Prediction(candidate, LABELS), Tolerance(tolerance), names)
    empty = Subject("m", "onnx", "m.onnx", "onnxruntime", "fp32", "skipped", tolerance_reason="first")
    return replace(with_comparison(empty, found), **more)  # type: ignore[arg-type]


def run_of(*subjects: Subject) -> Run:
    return Run(Environment("3.11", "Linux", {}), subjects, summary=summarise(subjects))


def again(subject: Subject, tolerance: float | None) -> Subject:
    return judge_run(run_of(subject), tolerance).subjects[0]


def answers(seed: int, images: int, sharp: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Make the probabilities of two models that differ by noise."""
    random = np.random.default_rng(seed)
    logits = sharp * random.standard_normal((images, len(LABELS)))
    both = (logits, logits + noise * random.standard_normal(logits.shape))
    first, second = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in both)
    return first, second


# The same as comparing with the other tolerance


@given(
    seed=st.integers(0, 999),
    images=st.integers(1, 8),
    sharp=st.sampled_from([0.02, 0.5, 3.0]),
    noise=st.sampled_from([0.0, 0.01, 0.3, 2.0]),
    first=st.sampled_from([1e-4, 1e-2, 0.1, 0.5]),
    second=st.sampled_from([1e-5, 1e-3, 0.05, 0.2, 0.9]),
)
@settings(max_examples=300)
def test_judging_again_is_comparing_with_that_tolerance(
    seed: int, images: int, sharp: float, noise: float, first: float, second: float
) -> None:
    reference, candidate = answers(seed, images, sharp, noise)
    expected = judged(reference, candidate, second)

    found = again(judged(reference, candidate, first), second)

    assert [case.verdict for case in found.cases] == [case.verdict for case in expected.cases]
    if "what is saved does not tell" in found.reason:
        assert expected.verdict in ("pass", "inconclusive")  # careful, never wrong
    else:
        assert found.verdict == expected.verdict
    assert (found.required_tolerance, found.tolerance) == (expected.required_tolerance, second)
    if found.verdict == "fail":
        assert found.reason == expected.reason


def test_most_answers_tell_enough() -> None:
    reference, candidate = answers(1, 8, 3.0, 0.3)

    assert again(judged(reference, candidate, 1e-4), 0.3).verdict == "pass"


def test_with_the_same_tolerance_nothing_changes() -> None:
    subject = judged(*answers(1, 8, 3.0, 0.3), 0.01, guilty_hop="torch -> onnx")

    assert again(subject, None) == subject
    assert again(subject, 0.01) == subject


def test_a_run_is_summed_up_again() -> None:
    subject = judged(*answers(1, 8, 3.0, 0.3), 0.01)
    run = replace(run_of(subject), thumbnails={"0.png": "data:"}, stale_known_issues=("old",))

    found = judge_run(run, 0.3)

    assert (run.summary["fail"], found.summary["pass"], found.summary["fail"]) == (1, 1, 0)
    assert (found.thumbnails, found.stale_known_issues) == (run.thumbnails, run.stale_known_issues)


# One image


def pair(difference: float, margin: float) -> Case:
    """Make a case whose reference prefers a to b by a margin, and whose candidate says b."""
    top = (ClassPair("a", 0.5, 0.5 - difference), ClassPair("b", 0.5 - margin, 0.5))
    return Case("x.png", "flip", Answer("a", 0.5), Answer("b", 0.5), difference, top=top)


@pytest.mark.parametrize(
    ("difference", "margin", "allowed", "verdict"),
    [
        (0.10, 0.15, 0.05, "flip"),
        (0.10, 0.10, 0.05, "drift"),
        (0.04, 0.06, 0.04, "tie"),
        (0.04, 0.06, 0.035, "drift"),
        # No arithmetic turns round what is further apart than 0.1.
        (0.10, 0.15, 0.10, "flip"),
        (0.10, 0.09, 0.10, "tie"),
        (0.90, 0.45, 0.999, "flip"),
    ],
)
def test_ties_and_flips_go_by_the_references_margin(
    difference: float, margin: float, allowed: float, verdict: str
) -> None:
    assert judge_case_again(pair(difference, margin), allowed).verdict == verdict


def test_a_case_that_does_not_tell_the_margin_is_a_flip() -> None:
    assert judge_case_again(replace(pair(0.10, 0.01), top=()), 0.05).verdict == "flip"


@pytest.mark.parametrize(
    "case",
    [
        Case("x.png", "error", Answer("a", 0.5), Answer("-", None), reason="2 of 8 are not finite"),
        Case("x.png", "flip", Answer("a", 0.5), Answer("b", 0.1), 1e-9, reason="the model names 'b', but ..."),
    ],
)
def test_what_no_tolerance_helps_stays(case: Case) -> None:
    assert judge_case_again(case, 0.9) == case


# Subjects


@pytest.mark.parametrize("verdict", ["skipped", "error", "fail", "inconclusive"])
def test_what_was_not_compared_stays(verdict: str) -> None:
    subject = Subject("m", "onnx", "", "-", "fp32", verdict, "why")  # type: ignore[arg-type]

    assert again(subject, 0.5) == subject


def test_causes_go_with_the_failure() -> None:
    causes = {
        "guilty_hop": "torch -> onnx",
        "diagnoses": (Diagnosis("eps", "another"),),
        "first_divergence": Divergence("conv", "conv", 1, 2),
        "known_issue": KnownIssue("why", ""),
    }
    subject = judged(*answers(1, 8, 3.0, 0.3), 0.01, **causes)

    passed, failed = again(subject, 0.3), again(subject, 0.02)

    assert (passed.verdict, failed.verdict) == ("pass", "fail")
    assert (passed.guilty_hop, passed.diagnoses, passed.first_divergence, passed.known_issue) == (
        "",
        (),
        None,
        None,
    )
    assert {name: getattr(failed, name) for name in causes} == causes
    assert passed.tolerance_reason == failed.tolerance_reason == "given when judged again"


def test_an_untrained_network_stays_inconclusive() -> None:
    flat = np.full((4, 8), 1 / 8)

    found = again(judged(flat, flat, 1e-5), 0.1)

    assert found.verdict == "inconclusive"
    assert "untrained network" in found.reason


def test_what_cannot_be_told_is_not_passed() -> None:
    # A case names the five most probable classes. The second says of the first class no more than that it is
    # at most as probable as the fifth, 0.14: what is nearest to both is between 0.08 and 0.15 away.
    reference = np.array([[0.30] + [0.10] * 7, [0.04, 0.30] + [0.14] * 4 + [0.05] * 2])
    subject = judged(reference, reference, 0.01)

    verdicts = [again(subject, tolerance).verdict for tolerance in (0.05, 0.1, 0.2)]
    reasons = [again(subject, tolerance).reason for tolerance in (0.1, 0.2)]

    assert subject.verdict == "pass"
    assert verdicts == ["pass", "inconclusive", "inconclusive"]
    assert "run again with this tolerance" in reasons[0]
    assert "the same for every image" in reasons[1]


@pytest.mark.parametrize("tolerance", [None, 0.01, 0.3, 0.999])
def test_one_image_proves_nothing_also_where_it_was_said_to(tolerance: float | None) -> None:
    reference, candidate = answers(1, 1, 3.0, 0.01)
    said = replace(judged(reference, candidate, 0.1), verdict="pass", reason="", required_tolerance=0.01)

    found = again(said, tolerance)

    assert (found.verdict, "one image was compared" in found.reason) == ("inconclusive", True)


def test_images_of_one_class_prove_nothing_also_where_they_were_said_to() -> None:
    reference = np.array([[0.6, 0.3] + [0.1 / 6] * 6, [0.3, 0.25] + [0.075] * 6])
    said = replace(judged(reference, reference, 0.01), verdict="pass", reason="", required_tolerance=0.0)

    found = again(said, None)

    assert found.verdict == "inconclusive"
    assert "all 2 images one class" in found.reason


# Files


def test_a_file_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(to_json(run_of(judged(*answers(1, 8, 3.0, 0.3), 0.01))), encoding="utf-8")

    assert judge_file(path).exit_code == 1
    assert judge_file(path, 0.3).exit_code == 0


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -1.0, float("nan")])
def test_a_tolerance_is_a_difference_of_probabilities(tolerance: float, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(to_json(run_of()), encoding="utf-8")

    with pytest.raises(ParityError, match="between 0 and 1"):
        judge_file(tmp_path / "results.json", tolerance)


def test_the_cases_of_a_run_over_many_images_have_to_be_there(tmp_path: Path) -> None:
    run = replace(run_of(judged(*answers(1, 8, 3.0, 0.3), 0.01)), cases_file="../../secret/results.cases.jsonl")
    (tmp_path / "results.json").write_text(to_json(run), encoding="utf-8")

    with pytest.raises(ParityError, match=r"and results\.cases\.jsonl, which has all, is not beside it"):
        judge_file(tmp_path / "results.json", 0.1)
