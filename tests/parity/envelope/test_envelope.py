"""An envelope as a whole: verdicts, the operation that is named, what is shared, and records held against it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from conversion import Artifact, Classifier, convert
from parity.artifacts.record_file import record
from parity.backends import find_backend
from parity.core.comparison import CaseVerdict
from parity.core.envelope import Envelope
from parity.core.errors import ParityError
from parity.core.tolerance import Tolerance
from parity.coreml.program import Graph, Node, Value
from parity.coreml.running.plan import make_plan
from parity.envelope.arithmetics import ARITHMETICS, DEFAULT, chosen
from parity.envelope.envelope import envelope_of
from parity.envelope.judgement import Answers, answers_of, judge
from parity.envelope.kernels import Change
from parity.envelope.records import held
from parity.envelope.running import Variant, cost_of, open_variable, run_plan
from parity.suite.images import ImageSet, load_images
from parity.suite.records import RecordFile, to_json
from tests.parity.envelope.deciding import between, digits, unsafe
from tests.parity.tiny import LABELS, PREPROCESSING, alike, converted, pictures, tiny, untrained


@cache
def images() -> ImageSet:
    return load_images(pictures(), PREPROCESSING)


@cache
def answers(names: tuple[str, ...] = DEFAULT, tolerance: float = 1e-2) -> Answers:
    opened = open_variable(converted("mlprogram"))
    variants = [opened.variant(one) for one in chosen(names)]
    return answers_of(opened, variants, images(), LABELS, Tolerance(tolerance), 1)


@pytest.fixture(scope="module")
def lifted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Artifact]:
    classifier = unsafe()
    return classifier, convert(classifier, "mlprogram", tmp_path_factory.mktemp("unsafe"))


# Verdicts


def test_a_sound_network_is_safe(tmp_path: Path) -> None:
    classifier = digits()
    found = envelope_of(
        classifier,
        convert(classifier, "mlprogram", tmp_path),
        load_images(between(), classifier.preprocessing),
    )

    assert (found.verdict, found.exit_code, found.unsafe_share) == ("safe", 0, 0.0)
    assert not found.contributions
    assert not found.advice


def test_one_unit_in_the_last_place_decides_and_the_operation_is_named(
    lifted: tuple[Classifier, Artifact],
) -> None:
    classifier, artifact = lifted
    found = envelope_of(classifier, artifact, load_images(between(), classifier.preprocessing))

    assert (found.verdict, found.exit_code) == ("unsafe", 1)
    assert found.unsafe_share > 0
    first = found.contributions[0]
    assert (first.type, first.of - first.index) == ("linear", 4)  # softmax, a cast and classify follow
    assert first.before is not None
    assert first.after is not None
    assert first.after < first.before / 10
    assert any(one.what == f"keep in fp32: {first.operation}" and not one.flips_after for one in found.advice)


def judged(tolerance: float, names: tuple[str, ...] = DEFAULT) -> Envelope:
    return judge(answers(names, tolerance))


@pytest.mark.parametrize(("tolerance", "verdict"), [(1e-2, "safe"), (1e-5, "sensitive")])
def test_what_moves_further_than_is_allowed_is_sensitive(tolerance: float, verdict: str) -> None:
    found = judged(tolerance)

    assert (found.verdict, found.exit_code) == (verdict, 0)


def with_rows(rows: np.ndarray, tolerance: float = 0.01) -> Envelope:
    """Judge answers that are made up: round-once and one variant, [2, images, 3]."""
    from parity.core.compare import compare
    from parity.core.prediction import Prediction

    labels, names = ("a", "b", "c"), tuple(f"{i}.png" for i in range(rows.shape[1]))
    allowed = Tolerance(tolerance)
    base, other = (Prediction(one, labels) for one in rows)
    real = answers()
    pixels = np.zeros((len(names), 2, 2, 3), np.uint8)
    comparison = compare(base, other, allowed, names)
    return judge(
        Answers(*(real.opened, ImageSet(names, pixels), labels, allowed, 1, real.variants[:1], rows, (comparison,)))
    )


BASE = np.array([[0.9, 0.06, 0.04], [0.1, 0.7, 0.2], [0.505, 0.495, 0.0]])


@pytest.mark.parametrize(
    ("image", "other", "verdict", "case"),
    [
        (0, (0.905, 0.055, 0.04), "safe", "match"),
        (0, (0.85, 0.11, 0.04), "sensitive", "drift"),
        (2, (0.498, 0.502, 0.0), "sensitive", "tie"),
        (1, (0.1, 0.4, 0.5), "unsafe", "flip"),
        (1, (np.nan, np.nan, np.nan), "unsafe", "error"),
    ],
)
def test_each_verdict(image: int, other: tuple[float, ...], verdict: str, case: CaseVerdict) -> None:
    moved = BASE.copy()
    moved[image] = other

    found = with_rows(np.stack([BASE, moved]))

    assert (found.verdict, found.cases[image].verdict) == (verdict, case)


def test_a_range_has_both_ends_and_the_labels_of_all() -> None:
    moved = BASE.copy()
    moved[1] = (0.1, 0.4, 0.5)

    found = with_rows(np.stack([BASE, moved]))

    assert found.cases[1].labels == ("b", "c")
    assert {band.label: (band.answered, band.low, band.high) for band in found.cases[1].bands} == {
        "a": (0.1, 0.1, 0.1),
        "b": (0.7, 0.4, 0.7),
        "c": (0.2, 0.2, 0.5),
    }
    assert found.unsafe_share == pytest.approx(1 / 3)


def test_images_that_prove_nothing_are_inconclusive() -> None:
    model = untrained()
    found = envelope_of(model, converted("mlprogram", untrained), images())

    assert (found.verdict, found.exit_code) == ("inconclusive", 3)
    assert found.reason


def test_images_of_one_class_prove_nothing() -> None:
    found = envelope_of(tiny(), converted("mlprogram"), load_images(alike(), PREPROCESSING))

    assert found.verdict == "inconclusive"


def test_layers_cannot_be_varied() -> None:
    found = envelope_of(tiny(), converted("onnx-coreml"), images())

    assert (found.verdict, found.exit_code) == ("inconclusive", 3)
    assert "NeuralNetwork" in found.reason
    assert found.max_abs_diff is not None
    assert found.max_abs_diff > 0


def test_onnx_is_refused() -> None:
    with pytest.raises(ParityError, match="coreml-evaluator, which does not run onnx; give the Core ML file"):
        envelope_of(tiny(), converted("onnx"), images())


def test_an_envelope_of_nothing_is_refused() -> None:
    with pytest.raises(ParityError, match="no images were given"):
        envelope_of(tiny(), converted("mlprogram"), load_images([], PREPROCESSING))


# Running


def test_round_once_is_the_evaluator_and_lies_inside() -> None:
    found = answers()
    evaluated = find_backend("coreml-evaluator").load(converted("mlprogram"))(images().pixels)

    np.testing.assert_array_equal(found.rows[0], evaluated.probabilities)
    assert (found.lowest <= found.rows[0]).all()
    assert (found.rows[0] <= found.highest).all()


def test_together_each_variant_answers_as_it_does_alone() -> None:
    names = (*DEFAULT, "sums-8", "products", "flush")
    together = answers(names)

    for index, name in enumerate(names, 1):
        np.testing.assert_array_equal(together.rows[index], answers((name,)).rows[1])


def test_a_file_in_fp32_is_computed_in_fp16() -> None:
    opened = open_variable(converted("mlprogram-fp32"))
    found = answers_of(opened, [opened.variant(ARITHMETICS["flush-sums"])], images(), LABELS, Tolerance(0.01), 1)
    half = answers(("flush-sums",))

    assert not opened.has_halves
    assert np.abs(found.rows[1] - half.rows[1]).max() < 2e-3
    assert np.abs(found.rows[1] - found.rows[0]).max() > 1e-6


def scalar_plan(calls: list[str]):  # type: ignore[no-untyped-def]
    def node(name: str, source: str, function) -> Node:  # type: ignore[no-untyped-def]
        def run(x: torch.Tensor) -> tuple[torch.Tensor]:
            calls.append(name)
            return (function(x),)

        return Node(name, name, (source,), (Value(name, "fp16"),), run)

    nodes = (
        node("double", "x", lambda x: x * 2),
        node("relu", "double", torch.relu),
        node("one", "relu", lambda x: x + 1),
    )
    return make_plan(Graph((Value("x", "fp16"),), ("one",), nodes), "test")


def changed(amount: float) -> Variant:
    change = Change(lambda x: (x * 2 + amount,), (None,))
    return Variant(ARITHMETICS["fused"], {"double": change})


def test_what_is_the_same_is_computed_once() -> None:
    calls: list[str] = []
    plan = scalar_plan(calls)

    _, (base, same, other) = run_plan(plan, [changed(0.0), changed(3.0)], [torch.tensor([1.0])])

    assert (base[0].item(), same[0].item(), other[0].item()) == (3, 3, 6)
    # The first variant comes to the same number, and all that follows is shared.
    assert calls == ["double", "relu", "relu", "one", "one"]


def test_a_difference_that_ends_is_shared_again() -> None:
    calls: list[str] = []
    plan = scalar_plan(calls)

    _, (base, other) = run_plan(plan, [changed(-3.0)], [torch.tensor([-1.0])])

    assert (base[0].item(), other[0].item()) == (1, 1)  # relu makes both zero
    assert calls == ["double", "relu", "relu", "one"]


def test_without_a_change_a_variant_is_round_once() -> None:
    _, (base, other) = run_plan(scalar_plan([]), [changed(3.0).without(["double"])], [torch.tensor([1.0])])

    assert base[0].item() == other[0].item()


def test_cost_is_in_evaluations_and_leaves_the_first_out() -> None:
    assert cost_of([(1.0, 90.0), (1.0, 4.0), (3.0, 8.0)]) == 3.0
    assert cost_of([(1.0, 90.0)]) is None


# Records


def recorded(rows: np.ndarray, path: Path, **of: str) -> Path:
    """Write a record of the tiny classifier's file with these probabilities, [images, classes]."""
    template = record([converted("mlprogram").path], pictures())
    (one,) = template.records
    predictions = [
        prediction.model_copy(update={"probabilities": dict(zip(LABELS, map(float, row), strict=True))})
        for prediction, row in zip(one.predictions, rows, strict=True)
    ]
    file = template.model_copy(update={"records": [one.model_copy(update={"predictions": predictions, **of})]})
    path.write_text(to_json(RecordFile.model_validate(file.model_dump(by_alias=True))), encoding="utf-8")
    return path


