"""`parity explain` from outside: exit codes, what is printed, and one clear line for bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from parity.cli import main
from tests.parity import tiny
from tests.parity.diagnosis.faulty import swapped
from tests.parity.tiny import converted, save_pictures

Parity = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(tiny.__file__, tmp_path / "models.py")
    save_pictures(tmp_path / "photos")
    good = onnx.load(str(converted("onnx-torchscript").path))
    onnx.save(good, str(tmp_path / "good.onnx"))
    swapped(good)
    onnx.save(good, str(tmp_path / "swapped.onnx"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def parity(capfd: pytest.CaptureFixture[str]) -> Parity:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["explain", *arguments])
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capfd.readouterr()

    return run


def test_parity_that_holds_needs_no_explanation(parity: Parity) -> None:
    code, out, err = parity("models.py:tiny", "good.onnx", "--images", "photos")

    assert (code, err) == (0, "")
    assert out.startswith("tiny by onnx-torchscript on onnxruntime: parity holds")


def test_a_cause_is_printed_first_and_the_hops_last(parity: Parity) -> None:
    code, out, err = parity("models.py:tiny", "swapped.onnx", "--images", "photos", "--json", "found.json")

    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[1].startswith("  cause: Red and blue are swapped")
    assert "(confirmed: undoing it restores parity) [pre-bgr-swap]" in lines[1]
    assert lines[2].startswith("  fix: ")
    assert any(line.startswith("  first divergence: ") for line in lines)
    assert lines[-1].startswith("  hop onnx.reference: fail")
    subject = json.loads(Path("found.json").read_text(encoding="utf-8"))["subjects"][0]
    assert [d["fault"] for d in subject["diagnoses"]] == ["pre-bgr-swap"]


def test_an_untrained_network_explains_nothing(parity: Parity) -> None:
    code, out, _ = parity("models.py:untrained", "good.onnx", "--images", "photos", "--tolerance", "0.999")

    assert code == 3
    assert "inconclusive" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("models.py:tiny", "absent.onnx", "--images", "photos"), "absent.onnx: no such file"),
        (("models.py:tiny", "good.onnx", "--images", "nowhere"), "nowhere does not exist"),
        (
            ("models.py:tiny", "good.onnx", "--images", "photos", "--backend", "coreml-evaluator"),
            "does not run onnx",
        ),
    ],
)
def test_bad_input_is_one_line(parity: Parity, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = parity(*arguments)

    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_run_and_check_can_do_without(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "check",
                "models.py:tiny",
                "swapped.onnx",
                "--images",
                "photos",
                "--backend",
                "onnxruntime",
                "--no-explain",
            ]
        )
    assert stop.value.code == 1
    assert "cause" not in capfd.readouterr().out
    with pytest.raises(SystemExit):
        main(["check", "models.py:tiny", "swapped.onnx", "--images", "photos", "--backend", "onnxruntime"])
    assert "cause: Red and blue are swapped" in capfd.readouterr().out
