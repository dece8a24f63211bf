"""Comparisons that agree and prove nothing: inconclusive, whoever asks, and never a pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from parity import check
from parity.artifacts.causes import look_into
from parity.backends.reference import make_reference
from parity.cli import main
from parity.core.results import Prediction
from parity.judging import judge_prediction
from parity.stream.judge_saved import judge_run
from parity.suite.images import load_images
from tests.parity import tiny
from tests.parity.diagnosis.faulty import change_weight, node, swapped
from tests.parity.vacuous import VACUOUS

ROUTES = ("onnx-torchscript", "mlprogram-fp32", "mlprogram")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", VACUOUS)
def test_check_and_explain_conclude_nothing(kind: str, route: str) -> None:
    make, paint, told = VACUOUS[kind]
    artifact = tiny.converted(route, make)

    for found in (check(make(), artifact, paint()), look_into(make(), artifact, paint()).run):
        ran = [subject for subject in found.subjects if subject.verdict != "skipped"]
        assert {subject.verdict for subject in ran} == {"inconclusive"}
        assert all(told in subject.reason for subject in ran)
        assert [(subject.diagnoses, subject.first_divergence) for subject in ran] == [((), None)] * len(ran)
        assert found.exit_code == 3


def forget(model: Any) -> None:
    for name in node(model, "Conv").input[1:]:
        change_weight(model, name, lambda was: was * 0)


@pytest.mark.parametrize(("kind", "break_it"), [("untrained", forget), ("flat", forget), ("flat", swapped)])
def test_a_file_that_is_broken_and_agrees_is_what_it_is_for(
    kind: str, break_it: Callable[[Any], None], tmp_path: Path
) -> None:
    make, paint, _ = VACUOUS[kind]
    model = onnx.load(str(tiny.converted("onnx-torchscript", make).path))
    break_it(model)
    onnx.save(model, str(tmp_path / "broken.onnx"))

    found = check(make(), tmp_path / "broken.onnx", paint(), backends=["onnxruntime"])

    assert found.subjects[0].max_abs_diff == pytest.approx(0, abs=1e-6)
    assert (found.subjects[0].verdict, found.exit_code) == ("inconclusive", 3)


@pytest.mark.parametrize("kind", VACUOUS)
def test_what_proves_nothing_is_not_proven_by_another_tolerance(kind: str) -> None:
    make, paint, _ = VACUOUS[kind]
    found = check(make(), tiny.converted("onnx-torchscript", make), paint(), backends=["onnxruntime"])

    assert found.subjects[0].required_tolerance is None
    for tolerance in (1e-6, 1e-5, 1e-2):
        assert judge_run(found, tolerance).exit_code == 3


def test_noise_that_fails_is_not_passed_by_another_tolerance() -> None:
    classifier, artifact = tiny.tiny(), tiny.converted("onnx-torchscript")
    reference = make_reference(classifier, load_images(tiny.noises(), tiny.PREPROCESSING))
    moved = Prediction(reference.prediction.probabilities * 0.999, classifier.labels)

    subject = judge_prediction(reference, artifact, "onnxruntime", moved)

    assert (subject.verdict, subject.required_tolerance) == ("fail", None)
    assert judge_run(check(classifier, artifact, tiny.noises()), 0.1).exit_code == 3


# The command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    shutil.copy(tiny.__file__, tmp_path / "models.py")
    lines = ['images = ["untrained/*.png"]']
    for kind, (make, paint, _) in VACUOUS.items():
        tiny.save_pictures(tmp_path / kind, paint)
        lines += [
            f'[models."{kind}"]',
            f'factory = "models.py:{make.__name__}"',
            'routes = ["onnx-torchscript"]',
            f'images = ["{kind}/*.png"]',
        ]
    (tmp_path / "parity.toml").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", VACUOUS)
def test_a_run_ends_with_code_3(kind: str, streamed: bool, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ["--images", kind] if streamed else []
    with pytest.raises(SystemExit) as stop:
        main(["run", "parity.toml", "--model", kind, "--backend", "onnxruntime", *more])

    out = capfd.readouterr().out
    assert stop.value.code == 3, out
    assert VACUOUS[kind][2] in out
    assert "nothing can be concluded" in out