RECORDABLE = ("sums-8", "sums-16", "products", "table-4", "flush", "neural-engine", "coarse")


@pytest.mark.parametrize("name", RECORDABLE)
def test_a_record_of_one_variant_is_inside_and_recognised(name: str, tmp_path: Path) -> None:
    found = answers(RECORDABLE)
    file = recorded(found.rows[1 + RECORDABLE.index(name)], tmp_path / "record.json")

    (one,) = held(found, file)

    assert (one.inside, one.outside) == (True, ())
    same = [near.name for near in one.nearest if near.max_abs_diff == 0]
    assert name in same


def test_a_record_outside_is_told_at_its_image(tmp_path: Path) -> None:
    found = answers()
    rows = found.rows[0].copy()
    column = int(rows[3].argmax())
    rows[3, column] -= 0.05
    file = recorded(rows, tmp_path / "record.json", device="iPhone16,1", system="iOS 18.2", unit="Neural Engine")

    (one,) = held(found, file)

    assert not one.inside
    (outside,) = one.outside
    assert (outside.image, outside.label) == (images().names[3], LABELS[column])
    assert outside.recorded == pytest.approx(rows[3, column])
    assert outside.low == found.lowest[3, column]
    assert "iPhone16,1, iOS 18.2" in one.recorded_by
    assert one.recorded_by.endswith("computed on Neural Engine")
    assert judge(found, None, [one]).exit_code == 1


@pytest.mark.parametrize(("beyond", "inside"), [(2.0**-13, True), (2.0**-11, False)])
def test_outside_is_further_than_fp16_can_tell(beyond: float, inside: bool, tmp_path: Path) -> None:
    found = answers()
    rows = found.highest.copy()
    rows[0, 0] += beyond

    (one,) = held(found, recorded(rows, tmp_path / "record.json"))

    assert one.inside == inside


def test_a_record_of_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(to_json(record([converted("mlprogram-fp32").path], pictures())), encoding="utf-8")

    with pytest.raises(ParityError, match="no record of this .*: record this one"):
        held(answers(), file)


def test_a_record_of_other_pixels_is_refused(tmp_path: Path) -> None:
    found = answers()
    file = recorded(found.rows[0], tmp_path / "record.json")
    other = replace(found, images=replace(found.images, pixels=255 - found.images.pixels))

    with pytest.raises(ParityError, match="made from other pixels"):
        held(other, file)
