"""The command over code of a user's that ends the process: a line and exit code 2, and nothing that looks green."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.commands.command import Parity
from tests.parity.stream.jobs import save_pictures, save_suite

SUITE = """
images = ["own/*.png"]
[models.quitter]
factory = "models.py:quitter"
routes = ["onnx-torchscript"]
"""
FACTORIES = """

def quitter():
    import sys
    sys.exit(0)


def dying():
    import os
    os._exit(0)


def losing():
    class Lost(torch.nn.Module):
        def named_modules(self, *given, **named):
            raise GeneratorExit
    return Classifier("losing", Lost().eval(), PREPROCESSING, LABELS)
"""
TOLD = (
    "parity: models.py:quitter: models.py:quitter raises SystemExit: 0, which would end everything without a "
    "result; raise an Exception that says why\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Lay out a suite whose factories misbehave, and pictures."""
    save_suite(tmp_path, SUITE)
    with (tmp_path / "models.py").open("a", encoding="utf-8") as file:
        file.write(FACTORIES)
    save_pictures(tmp_path / "pictures", 1)
    (tmp_path / "x.onnx").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--json", "out.json", "--html", "out.html"),
        ("run", "--images", "pictures", "--workers", "0", "--json", "out.json"),
        ("run", "--images", "pictures", "--workers", "0", "--shard", "1/2", "--json", "out.json"),
        ("check", "quitter", "x.onnx", "--images", "own", "--json", "out.json"),
        ("convert", "quitter", "--route", "onnx", "--out", "made"),
        ("calibrate", "--json", "out.json"),
        ("baseline", "record", "--reason", "first", "--json", "out.json"),
        ("baseline", "check", "--json", "out.json"),
        ("audit", "--json", "out.json"),
        ("explain", "quitter", "x.onnx", "--images", "own", "--json", "out.json"),
        ("upgrade", "--with", "onnx==1.17.0", "--json", "out.json"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_factory_that_exits_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], parity: Parity, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An artefact need not be there, nor a tool chain: the model comes first.
    monkeypatch.setattr("conversion.artifact.open_artifact", lambda path, *contract: path)
    monkeypatch.setattr("parity.artifacts.routed.open_artifact", lambda path, *contract: path)
    monkeypatch.setattr("parity.backends.selection.check_backends", lambda *given: None)

    code, out, err = parity(*arguments)

    assert (code, out, err) == (2, "", TOLD)
    assert not (place / "out.json").exists()
    assert not (place / "baselines").exists()


def test_code_that_nobody_expected_to_run_is_named_as_well(parity: Parity) -> None:
    code, out, err = parity("convert", "models.py:losing", "--route", "onnx-torchscript", "--out", "made")

    assert (code, out) == (2, "")
    # The factory makes a Classifier, and that looks into the module.
    told = "models.py:losing: models.py:losing.<locals>.Lost.named_modules raises GeneratorExit, "
    assert err.startswith(f"parity: {told}")
    assert err.count("\n") == 1


def test_a_process_that_ends_by_itself_leaves_no_results_that_count(parity: Parity, place: Path) -> None:
    (place / "parity.toml").write_text(SUITE.replace("quitter", "dying"), encoding="utf-8")
    # Of an earlier run.
    (place / "r.json").write_text("", encoding="utf-8")
    (place / "r.cases.jsonl").write_text("", encoding="utf-8")

    ended = subprocess.run([sys.executable, "-m", "parity", "run", "--json", "r.json"], check=False)

    assert ended.returncode == 0  # nobody is left who could say another
    for arguments in (["judge", "r.json"], ["compare-runs", "r.json", "r.json"], ["merge", "r.cases.jsonl"]):
        code, _, err = parity(*arguments)
        assert code == 2
        assert err.startswith("parity: r.json: the run that was to write it was stopped, or its process ended")
        assert err.count("\n") == 1


def test_a_run_that_is_stopped_leaves_its_mark_and_the_next_removes_it(parity: Parity, place: Path) -> None:
    assert parity("run", "--json", "r.json")[0] == 2
    assert (place / "r.json.unfinished").is_file()
    (place / "parity.toml").write_text(SUITE.replace(":quitter", ":tiny"), encoding="utf-8")

    code, _, _ = parity("run", "--json", "r.json", "--backend", "onnxruntime")

    assert code == 3  # one image proves nothing
    assert (place / "r.json").is_file()
    assert not (place / "r.json.unfinished").exists()


def test_usage_that_is_wrong_leaves_no_mark(parity: Parity, place: Path) -> None:
    assert parity("run", "--model", "nobody", "--json", "r.json")[0] == 2
    assert not (place / "r.json.unfinished").exists()
