"""Stored answers: what counts as a change, what the files look like, what a damaged one says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from parity.backends.reference import Reference
from parity.core.environment import cpu, operating_system
from parity.core.errors import ParityError
from parity.core.results import Prediction, Subject
from parity.formats.facts import ArtifactFacts, facts
from parity.suite.images import load_images
from parity.suite.suite import ModelEntry, Suite
from parity.versions.alterations import changed_since
from parity.versions.baselines import (
    MATTERS,
    Baseline,
    ImageAnswers,
    baseline_file,
    compare_with_baseline,
    make_baseline,
    read_baseline,
    to_json,
    unused_baselines,
    write_baseline,
)
from tests.parity.formats.test_facts import network, saved
from tests.parity.tiny import LABELS, pictures, tiny

FACTS = ArtifactFacts("onnx", "fp32", "opset 17", 14_000, {"Add": 3})


def baseline(precision: str = "fp32", pixels: str = "p", **images: dict[str, float]) -> Baseline:
    """Make a baseline of images and their most probable classes."""
    stored = {name: ImageAnswers(pixels, tuple(top.items())) for name, top in images.items()}
    return Baseline(
        "net", "onnx", "onnxruntime", precision, "why", "w", {"python": "3.12"}, stored, "Acme, AVX2", FACTS
    )


@pytest.mark.parametrize(
    ("before", "now", "kind", "apart"),
    [
        ({"cat": 0.7, "dog": 0.3}, {"cat": 0.7, "dog": 0.3}, "same bits", 0.0),
        ({"cat": 0.7, "dog": 0.3}, {"cat": 0.700009, "dog": 0.3}, "within noise", 9e-6),
        ({"cat": 0.7, "dog": 0.3}, {"cat": 0.70002, "dog": 0.3}, "moved", 2e-5),
        # Bits that differ in their order alone: two classes with the same probability.
        ({"cat": 0.6, "dog": 0.2, "eel": 0.2}, {"cat": 0.6, "eel": 0.2, "dog": 0.2}, "within noise", 0.0),
        ({"cat": 0.500004, "dog": 0.499996}, {"dog": 0.500003, "cat": 0.499997}, "tie", 7e-6),
        ({"cat": 0.6, "dog": 0.4}, {"dog": 0.6, "cat": 0.4}, "flip", 0.2),
        # Near to each other before, but what moved is more than noise.
        ({"cat": 0.500004, "dog": 0.499996}, {"dog": 0.6, "cat": 0.4}, "flip", 0.100004),
        # A class that is listed on one side only is at most as probable as the last on the other.
        ({"cat": 0.7, "dog": 0.2}, {"cat": 0.7, "eel": 0.2}, "within noise", 0.0),
        ({"cat": 0.7, "dog": 0.2}, {"cat": 0.7, "eel": 0.1}, "moved", 0.1),
        ({"cat": 0.7, "dog": 0.1}, {"eel": 0.7, "fox": 0.1}, "flip", 0.6),
    ],
)
def test_what_became_of_an_answer(before: dict[str, float], now: dict[str, float], kind: str, apart: float) -> None:
    change = compare_with_baseline(baseline(a=before), baseline(a=now))["a"]

    assert change.kind == kind
    assert change.max_abs_diff == pytest.approx(apart, abs=1e-12)
    assert change.matters == (kind in ("moved", "flip"))


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "moved"), ("fp16", "within noise")])
def test_fp16_has_more_noise(precision: str, kind: str) -> None:
    changes = compare_with_baseline(baseline(precision, a={"cat": 0.7}), baseline(precision, a={"cat": 0.7049}))

    assert changes["a"].kind == kind


def test_what_is_new_and_what_is_gone() -> None:
    stored, current = baseline(a={"cat": 1.0}, gone={"cat": 1.0}), baseline(a={"cat": 1.0}, new={"cat": 1.0})

    changes = compare_with_baseline(stored, current)

    assert {name: change.kind for name, change in changes.items()} == {
        "a": "same bits",
        "gone": "gone",
        "new": "new",
    }
    assert changes["new"].told == "new has no baseline"
    assert changes["gone"].told == "gone is in the baseline alone"
    assert not any(change.matters for change in changes.values())


def test_other_pixels_are_another_question() -> None:
    # The same answer to another picture under the same name is luck, and says nothing of the model.
    change = compare_with_baseline(baseline(pixels="p", a={"cat": 0.7}), baseline(pixels="q", a={"cat": 0.7}))["a"]

    assert (change.kind, change.max_abs_diff) == ("moved", None)
    assert change.told == "a: the baseline was made from other pixels"


def test_what_is_told() -> None:
    stored = baseline(moved={"cat": 0.7, "dog": 0.3}, flipped={"cat": 0.6, "dog": 0.4}, still={"cat": 1.0})
    current = baseline(moved={"cat": 0.6, "dog": 0.4}, flipped={"dog": 0.6, "cat": 0.4}, still={"cat": 1.0})

    told = {name: change.told for name, change in compare_with_baseline(stored, current).items()}

    assert told == {
        "moved": "moved: 'cat' at 0.7 in the baseline, 'cat' at 0.6 now, largest difference 0.1, noise is 1e-05",
        "flipped": "flipped: 'cat' at 0.6 in the baseline, 'dog' at 0.6 now, largest difference 0.2",
        "still": "still: the same bits",
    }


tops = st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1), min_size=1, max_size=5).map(
    lambda found: dict(sorted(found.items(), key=lambda item: -item[1]))
)
images = st.dictionaries(st.text(min_size=1).filter(str.isidentifier), tops, max_size=3)


@given(images)
def test_nothing_changes_by_itself(found: dict[str, dict[str, float]]) -> None:
    changes = compare_with_baseline(baseline(**found), baseline(**found))

    assert all(change.kind == "same bits" for change in changes.values())
    assert list(changes) == list(found)


@given(tops, tops)
def test_how_far_two_answers_are_apart_does_not_depend_on_which_was_first(
    one: dict[str, float], other: dict[str, float]
) -> None:
    there = compare_with_baseline(baseline(a=one), baseline(a=other))["a"]
    back = compare_with_baseline(baseline(a=other), baseline(a=one))["a"]

    assert there.max_abs_diff == back.max_abs_diff
    # Another label that matters is a flip in either direction; noise is noise.
    assert {there.kind, back.kind} <= {"flip", "tie"} or there.kind == back.kind


@given(tops, tops)
def test_beyond_noise_every_change_matters(one: dict[str, float], other: dict[str, float]) -> None:
    change = compare_with_baseline(baseline(a=one), baseline(a=other))["a"]

    assert change.max_abs_diff is not None
    assert change.matters or change.max_abs_diff <= 1e-5


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), tops, max_size=4))
def test_a_file_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, dict[str, float]]
) -> None:
    written = replace(
        baseline(), images={name: ImageAnswers("p", tuple(top.items())) for name, top in found.items()}
    )
    file = tmp_path_factory.mktemp("baselines") / "b.json"

    assert write_baseline(file, written)

    assert read_baseline(file) == written
    text = file.read_text(encoding="utf-8")
    assert list(json.loads(text)["images"]) == sorted(found)
    assert [path.name for path in file.parent.iterdir()] == ["b.json"]


def test_a_file_reads_well() -> None:
    assert (
        to_json(baseline(b={"cat": 0.75, "dög": 0.25}, a={"cat": 1.0}))
        == """\
{
  "model": "net",
  "route": "onnx",
  "backend": "onnxruntime",
  "precision": "fp32",
  "reason": "why",
  "weights": "w",
  "environment": {
    "python": "3.12"
  },
  "cpu": "Acme, AVX2",
  "artifact": {
    "format": "onnx",
    "precision": "fp32",
    "version": "opset 17",
    "size": 14000,
    "operations": {
      "Add": 3
    }
  },
  "schema": "parity-baseline/1",
  "images": {
    "a": {"pixels": "p", "top": [["cat", 1.0]]},
    "b": {"pixels": "p", "top": [["cat", 0.75], ["dög", 0.25]]}
  }
}
"""
    )


@pytest.mark.parametrize(
    ("changed", "written"),
    [
        ({"reason": "another"}, False),
        ({"environment": {"python": "3.13"}}, False),
        ({"cpu": "Acme, AVX512"}, False),
        ({"artifact": replace(FACTS, operations={"Add": 2, "Sub": 1})}, True),
        ({"weights": "v"}, True),
        ({"images": {}}, True),
        ({"images": {"a": ImageAnswers("q", (("cat", 1.0),))}}, True),
        ({"images": {"a": ImageAnswers("p", (("cat", 0.5),))}}, True),
    ],
)
def test_the_same_answers_keep_their_reason(tmp_path: Path, changed: dict[str, Any], written: bool) -> None:
    file = tmp_path / "deep" / "b.json"
    before = baseline(a={"cat": 1.0})
    assert write_baseline(file, before)

    assert write_baseline(file, replace(before, **changed)) is written

    assert read_baseline(file) == (replace(before, **changed) if written else before)


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_text("{", encoding="utf-8")

    assert write_baseline(file, baseline())

    assert read_baseline(file) == baseline()


SOUND = json.loads(to_json(baseline(a={"cat": 1.0})))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        json.dumps({**SOUND, "schema": "parity-baseline/2"}).encode(),
        json.dumps({**SOUND, "images": []}).encode(),
        json.dumps({**SOUND, "images": {"a": {"pixels": "p"}}}).encode(),
        json.dumps({**SOUND, "images": {"a": {"pixels": "p", "top": [["cat", 0.2], ["dog", 0.8]]}}}).encode(),
        json.dumps({**SOUND, "images": {"a": {"pixels": "p", "top": [["cat", 0.5], ["cat", 0.4]]}}}).encode(),
        json.dumps({**SOUND, "images": {"a": {"pixels": "p", "top": []}}}).encode(),
        json.dumps({**SOUND, "images": {"a": {"pixels": "p", "top": [["cat", "much"]]}}}).encode(),
        json.dumps({**SOUND, "images": {"a": {"pixels": "p", "top": [["cat"]]}}}).encode(),
        json.dumps({**SOUND, "images": {"a": {"pixels": "p", "top": [["cat", float("nan")]]}}}).encode(),
        json.dumps({**SOUND, "more": 1}).encode(),
        json.dumps({**SOUND, "environment": []}).encode(),
        json.dumps({**SOUND, "environment": {"packages": 3}}).encode(),
        json.dumps({**SOUND, "artifact": {}}).encode(),
        json.dumps({**SOUND, "artifact": {**SOUND["artifact"], "size": "big"}}).encode(),
        json.dumps({**SOUND, "artifact": {**SOUND["artifact"], "operations": ["Add"]}}).encode(),
        json.dumps({key: value for key, value in SOUND.items() if key != "reason"}).encode(),
        to_json(baseline(a={"cat": 1.0})).encode()[:-40],
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(content)

    with pytest.raises(ParityError, match=r"b\.json: not a baseline \(.+\); record it again, or delete it") as told:
        read_baseline(file)

    assert len(str(told.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="not a baseline"):
        read_baseline(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("net", "baselines/net/onnx.onnxruntime.json"),
        ("timm/resnet18", "baselines/timm_resnet18/onnx.onnxruntime.json"),
        ("..", "baselines/_/onnx.onnxruntime.json"),
        ("", "baselines/_/onnx.onnxruntime.json"),
    ],
)
def test_where_a_file_lies(model: str, file: str) -> None:
    subject = Subject(model, "onnx", "a.onnx", "onnxruntime", "fp32", "pass")

    assert baseline_file(Path("suite"), subject) == Path("suite") / file


def test_what_is_stored_of_an_image(tmp_path: Path) -> None:
    rows = np.array([[0.5, 0.0625, 0.0625, 0.25, 0.0625, 0.03125, 0.015625, 0.015625]])
    picture = pictures()[0]
    classifier = tiny()
    reference = Reference(
        classifier, load_images([picture], classifier.preprocessing), Prediction(rows, classifier.labels)
    )
    subject = Subject("tiny", "onnx", "a.onnx", "onnxruntime", "fp32", "pass")
    artifact = saved(network(), tmp_path / "a.onnx")

    made = make_baseline(subject, artifact, reference, Prediction(rows), "why")

    # Of equals the first in the order of the labels comes first, so that the file does not change by chance.
    assert made.images == {
        "image 0": ImageAnswers(
            hashlib.sha256(np.asarray(picture).tobytes()).hexdigest(),
            (("ant", 0.5), ("dog", 0.25), ("bee", 0.0625), ("cat", 0.0625), ("eel", 0.0625)),
        )
    }
    assert (made.model, made.route, made.backend, made.precision) == ("tiny", "onnx", "onnxruntime", "fp32")
    assert (made.reason, made.weights) == ("why", "")
    assert (made.cpu, made.artifact) == (cpu(), facts(artifact))
    # The system without its build: that differs on every other machine.
    assert made.environment["platform"] == operating_system()


def test_what_is_stored_has_the_candidates_own_labels(tmp_path: Path) -> None:
    # Core ML's columns may stand in another order than the classifier's.
    rows = np.array([[0.1, 0.9]])
    classifier = tiny()
    reference = Reference(
        classifier,
        load_images([Image.new("RGB", (32, 32))], classifier.preprocessing),
        Prediction(rows, classifier.labels),
    )
    subject = Subject("tiny", "onnx", "a.onnx", "onnxruntime", "fp32", "pass")
    artifact = saved(network(), tmp_path / "a.onnx")

    made = make_baseline(subject, artifact, reference, Prediction(rows, ("hen", "ant")), "why")

    assert made.images["image 0"].top == (("ant", 0.9), ("hen", 0.1))


def test_files_that_nothing_in_the_suite_reads(tmp_path: Path) -> None:
    suite = Suite(tmp_path / "parity.toml", (ModelEntry("net", "m.py:net", {}, ("onnx",), ("a.jpg",)),))
    names = [
        "net/onnx.onnxruntime",
        "net/onnx.onnx-reference",
        "net/mlprogram.coreml-native",
        "old/onnx.onnxruntime",
    ]
    for name in names:
        write_baseline(tmp_path / "baselines" / f"{name}.json", baseline())

    unused = [path.relative_to(tmp_path).as_posix() for path in unused_baselines(suite)]

    assert unused == ["baselines/net/mlprogram.coreml-native.json", "baselines/old/onnx.onnxruntime.json"]


def test_only_what_somebody_has_to_look_at_fails() -> None:
    assert sorted(MATTERS) == ["flip", "moved"]


def test_a_file_of_before_the_facts_is_read(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    content = {key: value for key, value in SOUND.items() if key not in ("cpu", "artifact")}
    file.write_text(json.dumps(content), encoding="utf-8")

    assert read_baseline(file) == replace(baseline(a={"cat": 1.0}), cpu=None, artifact=None)


STORED = replace(baseline(), environment={"python": "3.12", "packages": {"torch": "2.9", "onnx": "1.17"}})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ()),
        ({"reason": "another"}, ()),
        ({"artifact": replace(FACTS, operations={"Add": 1})}, ("operations: Add 3 -> 1",)),
        ({"weights": "v"}, ("weights: the PyTorch model has others",)),
        ({"cpu": "Acme, AVX512"}, ("cpu: Acme, AVX2 -> Acme, AVX512",)),
        (
            {"environment": {"python": "3.13", "packages": {"torch": "2.10", "onnxscript": "0.5.7"}}},
            ("torch: 2.9 -> 2.10", "onnx: 1.17 -> gone", "python: 3.12 -> 3.13", "onnxscript: none -> 0.5.7"),
        ),
        # The artefact comes first, then versions, then the machine.
        (
            {
                "cpu": "Acme, NEON",
                "environment": {"python": "3.13", "packages": STORED.environment["packages"]},
                "artifact": replace(FACTS, version="opset 18"),
            },
            ("version: opset 17 -> opset 18", "python: 3.12 -> 3.13", "cpu: Acme, AVX2 -> Acme, NEON"),
        ),
        # What is not known has not changed.
        ({"artifact": None, "cpu": None, "weights": ""}, ()),
    ],
)
def test_what_else_has_changed(changed: dict[str, Any], told: tuple[str, ...]) -> None:
    assert changed_since(STORED, replace(STORED, **changed)) == told
    if not told:
        assert changed_since(replace(STORED, **changed), STORED) == ()
