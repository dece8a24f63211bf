"""The builds for Core ML and for Core AI of one model, two by two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.core.migration import Build, ChangedLabel, Migration, builds_of, migrations
from parity.core.results import Environment, Prediction, Run, Subject, from_json, to_json
from parity.report.html import to_html
from parity.report.markdown import to_markdown

LABELS = ("cat", "dog", "owl")
TORCH = Prediction(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]), LABELS)
IMAGES = ("a.png", "b.png")
SHIP, NEXT = "mlprogram (fp16) on coreml-evaluator", "coreai (fp32) on coreai"


def core_ml(rows: list[list[float]]) -> Build:
    return Build(SHIP, "mlprogram", Prediction(np.array(rows), LABELS))


def core_ai(rows: list[list[float]], labels: tuple[str, ...] | None = LABELS) -> Build:
    return Build(NEXT, "coreai", Prediction(np.array(rows), labels))


def pairs(*builds: Build) -> list[Migration]:
    return list(migrations("net", TORCH, builds, IMAGES))


def test_each_pair_has_its_distance_and_the_labels_that_change() -> None:
    """0.7 against 0.4 in the first image is the largest between the two; both change a label against PyTorch."""
    old = core_ml([[0.7, 0.2, 0.1], [0.3, 0.2, 0.5]])
    new = core_ai([[0.4, 0.5, 0.1], [0.2, 0.4, 0.4001]])

    found = pairs(old, new)

    assert [(one.first, one.second) for one in found] == [("PyTorch", SHIP), ("PyTorch", NEXT), (SHIP, NEXT)]
    assert [one.max_abs_diff for one in found] == pytest.approx([0.6, 0.4, 0.3])
    assert [one.changed for one in found] == [
        (ChangedLabel("b.png", "dog", "owl"),),
        (ChangedLabel("a.png", "cat", "dog"), ChangedLabel("b.png", "dog", "owl")),
        (ChangedLabel("a.png", "cat", "dog"),),
    ]
    assert {(one.model, one.images) for one in found} == {("net", 2)}


def test_labels_in_another_order_are_matched_by_their_names() -> None:
    turned = core_ai([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1]], LABELS[::-1])

    assert [(one.max_abs_diff, one.changed) for one in pairs(core_ml(TORCH.probabilities.tolist()), turned)] == [
        (0.0, ())
    ] * 3


def test_columns_without_names_are_in_the_models_order() -> None:
    new = core_ai(TORCH.probabilities.tolist(), None)

    assert [one.max_abs_diff for one in pairs(core_ml(TORCH.probabilities.tolist()), new)] == [0.0] * 3


def test_an_answer_that_is_not_finite_has_no_distance() -> None:
    new = core_ai([[float("nan")] * 3, [0.1, 0.8, 0.1]])

    assert [one.max_abs_diff for one in pairs(core_ml(TORCH.probabilities.tolist()), new)] == [0.0, None, None]


@pytest.mark.parametrize("builds", [(), (core_ml([[1, 0, 0]] * 2),), (core_ai([[1, 0, 0]] * 2),)])
def test_without_both_there_is_nothing_to_compare(builds: tuple[Build, ...]) -> None:
    assert pairs(*builds) == []


@pytest.mark.parametrize(
    ("form", "made"), [("onnx", False), ("mlprogram", True), ("neuralnetwork", True), ("coreai", True)]
)
def test_what_ships_with_an_app_is_a_build(form: str, made: bool) -> None:
    subject = Subject("net", "mlprogram", "net.mlpackage", "coreml-evaluator", "fp16", "pass")

    assert [one.name for one in builds_of(subject, form, TORCH)] == [SHIP] * made


def a_run() -> Run:
    changed = tuple(ChangedLabel(f"{place}|.png", "cat", "dog") for place in range(7))
    pair = Migration("n<e>t", SHIP, NEXT, 8, 0.25, changed)
    subject = Subject("n<e>t", "mlprogram", "net.mlpackage", "coreml-evaluator", "fp16", "pass")
    return Run(Environment("3.11", "Linux", {}), (subject,), summary={"pass": 1}, migrations=(pair,))


def test_results_json_keeps_it() -> None:
    assert from_json(to_json(a_run())).migrations == a_run().migrations


def test_an_older_results_json_has_none() -> None:
    text = to_json(replace(a_run(), migrations=()))

    assert from_json(text.replace('"migrations": [],\n  ', "")).migrations == ()


def test_the_page_and_markdown_show_it() -> None:
    for written in (to_html(a_run()), to_markdown(a_run())):
        assert "Core ML and Core AI" in written
        assert "n<e>t" not in written
        assert "and 2 images more" in written
        assert NEXT.partition(" ")[0] in written
    assert "0|.png" not in to_markdown(a_run())


def test_without_it_neither_speaks_of_it() -> None:
    for written in (to_html(replace(a_run(), migrations=())), to_markdown(replace(a_run(), migrations=()))):
        assert "Core ML and Core AI" not in written
