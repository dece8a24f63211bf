"""A leg against its baseline: compared, stored, lost; and what a whole suite adds up to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import ParityError
from parity.backends.reference import Reference
from parity.core.results import Answer, Case, Prediction, Subject
from parity.pipeline import Leg
from parity.suite.images import load_images
from parity.suite.suite import ModelEntry, Selection, Suite
from parity.versions import drift
from parity.versions.baselines import Change, read_baseline
from parity.versions.drift import Drift, Drifts, follow, follow_suite, to_json
from tests.parity.formats.test_facts import network, saved
from tests.parity.tiny import LABELS, pictures, tiny

ROW = np.array([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.0078125])
CASE = Case("image 0", "match", Answer("ant", 0.5), Answer("ant", 0.5))
FILE = "baselines/tiny/onnx.onnxruntime.json"


@pytest.fixture
def leg(tmp_path: Path) -> Leg:
    """Judge one picture: what the backend answered is ROW."""
    classifier = tiny()
    images = load_images(pictures()[:1], classifier.preprocessing)
    reference = Reference(classifier, images, Prediction(ROW[None], LABELS))
    subject = Subject("tiny", "onnx", "net.onnx", "onnxruntime", "fp32", "pass", cases=(CASE,))
    return Leg(subject, reference, saved(network(), tmp_path / "net.onnx"), Prediction(ROW[None], LABELS))


def answering(leg: Leg, row: np.ndarray) -> Leg:
    return replace(leg, prediction=Prediction(row[None], LABELS))


def test_nothing_is_written_without_a_reason(leg: Leg, tmp_path: Path) -> None:
    found = follow(tmp_path, leg)

    assert found == Drift(leg.subject)
    assert not (tmp_path / "baselines").exists()


def test_answers_are_stored_and_found_again(leg: Leg, tmp_path: Path) -> None:
    first, again = follow(tmp_path, leg, "the first"), follow(tmp_path, leg, "the second")

    assert (first.written, first.kept) == (tmp_path / FILE, None)
    assert (again.written, again.kept) == (None, tmp_path / FILE)
    assert read_baseline(tmp_path / FILE).reason == "the first"
    assert {name: change.kind for name, change in follow(tmp_path, leg).changes.items()} == {"image 0": "same bits"}


def test_what_else_changed_stands_beside_what_moved(leg: Leg, tmp_path: Path) -> None:
    follow(tmp_path, leg, "the first")
    model = network()
    model.graph.node[2].op_type = "Other"
    changed = replace(answering(leg, ROW[::-1].copy()), artifact=saved(model, tmp_path / "net.onnx"))

    found = follow(tmp_path, changed)

    assert found.matters
    assert found.changes["image 0"].kind == "flip"
    assert found.since == ("operations: com.example::Fused 1 -> gone, com.example::Other none -> 1",)
    assert found.counts == {"flip": 1}


def test_another_system_alone_is_named(leg: Leg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.versions.baselines.operating_system", lambda: "macOS 13.6 arm64")
    follow(tmp_path, leg, "the first")
    monkeypatch.setattr("parity.versions.baselines.operating_system", lambda: "macOS 15.1 arm64")

    same, moved = follow(tmp_path, leg), follow(tmp_path, answering(leg, ROW[::-1].copy()))

    assert same.since == ("platform: macOS 13.6 arm64 -> macOS 15.1 arm64",)
    assert moved.since == (
        "platform: macOS 13.6 arm64 -> macOS 15.1 arm64",
        "the same file and versions: golden outputs from macOS 13.6 arm64 no longer match [v-os-update]",
    )


@pytest.mark.parametrize("cases", [(), (replace(CASE, verdict="error"),)])
def test_answers_that_are_none_are_not_stored(leg: Leg, tmp_path: Path, cases: tuple[Case, ...]) -> None:
    unfit = replace(leg, subject=replace(leg.subject, verdict="fail", reason="broken", cases=cases))

    assert follow(tmp_path, unfit, "why") == Drift(unfit.subject)
    assert not (tmp_path / "baselines").exists()

    follow(tmp_path, leg, "the first")
    before = (tmp_path / FILE).read_bytes()
    assert follow(tmp_path, unfit) == Drift(unfit.subject, trouble="fail: broken")
    assert follow(tmp_path, unfit, "why").written is None
    assert (tmp_path / FILE).read_bytes() == before


def test_a_backend_that_is_not_here_loses_nothing(leg: Leg, tmp_path: Path) -> None:
    follow(tmp_path, leg, "the first")
    absent = replace(leg, subject=replace(leg.subject, verdict="skipped", cases=()), prediction=None)

    assert not follow(tmp_path, absent).matters


def test_a_damaged_baseline_is_trouble(leg: Leg, tmp_path: Path) -> None:
    follow(tmp_path, leg, "the first")
    (tmp_path / FILE).write_text("{", encoding="utf-8")

    found = follow(tmp_path, leg)

    assert found.matters
    assert found.trouble.startswith(f"{tmp_path / FILE}: not a baseline (")


def test_the_baseline_of_another_leg_is_trouble(leg: Leg, tmp_path: Path) -> None:
    follow(tmp_path, leg, "the first")
    other = tmp_path / "baselines/tiny/onnx.onnx-reference.json"
    (tmp_path / FILE).rename(other)

    found = follow(tmp_path, replace(leg, subject=replace(leg.subject, backend="onnx-reference")))

    assert found.trouble == (
        f"{other}: is of tiny by onnx on onnxruntime, and stands where that of tiny by onnx on onnx-reference "
        "should; record it again"
    )


@pytest.mark.parametrize("backend", ["recorded", "recorded-mac"])
def test_what_was_recorded_elsewhere_is_not_stored_again(leg: Leg, tmp_path: Path, backend: str) -> None:
    recorded = replace(leg, subject=replace(leg.subject, backend=backend))

    assert follow(tmp_path, recorded, "why") == Drift(recorded.subject)
    assert not (tmp_path / "baselines").exists()


# A whole suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path / "parity.toml", (ModelEntry("tiny", "m.py:tiny", {}, ("onnx",), ("a.jpg",)),))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Leg], None]:
    """Let the pipeline find one leg."""

    def runs(found: Leg) -> None:
        def run_legs(*_: Any) -> Iterator[Leg]:
            yield found

        monkeypatch.setattr(drift, "run_legs", run_legs)

    return runs


def test_a_conversion_that_fails_loses_every_baseline_of_its_route(
    leg: Leg, suite: Suite, runs: Callable[[Leg], None]
) -> None:
    follow(suite.directory, leg, "the first")
    failed = replace(leg.subject, backend="-", verdict="error", reason="it crashed", cases=())
    runs(Leg(failed, leg.reference))

    found = follow_suite(suite)

    assert [(d.subject.backend, d.trouble) for d in found.legs] == [("onnxruntime", "error: it crashed")]
    assert found.exit_code == 1
    assert follow_suite(suite, Selection(backends=("onnx-reference",))).legs == (Drift(failed),)


def test_a_conversion_that_fails_without_a_baseline_has_nothing_to_lose(
    leg: Leg, suite: Suite, runs: Callable[[Leg], None]
) -> None:
    failed = replace(leg.subject, backend="-", verdict="error", reason="it crashed", cases=())
    runs(Leg(failed, leg.reference))

    assert follow_suite(suite) == Drifts((Drift(failed),))
    assert follow_suite(suite).exit_code == 3


def test_unused_baselines_are_named_where_all_of_the_suite_is_run(
    leg: Leg, suite: Suite, runs: Callable[[Leg], None]
) -> None:
    old = suite.directory / "baselines" / "old" / "onnx.onnxruntime.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}", encoding="utf-8")
    runs(leg)

    assert follow_suite(suite).unused == (old,)
    for part in (Selection(("tiny",)), Selection(routes=("onnx",)), Selection(backends=("onnxruntime",))):
        assert follow_suite(suite, part).unused == ()


SUBJECT = Subject("tiny", "onnx", "net.onnx", "onnxruntime", "fp32", "pass")


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ([], 3),
        (["new", "gone"], 3),
        (["same bits"], 0),
        (["within noise", "tie", "new", "gone"], 0),
        (["same bits", "moved"], 1),
        (["flip"], 1),
    ],
)
def test_exit_codes(kinds: list[Any], code: int) -> None:
    changes = {f"{i}.png": Change(kind, "told") for i, kind in enumerate(kinds)}

    assert Drifts((Drift(SUBJECT), Drift(SUBJECT, changes))).exit_code == code


@pytest.mark.parametrize(
    ("leg", "code"),
    [
        (Drift(SUBJECT, written=Path("b.json")), 0),
        (Drift(SUBJECT, kept=Path("b.json")), 0),
        (Drift(SUBJECT, trouble="lost"), 1),
    ],
)
def test_exit_codes_of_what_is_stored_or_lost(leg: Drift, code: int) -> None:
    assert Drifts((leg,)).exit_code == code


def test_json_holds_it_all_and_no_path_of_the_machine(tmp_path: Path) -> None:
    changes = {"a.png": Change("moved", "a.png: moved", 0.25), "b.png": Change("same bits", "b.png: same", 0.0)}
    found = Drifts(
        (Drift(SUBJECT, changes, ("python: 3.12 -> 3.13",)), Drift(SUBJECT, written=tmp_path / FILE)),
        (tmp_path / "baselines" / "old" / "x.json",),
    )

    text = to_json(found, tmp_path)

    assert str(tmp_path) not in text
    content = json.loads(text)
    assert (content["schema"], content["exit_code"]) == ("parity-drift/1", 1)
    assert content["unused"] == ["baselines/old/x.json"]
    first, second = content["legs"]
    assert first["counts"] == {"same bits": 1, "moved": 1}
    assert first["since"] == ["python: 3.12 -> 3.13"]
    assert first["images"]["a.png"] == {"kind": "moved", "told": "a.png: moved", "max_abs_diff": 0.25}
    assert (first["written"], second["written"]) == (None, FILE)


def test_a_suite_that_asks_for_what_is_not_there_is_an_error(suite: Suite) -> None:
    with pytest.raises(ParityError, match="no model `big`"):
        follow_suite(suite, Selection(("big",)))
