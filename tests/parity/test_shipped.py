"""What ships comes out of a team's own script: right, it passes; broken as people break it, the fault is named.

By a callable that makes an ML Program with int8 weights, by a command that makes ONNX and states what is inside,
and as a finished ONNX file of which nobody says anything.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from conversion.guards.quiet import chatter_to
from parity.core.results import Subject
from parity.pipeline import run
from parity.suite.models import load_classifier
from parity.suite.suite import read_suite
from tests.parity.shipping import Kind, lay_out_shipping

# The edit of the script -> the faults that are named, each confirmed.
FAULTS: Mapping[str, Sequence[str]] = {
    "nothing": [],
    "scalar std": ["pre-scalar-std"],
    "BGR": ["pre-bgr-swap"],
    "labels sorted": ["lab-order-permuted"],
    "softmax forgotten": ["head-softmax-missing"],
    "wrong checkpoint": ["wt-not-loaded"],
}
BACKENDS = {"callable": "coreml-evaluator", "command": "onnxruntime", "finished": "onnxruntime"}
# Some of each kind are tried in the short run of tests, the others by `test_every_breakage_is_named`.
SHORT: tuple[tuple[Kind, str], ...] = (
    ("callable", "nothing"),
    ("finished", "nothing"),
    ("callable", "BGR"),
    ("callable", "wrong checkpoint"),
    ("command", "scalar std"),
    ("finished", "labels sorted"),
    ("finished", "softmax forgotten"),
)
KINDS: tuple[Kind, ...] = ("callable", "command", "finished")
REST = [(kind, edit) for kind in KINDS for edit in FAULTS if (kind, edit) not in SHORT]


def judged(directory: Path, kind: Kind, edit: str) -> Subject:
    suite = read_suite(lay_out_shipping(directory, kind, edit))
    if kind == "finished":
        write_finished(directory)
    result = run(suite, backends=[BACKENDS[kind]], artifacts=directory / ".parity")
    (subject,) = result.subjects
    return subject


def write_finished(directory: Path) -> None:
    """Convert as the team does beforehand: its script runs in this process."""
    (directory / "build").mkdir()
    (entry,) = read_suite(directory / "parity.toml").models
    classifier = load_classifier(entry.factory, entry.arguments, entry.name, directory)
    with pytest.MonkeyPatch.context() as patch, chatter_to():
        patch.syspath_prepend(directory)
        script = runpy.run_path(str(directory / "to_onnx.py"))
        import torch

        weights = directory / "weights.pt"
        torch.save(classifier.module.state_dict(), weights)
        script["main"](weights, str(directory / "build" / "photos.onnx"))


def named(subject: Subject) -> list[tuple[str, bool]]:
    return [(diagnosis.fault, diagnosis.confirmed) for diagnosis in subject.diagnoses]


@pytest.mark.parametrize(("kind", "edit"), SHORT)
def test_what_is_right_passes_and_a_breakage_is_named(kind: Kind, edit: str, tmp_path: Path) -> None:
    subject = judged(tmp_path, kind, edit)

    assert subject.verdict == ("fail" if FAULTS[edit] else "pass"), subject.reason
    assert named(subject) == [(fault, True) for fault in FAULTS[edit]]


@pytest.mark.parametrize(("kind", "edit"), REST)
def test_every_breakage_is_named(kind: Kind, edit: str, tmp_path: Path) -> None:
    test_what_is_right_passes_and_a_breakage_is_named(kind, edit, tmp_path)
