"""More images than rounding is measured on: what a run excuses catches no fault in an audit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.audit.bench import Bench
from parity.audit.findings import MutantFinding
from parity.audit.mutant import Mutant, Original, Sample
from parity.audit.run import audit_suite, judge_mutant
from parity.backends.reference import Reference, make_reference
from parity.core.compare import compare
from parity.core.results import Prediction
from parity.core.tolerance import SecondLook
from parity.diagnosis.compression_cost import allowed_for
from parity.judging import judge_with_prediction
from parity.suite.images import ImageSet
from parity.suite.suite import read_suite
from tests.parity import sensitive
from tests.parity.audit.benches import scratch
from tests.parity.tiny import converted

EVALUATOR = "coreml-evaluator"


@cache
def reference() -> Reference:
    pixels = np.stack([np.asarray(sensitive.picture(number)) for number in range(sensitive.PICTURES)])
    names = tuple(f"{number:03}.png" for number in range(sensitive.PICTURES))
    return make_reference(sensitive.sensitive(), ImageSet(names, pixels))


@cache
def bench() -> Bench:
    """Make the bench of a sound file, which the run of its suite passes."""
    original = Original(converted("mlprogram", sensitive.sensitive), reference())
    subject, clean = judge_with_prediction(reference(), original.artifact, EVALUATOR)
    assert subject.verdict == "pass"
    assert subject.excused
    assert clean is not None
    *_, widest = allowed_for(reference(), original.artifact)
    allowed = reference().with_second_look(widest, original.artifact.precision)
    return Bench(original, EVALUATOR, allowed, clean, scratch())


def found(pixels: Callable[[Sample], np.ndarray], given: Bench | None = None) -> MutantFinding:
    return judge_mutant(given or bench(), Mutant("pre-bgr-swap", "changed pixels", pixels=pixels))


def test_what_changes_nothing_is_not_caught_by_images_that_a_run_excuses() -> None:
    finding = found(lambda sample: sample.pixels)

    assert (finding.verdict, finding.caught_by) == ("equivalent", ())
    # It is beyond the tolerance, as the file itself is.
    assert (finding.max_abs_diff or 0.0) > bench().tolerance.distance


def test_by_the_tolerance_alone_it_would_be() -> None:
    strict = replace(bench(), tolerance=replace(bench().tolerance, second=None))

    finding = found(lambda sample: sample.pixels, strict)

    assert finding.verdict == "caught"
    assert {*finding.caught_by} <= {f"{number:03}.png" for number in sensitive.BRIGHT}


def test_a_fault_is_caught_all_the_same() -> None:
    finding = found(lambda sample: sample.pixels[..., ::-1].copy())

    assert finding.verdict == "caught"
    assert len(finding.caught_by) > 10


def test_an_audit_says_what_a_run_says_of_each_image() -> None:
    comparison = bench().judge_file(bench().original.artifact, bench().clean)
    subject, _ = judge_with_prediction(reference(), bench().original.artifact, EVALUATOR)

    assert comparison.cases == subject.cases
    assert comparison.verdict == subject.verdict


def test_too_many_that_are_excused_are_what_catches_a_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every tenth image is moved by 0.02, and each is said to be as sensitive as that.
    monkeypatch.setattr("parity.judging.own_cost", lambda *anything: lambda place, draw: 0.01)
    answers = reference().prediction
    moved = answers.probabilities.copy()
    moved[::7] += np.array([0.02, -0.01, -0.01])

    def predict(self: Any, sample: Sample) -> Prediction:
        return Prediction(moved, answers.labels)

    monkeypatch.setattr("parity.audit.bench.MutantRun.answers", predict)

    finding = found(lambda sample: sample.pixels)

    assert finding.verdict == "caught"
    assert finding.reason.startswith("10 of 70 images are beyond 0.01 where at most 7 are expected")
    assert finding.caught_by == reference().images.names
    strict = compare(answers, Prediction(moved, answers.labels), bench().tolerance, reference().images.names)
    assert sum(case.verdict == "drift" for case in strict.cases) == 10


def test_the_audit_of_a_suite_judges_as_its_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sensitive.save_pictures(tmp_path / "pictures")
    shutil.copy(sensitive.__file__, tmp_path / "models.py")
    (tmp_path / "parity.toml").write_text(
        'images = ["pictures/*.png"]\n[models.sensitive]\nfactory = "models.py:sensitive"\nroutes = ["mlprogram"]\n'
    )
    benches: list[Bench] = []
    monkeypatch.setattr("parity.audit.run.audit_mutants", lambda bench, *more: benches.append(bench) or iter(()))

    audit = audit_suite(read_suite(tmp_path / "parity.toml"), artifacts=tmp_path / "artifacts")

    (leg,) = audit.legs
    assert (leg.audited, leg.verdict, leg.tolerance) == (True, "pass", 0.01)
    assert benches[0].tolerance.second == SecondLook(3.0, 0.05, 64)
