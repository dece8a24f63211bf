"""Verdicts from typed-in vectors; the laws that every comparison keeps; what a failure says."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import rel_entr

import parity
from parity import ParityError, Tolerance, assert_parity, compare
from parity.core.compare import explain_failure, with_exact_sums
from parity.core.results import Case, Comparison, Environment, KnownIssue, Prediction, Run, Subject, Verdict
from parity.metrics.classification.labels import tell_labels_apart
from parity.metrics.classification.variety import proves_nothing

LABELS = ("ant", "bee", "cat", "dog")
# Two images of different classes, sure enough of themselves for agreement to prove something.
ANT, DOG = [0.75, 0.125, 0.125, 0.0], [0.0625, 0.0625, 0.125, 0.75]
REFERENCE = Prediction(np.array([ANT, DOG]), LABELS)


def compared(
    expected: Sequence[Sequence[float]],
    found: Sequence[Sequence[float]],
    tolerance: float = 0.125,
    labels: tuple[str, ...] | None = LABELS,
    top1: tuple[str, ...] | None = None,
) -> Comparison:
    images = tuple(f"{i}.png" for i in range(len(expected)))
    candidate = Prediction(np.array(found), labels, top1)
    return compare(Prediction(np.array(expected), LABELS), candidate, Tolerance(tolerance), images)


def case(expected: Sequence[float], found: Sequence[float], tolerance: float, named: str | None = None) -> Case:
    """Compare one image; all numbers of these tests are sums of powers of two, so that bounds are met exactly."""
    (only,) = compared([expected], [found], tolerance, top1=None if named is None else (named,)).cases
    return only


def test_the_package_exports_the_function_also_after_its_module_is_imported() -> None:
    importlib.import_module("parity.core.compare")

    assert parity.compare is compare
    assert parity.compare(REFERENCE, REFERENCE, Tolerance(0.1), ("a", "b")).verdict == "pass"


# The five verdicts


@pytest.mark.parametrize(
    ("expected", "found", "tolerance", "verdict"),
    [
        pytest.param([0.5, 0.25, 0.125, 0.125], [0.5, 0.25, 0.125, 0.125], 0.125, "match", id="equal"),
        pytest.param([0.5, 0.25, 0.125, 0.125], [0.375, 0.25, 0.25, 0.125], 0.125, "match", id="at the tolerance"),
        pytest.param(
            [0.5, 0.25, 0.125, 0.125], [0.375, 0.25, 0.25, 0.125], 0.125 - 2**-20, "drift", id="just above it"
        ),
        pytest.param([0.5, 0.25, 0.125, 0.125], [0.5, 0.25, 0.125, 0.75], 0.125, "flip", id="another class"),
        pytest.param([0.5, 0.25, 0.125, 0.125], [8.0, 7.0, 6.0, 6.0], 0.125, "drift", id="logits"),
        pytest.param(
            [0.5, 0.4375, 0.0625, 0.0], [0.46875, 0.46875 + 2**-8, 0.0625, 0.0], 0.046875, "tie", id="near tie"
        ),
        pytest.param(
            [0.5, 0.4375, 0.0625, 0.0],
            [0.46875, 0.5, 0.0625, 0.25],
            0.046875,
            "drift",
            id="near tie and drift",
        ),
        pytest.param(
            [0.5, 0.4375, 0.0625, 0.0], [0.375, 0.5, 0.125, 0.0], 0.03125, "drift", id="margin at twice that"
        ),
        pytest.param(
            [0.5, 0.4375 - 2**-20, 0.0625, 2**-20],
            [0.375, 0.5, 0.125, 0.0],
            0.03125,
            "flip",
            id="margin just above",
        ),
        # A tie is what arithmetic turns round: it moves no probability by more than 0.05, whatever is allowed.
        pytest.param([0.5, 0.40625, 0.09375, 0.0], [0.25, 0.75, 0.0, 0.0], 0.375, "tie", id="margin of 0.09"),
        pytest.param([0.5, 0.375, 0.125, 0.0], [0.25, 0.75, 0.0, 0.0], 0.375, "flip", id="margin of 0.13"),
        pytest.param([0.5, 0.375, 0.125, 0.0], [0.40625, 0.46875, 0.125, 0.0], 0.09375, "flip", id="within both"),
        pytest.param([0.5, 0.375, 0.125, 0.0], [0.0, 0.0, 0.125, 0.875], 0.97, "flip", id="anything is allowed"),
        pytest.param([0.97, 0.03, 0.0, 0.0], [0.03, 0.97, 0.0, 0.0], 0.999, "flip", id="all but anything"),
        pytest.param([0.5, 0.5, 0.0, 0.0], [0.25, 0.75, 0.0, 0.0], 0.25, "tie", id="reference undecided"),
        pytest.param([0.5, 0.25, 0.25, 0.0], [0.375, 0.375, 0.25, 0.0], 0.125, "match", id="candidate undecided"),
        pytest.param([0.5, 0.25, 0.125, 0.125], [0.5, math.nan, 0.25, 0.25], 0.5, "error", id="NaN"),
        pytest.param([0.5, 0.25, 0.125, 0.125], [math.inf, 0.0, 0.0, 0.0], 0.5, "error", id="infinity"),
        pytest.param([0.5, 0.25, 0.125, 0.125], [0.5, -math.inf, 0.25, 0.25], 0.5, "error", id="minus infinity"),
        pytest.param([math.nan] * 4, [0.25] * 4, 0.5, "error", id="NaN from PyTorch"),
        pytest.param([math.nan] * 4, [math.nan] * 4, 0.5, "error", id="NaN from both"),
    ],
)
def test_verdict_of_an_image(expected: list[float], found: list[float], tolerance: float, verdict: str) -> None:
    assert case(expected, found, tolerance).verdict == verdict
    other = compared([expected, ANT], [found, ANT], tolerance)
    assert other.cases[0].verdict == verdict
    assert (other.verdict == "fail") == (verdict in ("drift", "flip", "error"))


def test_a_case_tells_both_answers_and_where_they_differ_most() -> None:
    found = case([0.5, 0.25, 0.125, 0.125], [0.25, 0.0, 0.125, 0.625], 0.125)

    assert (found.reference.label, found.reference.probability) == ("ant", 0.5)
    assert (found.candidate.label, found.candidate.probability) == ("dog", 0.625)
    assert found.max_abs_diff == 0.5
    assert (found.worst_label, found.worst_reference, found.worst_candidate) == ("dog", 0.125, 0.625)


def test_a_case_that_is_not_finite_has_no_numbers() -> None:
    found = case([0.5, 0.25, 0.125, 0.125], [math.nan, math.inf, 0.0, 0.0], 0.125)

    assert found.candidate.probability is None
    assert found.reason == "2 of 4 probabilities are not finite"
    numbers = (found.max_abs_diff, found.kl, found.worst_reference, found.top5_overlap, found.snr_db, found.psnr_db)
    assert set(numbers) == {None}


def test_a_reference_that_is_not_finite_is_named_as_the_one_to_blame() -> None:
    found = case([0.5, math.inf, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], 0.125)

    assert found.reference.probability is None
    assert found.reason == "PyTorch itself: 1 of 4 probabilities are not finite"


def test_one_bad_image_fails_all() -> None:
    comparison = compared([ANT, DOG, ANT], [ANT, DOG, DOG])

    assert comparison.verdict == "fail"
    assert comparison.reason == "1 flip of 3 image(s)"
    assert comparison.top1_agreement == pytest.approx(2 / 3)


def test_the_reason_counts_each_kind() -> None:
    found = [[0.0, 0.0, 0.75, 0.0], [0.5, 0.125, 0.125, 0.0], [math.nan] * 4, DOG]

    assert compared([ANT, ANT, ANT, DOG], found).reason == "1 flip, 1 drift, 1 error of 4 image(s)"


def test_an_error_leaves_the_largest_difference_of_the_others() -> None:
    comparison = compared([ANT, DOG], [[math.nan] * 4, [0.0625, 0.0625, 0.0, 0.75]])

    assert comparison.max_abs_diff == 0.125
    assert comparison.required_tolerance is None


# The label that the model itself names


def test_of_equal_probabilities_the_model_may_name_any() -> None:
    found = case([0.5, 0.4375, 0.0625, 0.0], [0.46875, 0.46875, 0.0625, 0.0], 0.03125, named="bee")

    # The margin in the reference is exactly twice the tolerance.
    assert (found.verdict, found.candidate.label) == ("tie", "bee")


@pytest.mark.parametrize(("named", "probability"), [("bee", 0.25), ("zebra", None)])
def test_a_label_against_its_own_dictionary_is_a_flip(named: str, probability: float | None) -> None:
    row = [0.5, 0.25, 0.125, 0.125]
    found = case(row, row, 0.125, named=named)

    assert found.verdict == "flip"
    assert (found.candidate.label, found.candidate.probability) == (named, probability)
    assert found.reason == f"the model names {named!r}, but its own most probable class is 'ant'"


def test_no_tolerance_cures_a_label_against_its_own_dictionary() -> None:
    comparison = compared([ANT, DOG], [ANT, DOG], top1=("ant", "cat"))

    assert comparison.verdict == "fail"
    assert comparison.required_tolerance is None


# Labels and shapes


def test_the_order_of_a_dictionary_means_nothing() -> None:
    shuffled = [[row[i] for i in (2, 0, 3, 1)] for row in (ANT, DOG)]

    comparison = compared([ANT, DOG], shuffled, labels=("cat", "ant", "dog", "bee"))

    assert comparison.verdict == "pass"
    assert comparison.max_abs_diff == 0


def test_labels_in_another_order_over_the_same_columns_fail() -> None:
    assert compared([ANT, DOG], [ANT, DOG], labels=("dog", "ant", "bee", "cat")).verdict == "fail"


@given(
    st.lists(st.sampled_from("abcdef"), max_size=6, unique=True), st.lists(st.sampled_from("abcdef"), max_size=6)
)
def test_no_two_lists_of_labels_are_told_apart_by_a_number_that_is_the_same(
    labels: list[str], theirs: list[str]
) -> None:
    told = tell_labels_apart("the file", theirs, labels)

    assert (told == "") == (theirs == labels)
    assert (f"has {len(theirs)} labels, the classifier" in told) == (len(theirs) != len(labels))
    assert ("in another order" in told) == (theirs != labels and sorted(theirs) == sorted(labels))


def test_a_candidate_without_labels_is_read_by_position() -> None:
    assert compared([ANT, DOG], [ANT, DOG], labels=None).verdict == "pass"
    assert compared([ANT, DOG], [ANT[::-1], DOG[::-1]], labels=None).verdict == "fail"


@pytest.mark.parametrize(
    ("labels", "found", "told"),
    [
        (
            ("ant", "bee", "cat"),
            [[0.75, 0.125, 0.125]] * 2,
            "3 labels, the classifier 4; absent 'dog', unknown none",
        ),
        ((*LABELS, "elk"), [[*ANT, 0.0]] * 2, "5 labels, the classifier 4; absent none, unknown 'elk'"),
        (
            ("ant", "bee", "cat", "Dog"),
            [ANT] * 2,
            "4, but 1 of other names: label 3 is 'Dog' there and 'dog' in the classifier",
        ),
        (
            ("ant", "bee", "cat", "dog", "dog"),
            [[*ANT, 0.0]] * 2,
            "5 labels, the classifier 4; labels 3 and 4 are both 'dog'; absent none",
        ),
        (("ant", "bee", "cat", "cat"), [ANT] * 2, "4; labels 2 and 3 are both 'cat'; absent 'dog', unknown none"),
        (
            ("dog", "bee", "Cat", "ant"),
            [ANT] * 2,
            "the candidate has as many labels as the classifier, 4, but 1 of other names: label 2 is 'Cat' there "
            "and 'cat' in the classifier; convert again",
        ),
        (
            ("dog", "Cat", "bee", "ant"),
            [ANT] * 2,
            "label 2 of the classifier, 'cat', is not there, and 'Cat' is; convert again",
        ),
        (("w", "x", "y", "z"), [ANT] * 2, "but 4 of other names: label 0 is 'w' there and 'ant' in the classifier"),
        (
            ("v", "w", "x", "y", "z"),
            [[*ANT, 0.0]] * 2,
            "5 labels, the classifier 4; absent 'ant', 'bee', 'cat', ..., unknown 'v', 'w', 'x', ...",
        ),
        (LABELS, [[*ANT, 0.0]] * 2, r"outputs of shape [2, 5] for 4 labels"),
        (LABELS, [[*ANT, 0.0, 0.0]] * 2, r"outputs of shape [2, 6] for 4 labels"),
        (LABELS, [[ANT]] * 2, r"outputs of shape [2, 1, 4] for 4 labels"),
        (LABELS, ANT, r"outputs of shape [4] for 4 labels"),
        (None, [ANT], r"outputs of shape [1, 4], not [2, 4]"),
        (None, [ANT] * 3, r"outputs of shape [3, 4], not [2, 4]"),
        (None, [[0.5, 0.5]] * 2, r"outputs of shape [2, 2], not [2, 4]"),
        (LABELS, [ANT] * 3, r"outputs of shape [3, 4], not [2, 4]"),
    ],
)
def test_outputs_that_cannot_be_matched_fail(labels: Any, found: Any, told: str) -> None:
    comparison = compared([ANT, DOG], found, labels=labels)

    assert comparison.verdict == "fail"
    assert told in comparison.reason
    assert (comparison.cases, comparison.required_tolerance) == ((), None)


@pytest.mark.parametrize(
    ("reference", "images"),
    [
        (Prediction(np.array([ANT, DOG])), ("a", "b")),
        (REFERENCE, ("a",)),
        (REFERENCE, ("a", "b", "c")),
        (REFERENCE, ()),
        (replace(REFERENCE, labels=LABELS[:3]), ("a", "b")),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(reference: Prediction, images: tuple[str, ...]) -> None:
    with pytest.raises(ParityError, match="reference"):
        compare(reference, REFERENCE, Tolerance(0.1), images)


# What proves nothing


def test_no_images_are_inconclusive() -> None:
    nothing = Prediction(np.zeros((0, 4)), LABELS)

    comparison = compare(nothing, nothing, Tolerance(0.1), ())

    assert (comparison.verdict, comparison.reason) == ("inconclusive", "no images were compared")


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        pytest.param([[0.25] * 4, [0.25] * 4], "about 1/4 for every class", id="flat"),
        pytest.param([[0.25] * 4], "about 1/4 for every class", id="flat, one image"),
        # An eighth more for one class keeps over 95 % of the entropy of a uniform answer.
        pytest.param([[0.375, 0.25, 0.1875, 0.1875]] * 2, "about 1/4 for every class", id="nearly flat"),
        pytest.param([ANT], "one image was compared, and a model that gives every image this one", id="one image"),
        pytest.param([ANT, ANT], "the same for every image", id="the same"),
        pytest.param([ANT, [0.625, 0.25, 0.125, 0.0]], "the same for every image", id="the same, nearly"),
        pytest.param([ANT, [0.46875, 0.375, 0.15625, 0.0]], "all 2 images one class", id="one class"),
    ],
)
def test_agreement_that_proves_nothing_is_inconclusive(reference: list[list[float]], told: str) -> None:
    comparison = compared(reference, reference)

    assert comparison.verdict == "inconclusive"
    assert told in comparison.reason
    assert comparison.max_abs_diff == 0


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param([ANT, DOG], id="two classes"),
        pytest.param([ANT, [0.25] * 4, DOG], id="one flat image among others"),
        pytest.param([[0.5, 0.25, 0.125, 0.125], [0.25, 0.5, 0.125, 0.125]], id="two modest answers"),
    ],
)
def test_agreement_that_proves_something_passes(reference: list[list[float]]) -> None:
    assert compared(reference, reference, tolerance=0.0625).verdict == "pass"


def test_a_classifier_of_one_class_proves_nothing() -> None:
    only = Prediction(np.ones((1, 1)), ("ant",))

    assert compare(only, only, Tolerance(0.1), ("a",)).verdict == "inconclusive"


def test_disagreement_fails_also_where_agreement_would_prove_nothing() -> None:
    assert compared([[0.25] * 4] * 2, [ANT, ANT]).verdict == "fail"


def test_the_constant_midway_between_the_extremes_is_what_counts() -> None:
    # The mean of these is 1/8 away from most and 3/8 from one; 1/4 for each class is within a quarter of all.
    reference = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])

    assert "the same for every image" in proves_nothing(reference, 0.25)
    assert "the same for every image" not in proves_nothing(reference, 0.25 - 2**-20)


@pytest.mark.parametrize("tolerance", [0.5, 0.97, 0.999])
def test_a_tolerance_within_which_one_answer_is_all_answers_proves_nothing(tolerance: float) -> None:
    comparison = compared([ANT, DOG], [ANT, DOG], tolerance)

    assert comparison.verdict == "inconclusive"
    assert f"the same for every image, within 3.8e-01 where {tolerance:g} is" in comparison.reason
    assert comparison.reason.endswith("give images that differ, or a smaller tolerance")


@pytest.mark.parametrize("row", [ANT, [0.6875, 0.1875, 0.125, 0.0]])
def test_one_image_passes_by_no_tolerance(row: list[float]) -> None:
    for tolerance in (0.125, 0.03125):
        comparison = compared([ANT], [row], tolerance)
        assert comparison.verdict == ("inconclusive" if row == ANT or tolerance == 0.125 else "fail")
        assert comparison.required_tolerance is None


def test_a_flip_far_from_a_tie_passes_by_no_tolerance() -> None:
    comparison = compared([ANT, DOG], [DOG, ANT], 0.97)

    assert (comparison.verdict, comparison.reason) == ("fail", "2 flip of 2 image(s)")
    assert (comparison.top1_agreement, comparison.required_tolerance) == (0.0, None)


# What PyTorch's own softmax loses


# All classes of an image are divided by one sum; here it is 0.0004 too small, as over 100,000 classes in fp32.
LOSING = np.array([ANT, DOG]) * 1.0004


@pytest.mark.parametrize(
    ("reference", "found", "verdict", "told"),
    [
        pytest.param(LOSING, [ANT, DOG], "pass", "loses 3.0e-04 in its fp32 sum over 4 classes", id="exact"),
        pytest.param(LOSING, LOSING, "pass", "", id="loses alike"),
        pytest.param(LOSING, [DOG, DOG], "fail", "", id="another class"),
        pytest.param(LOSING, [[0.7498, 0.1252, 0.125, 0.0], DOG], "fail", "", id="exact, and moved"),
        pytest.param([[0.7503, 0.1247, 0.125, 0.0], DOG], [ANT, DOG], "fail", "", id="other logits"),
        pytest.param(np.array([ANT, DOG]) * 1.02, [ANT, DOG], "fail", "", id="no sum of a softmax"),
    ],
)
def test_what_adds_up_better_than_pytorch_is_right(reference: Any, found: Any, verdict: str, told: str) -> None:
    both = (Prediction(np.array(reference), LABELS), Prediction(np.array(found), LABELS))
    given = (*both, Tolerance(1e-4), ("a.png", "d.png"))

    comparison, remark = with_exact_sums(*given, compare(*given))

    assert comparison.verdict == verdict
    assert (told in remark) if told else not remark


class Counted(str):
    """A label that counts how often it is looked up."""

    looked = 0
    __eq__ = str.__eq__

    def __hash__(self) -> int:
        Counted.looked += 1
        return str.__hash__(self)


def test_labels_are_told_apart_in_as_many_steps_as_there_are() -> None:
    labels = [Counted(f"class{index}") for index in range(2000)]
    others = (
        [*labels[1:], labels[0]],
        [Counted(f"{label} ") for label in labels],
        labels[1:],
        [*labels, labels[0]],
    )
    for theirs in others:
        Counted.looked = 0
        assert tell_labels_apart("the file", theirs, labels)
        assert Counted.looked < 10 * len(labels)


# Laws


@st.composite
def vectors(draw: st.DrawFn, images: int, classes: int) -> list[list[float]]:
    """Draw probabilities as multiples of 1/256: sums and differences of them are exact."""
    row = st.lists(st.integers(0, 256), min_size=classes, max_size=classes)
    return [[n / 256 for n in numbers] for numbers in draw(st.lists(row, min_size=images, max_size=images))]


@st.composite
def pairs(draw: st.DrawFn, least_images: int = 1) -> tuple[Prediction, Prediction, tuple[str, ...]]:
    """Draw a reference and a candidate of one shape, often near each other."""
    images, classes = draw(st.integers(least_images, 4)), draw(st.integers(1, 4))
    labels = tuple("abcd"[:classes])
    expected = np.array(draw(vectors(images, classes)))
    found = np.array(draw(vectors(images, classes)))
    nearness = draw(st.sampled_from([1.0, 0.25, 0.0625, 0.0]))
    candidate = expected + nearness * (found - expected)
    return Prediction(expected, labels), Prediction(candidate, labels), tuple(f"{i}" for i in range(images))


tolerances = st.integers(1, 255).map(lambda n: Tolerance(n / 256))


@given(pairs(least_images=2), tolerances, st.data())
def test_a_constant_that_is_near_every_answer_never_passes(
    drawn: tuple[Prediction, Prediction, tuple[str, ...]], tolerance: Tolerance, data: st.DataObject
) -> None:
    reference, _, images = drawn
    low = reference.probabilities.max(axis=0) - tolerance.probability
    high = reference.probabilities.min(axis=0) + tolerance.probability
    assume(bool((low <= high).all()))
    share = data.draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=len(low), max_size=len(low)))
    constant = np.tile(low + np.array(share) * (high - low), (len(images), 1))

    # Where a label changes that was no tie, it fails.
    assert compare(reference, Prediction(constant, reference.labels), tolerance, images).verdict != "pass"


@given(pairs(), tolerances)
def test_the_required_tolerance_is_the_smallest_that_passes(
    drawn: tuple[Prediction, Prediction, tuple[str, ...]], tolerance: Tolerance
) -> None:
    reference, candidate, images = drawn
    judged = compare(reference, candidate, tolerance, images)
    required = judged.required_tolerance

    if required is None:
        assert judged.verdict != "pass"
        return
    assert compare(reference, candidate, Tolerance(required or 1e-300), images).verdict == "pass"
    if required > 0:
        less = Tolerance(math.nextafter(required, 0))
        assert compare(reference, candidate, less, images).verdict == "fail"


@given(pairs(), tolerances)
def test_only_what_is_within_tolerance_passes(
    drawn: tuple[Prediction, Prediction, tuple[str, ...]], tolerance: Tolerance
) -> None:
    reference, candidate, images = drawn
    difference = np.abs(reference.probabilities - candidate.probabilities)

    judged = compare(reference, candidate, tolerance, images)

    flipped = any(case.verdict == "flip" for case in judged.cases)
    assert (judged.verdict == "fail") == (flipped or bool((difference > tolerance.probability).any()))
    assert judged.max_abs_diff == difference.max()


@given(pairs(), tolerances, st.randoms(use_true_random=False))
def test_the_order_of_images_leaves_the_verdicts(
    drawn: tuple[Prediction, Prediction, tuple[str, ...]], tolerance: Tolerance, random: Any
) -> None:
    reference, candidate, images = drawn
    order = list(range(len(images)))
    random.shuffle(order)

    before = compare(reference, candidate, tolerance, images)
    after = compare(
        replace(reference, probabilities=reference.probabilities[order]),
        replace(candidate, probabilities=candidate.probabilities[order]),
        tolerance,
        [images[i] for i in order],
    )

    assert after.verdict == before.verdict
    assert after.cases == tuple(before.cases[i] for i in order)
    assert (after.required_tolerance, after.max_abs_diff) == (before.required_tolerance, before.max_abs_diff)


@given(pairs(), tolerances, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_labels_changes_nothing(
    drawn: tuple[Prediction, Prediction, tuple[str, ...]], tolerance: Tolerance, random: Any
) -> None:
    reference, candidate, images = drawn
    assert candidate.labels is not None
    order = list(range(len(candidate.labels)))
    random.shuffle(order)
    shuffled = Prediction(candidate.probabilities[:, order], tuple(candidate.labels[i] for i in order))

    assert compare(reference, shuffled, tolerance, images) == compare(reference, candidate, tolerance, images)


@given(pairs(), tolerances, st.randoms(use_true_random=False))
def test_the_order_of_the_classes_leaves_the_verdicts(
    drawn: tuple[Prediction, Prediction, tuple[str, ...]], tolerance: Tolerance, random: Any
) -> None:
    reference, candidate, images = drawn
    # Equal probabilities are decided by position, so that another order may name another label.
    assume(all(len(set(row)) == len(row) for p in (reference, candidate) for row in p.probabilities.tolist()))
    assert reference.labels is not None
    order = list(range(len(reference.labels)))
    random.shuffle(order)
    labels = tuple(reference.labels[i] for i in order)

    before = compare(reference, candidate, tolerance, images)
    after = compare(
        Prediction(reference.probabilities[:, order], labels),
        Prediction(candidate.probabilities[:, order], labels),
        tolerance,
        images,
    )

    assert [case.verdict for case in after.cases] == [case.verdict for case in before.cases]
    assert (after.verdict, after.required_tolerance) == (before.verdict, before.required_tolerance)


# Measures


@pytest.fixture(scope="module")
def dirichlet() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    expected = random.dirichlet(np.full(9, 0.5))
    return expected, random.dirichlet(20 * expected + 0.1)


def measured(expected: np.ndarray, found: np.ndarray) -> Case:
    labels = tuple(f"class{i}" for i in range(len(expected)))
    prediction, candidate = Prediction(expected[None], labels), Prediction(found[None], labels)
    return compare(prediction, candidate, Tolerance(0.5), ["a.png"]).cases[0]


def test_kl_is_scipys(dirichlet: tuple[np.ndarray, np.ndarray]) -> None:
    assert measured(*dirichlet).kl == pytest.approx(float(rel_entr(*dirichlet).sum()), rel=1e-12)


def test_kl_of_an_exact_zero_is_finite() -> None:
    # A quarter of the mass stands against the smallest number that fp16 has.
    found = measured(np.array([0.75, 0.25]), np.array([1.0, 0.0]))

    assert found.kl == pytest.approx(0.75 * math.log(0.75) + 0.25 * math.log(0.25 / 6e-8), rel=1e-12)


def test_kl_ignores_what_the_reference_excludes() -> None:
    assert measured(np.array([1.0, 0.0]), np.array([0.5, 0.5])).kl == pytest.approx(math.log(2), rel=1e-12)


def test_snr_and_psnr_are_the_textbooks(dirichlet: tuple[np.ndarray, np.ndarray]) -> None:
    expected, found = dirichlet
    noise = found - expected
    case = measured(expected, found)

    assert case.snr_db == pytest.approx(10 * math.log10(np.mean(expected**2) / np.mean(noise**2)), rel=1e-12)
    assert case.psnr_db == pytest.approx(20 * math.log10(expected.max() / np.sqrt(np.mean(noise**2))), rel=1e-12)


def test_equal_vectors_have_no_noise_to_measure() -> None:
    case = measured(np.array([0.75, 0.25]), np.array([0.75, 0.25]))

    assert (case.snr_db, case.psnr_db, case.kl) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("found", "overlap"),
    [
        ([0.4, 0.2, 0.15, 0.1, 0.08, 0.07], 1.0),
        ([0.4, 0.2, 0.15, 0.1, 0.07, 0.08], 0.8),
        ([0.2, 0.4, 0.1, 0.15, 0.08, 0.07], 1.0),
    ],
)
def test_top5_overlap_counts_shared_classes(found: list[float], overlap: float) -> None:
    assert measured(np.array([0.4, 0.2, 0.15, 0.1, 0.08, 0.07]), np.array(found)).top5_overlap == overlap


def test_top5_overlap_of_fewer_classes_counts_those() -> None:
    assert measured(np.array([0.75, 0.25]), np.array([0.25, 0.75])).top5_overlap == 1.0


# What is said


def run_of(*subjects: Subject, stale: tuple[str, ...] = ()) -> Run:
    return Run(Environment("3.11", "Linux", {}), subjects, stale)


def subject(verdict: Verdict, comparison: Comparison | None = None, **more: Any) -> Subject:
    found = Subject("tiny", "onnx", "tiny.onnx", "onnxruntime", "fp32", verdict, **more)
    if comparison is None:
        return found
    return replace(
        found,
        reason=comparison.reason,
        tolerance=comparison.tolerance,
        required_tolerance=comparison.required_tolerance,
        cases=comparison.cases,
    )


def flipped() -> Comparison:
    return compared([ANT, DOG], [[0.6328125, 0.125, 0.2421875, 0.0], [0.5078125, 0.0625, 0.125, 0.3046875]], 0.01)


def test_the_message_of_a_failure() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_parity(run_of(subject("pass"), subject("fail", flipped())))

    assert str(raised.value).splitlines() == [
        "tiny by onnx on onnxruntime: fail: 1 flip, 1 drift of 2 image(s)",
        "  worst image 1.png (flip): PyTorch 'dog' at 0.75, candidate 'ant' at 0.5078",
        "  largest difference 0.445 at 'ant' (0.0625 against 0.5078), allowed 0.01",
    ]


def test_the_message_names_the_tolerance_that_would_have_passed() -> None:
    comparison = compared([ANT, DOG], [[0.6328125, 0.125, 0.2421875, 0.0], DOG], 0.01)

    with pytest.raises(AssertionError) as raised:
        assert_parity(comparison)

    assert str(raised.value).splitlines() == [
        "fail: 1 drift of 2 image(s)",
        "  worst image 0.png (drift): PyTorch 'ant' at 0.75, candidate 'ant' at 0.6328",
        "  largest difference 0.117 at 'ant' (0.75 against 0.6328), allowed 0.01",
        # Rounded up from 0.1171875: what is read here must pass when it is typed in.
        "  a tolerance of 0.118 would have passed",
    ]


@pytest.mark.parametrize(
    ("row", "named", "told"),
    [
        ([math.nan] * 4, None, "candidate '-' without a finite probability\n  4 of 4 probabilities are not finite"),
        (
            DOG,
            "bee",
            "candidate 'bee' at 0.0625\n  the model names 'bee', but its own most probable class is 'dog'",
        ),
    ],
)
def test_the_message_gives_a_cases_own_reason(row: list[float], named: str | None, told: str) -> None:
    comparison = compared([ANT, DOG], [ANT, row], top1=("ant", named) if named else None)

    with pytest.raises(AssertionError) as raised:
        assert_parity(comparison)

    assert told in str(raised.value)
    assert "would have passed" not in str(raised.value)


def test_inconclusive_for_its_tolerance_names_the_stricter_one() -> None:
    near = [[0.5, 0.4375, 0.0625, 0.0], [0.4375, 0.5, 0.0625, 0.0]]
    comparison = compared(near, [[0.5078125, 0.4375, 0.0546875, 0.0], near[1]], 0.125)

    assert comparison.verdict == "inconclusive"
    with pytest.raises(
        AssertionError, match=r"the same for every image(?s:.)*a tolerance of 0.00782 would have passed"
    ):
        assert_parity(comparison)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (run_of(), "nothing was compared"),
        (
            run_of(subject("skipped", reason="needs macOS")),
            "nothing was compared\n\nskipped: onnxruntime: needs macOS",
        ),
        (run_of(subject("error", reason="broken file")), "tiny by onnx on onnxruntime: error: broken file"),
        (run_of(subject("pass"), stale=("an old entry",)), "an old entry"),
        (
            run_of(subject("pass"), subject("skipped"), subject("inconclusive")),
            "tiny by onnx on onnxruntime: inconclusive",
        ),
    ],
)
def test_what_does_not_hold_raises(run: Run, told: str) -> None:
    with pytest.raises(AssertionError) as raised:
        assert_parity(run)

    assert str(raised.value) == told


@pytest.mark.parametrize(
    "found",
    [
        run_of(subject("pass")),
        run_of(subject("pass"), subject("skipped", reason="needs macOS")),
        run_of(subject("pass"), subject("fail", known_issue=KnownIssue("upstream", ""))),
        compared([ANT, DOG], [ANT, DOG]),
    ],
)
def test_what_holds_does_not_raise(found: Run | Comparison) -> None:
    assert_parity(found)


def test_a_known_issue_is_left_out_of_the_message() -> None:
    known = subject("fail", flipped(), known_issue=KnownIssue("upstream", ""))

    with pytest.raises(AssertionError) as raised:
        assert_parity(run_of(known, subject("error", reason="broken file")))

    assert "flip" not in str(raised.value)


def test_a_subject_that_was_not_compared_is_explained_by_its_reason() -> None:
    assert explain_failure(subject("error", reason="no such file")) == (
        "tiny by onnx on onnxruntime: error: no such file"
    )
    assert explain_failure(subject("error")) == "tiny by onnx on onnxruntime: error"


def test_a_case_lists_the_five_most_probable_classes_of_either() -> None:
    labels = tuple("abcdefg")
    reference = Prediction(np.array([[0.4, 0.3, 0.1, 0.08, 0.06, 0.04, 0.02]]), labels)
    candidate = Prediction(np.array([[0.4, 0.3, 0.1, 0.02, 0.04, 0.08, 0.06]]), labels)

    (case,) = compare(reference, candidate, Tolerance(0.5), ["x"]).cases

    assert [(pair.label, pair.reference, pair.candidate) for pair in case.top] == [
        ("a", 0.4, 0.4),
        ("b", 0.3, 0.3),
        ("c", 0.1, 0.1),
        ("d", 0.08, 0.02),
        ("e", 0.06, 0.04),
        ("f", 0.04, 0.08),
        ("g", 0.02, 0.06),
    ]
