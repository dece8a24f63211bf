"""[converters] of a suite file: what may stand there, and that such a route is one like ours everywhere."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from parity import ParityError
from parity.suite.suite import read_suite
from tests.parity.commands.command import Done, Parity
from tests.parity.team import SUITE, lay_out_team
from tests.parity.tiny import LABELS, converted


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lay_out_team(tmp_path)
    monkeypatch.chdir(tmp_path)
    # What another test's factory lay beside is not beside this one.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if tmp_path.parent not in Path(path).parents])
    forget(monkeypatch)
    return tmp_path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next command import the team's files as a new process would."""
    for name in [n for n in sys.modules if n.startswith("parity_models_") or n in ("tools", "scaling", "models")]:
        monkeypatch.delitem(sys.modules, name)
    shutil.rmtree("__pycache__", ignore_errors=True)


def verdicts(path: str = "results.json") -> dict[tuple[str, str], str]:
    subjects = json.loads(Path(path).read_text(encoding="utf-8"))["subjects"]
    return {(s["route"], s["backend"]): s["verdict"] for s in subjects}


# What a run of this suite consists of.
LEGS = {(route, backend) for route in ("ship", "by-command") for backend in ("onnxruntime", "onnx-reference")}


@pytest.mark.usefixtures("team")
def test_a_run_has_it_like_any_other_and_notices_what_changes(
    parity: Parity, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = parity("run", "--route", "ship", "--route", "by-command", "--json", "results.json")

    assert (done.code, done.err) == (0, "")
    assert verdicts() == dict.fromkeys(LEGS, "pass")

    # A helper of the converter: the artefact of yesterday would pass.
    Path("scaling.py").write_text("FACTOR = 0.5\n", encoding="utf-8")
    forget(monkeypatch)
    done = parity("run", "--route", "ship", "--route", "by-command", "--no-explain", "--json", "results.json")

    assert done.code == 1
    assert verdicts() == dict.fromkeys(LEGS, "fail")


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("baseline", "record", "--reason", "first", "--backend", "onnxruntime"), 0),
        (("baseline", "check", "--backend", "onnxruntime"), 3),
        (("audit", "--faults", "pre-bgr-swap"), 0),
        (("calibrate", "--backend", "onnxruntime"), 0),
        (("run", "--images", "photos", "--labels", "truth.csv", "--workers", "0", "--json", "stream.json"), 0),
    ],
)
def test_every_command_knows_it(command: tuple[str, ...], code: int, parity: Parity) -> None:
    Path("truth.csv").write_text(
        "file,label\n" + "".join(f"{p.name},{LABELS[0]}\n" for p in sorted(Path("photos").iterdir())),
        encoding="utf-8",
    )
    name, *rest = command
    words = [name, rest.pop(0)] if name == "baseline" else [name]
    done: Done = parity(*words, "--route", "ship", *rest)

    assert done.code == code, done
    assert "ship" in done.out or code == 3


@pytest.mark.usefixtures("team")
def test_it_converts_by_hand(parity: Parity) -> None:
    done = parity("convert", "tiny", "--route", "ship", "--out", "out")

    assert (done.code, done.err) == (0, "")
    assert Path(done.out.strip()).is_file()
    assert (
        "unknown route `shop`; did you mean ship?" in parity("convert", "tiny", "--route", "shop", "--out", "o").err
    )


@pytest.mark.usefixtures("team")
def test_baselines_hold_for_it(parity: Parity) -> None:
    selected = ("--route", "ship", "--backend", "onnxruntime")

    assert parity("baseline", "record", "--reason", "first", *selected).code == 0
    assert list(Path("baselines/tiny").glob("ship*.json"))
    assert parity("baseline", "check", *selected).code == 0


@pytest.mark.usefixtures("team")
def test_a_conversion_that_fails_is_an_error_of_its_leg(parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("scaling.py").write_text("raise ImportError('no such licence')\n", encoding="utf-8")
    forget(monkeypatch)
    done = parity("run", "--route", "onnx-torchscript", "--route", "ship", "--json", "results.json")

    assert done.code == 1
    assert verdicts()["ship", "-"] == "error"
    assert verdicts()["onnx-torchscript", "onnxruntime"] == "pass"
    assert "no such licence" in done.out


# Finished files


@pytest.mark.usefixtures("team")
def test_finished_files_are_routes_by_their_paths(parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("build").mkdir()
    shutil.copy(converted("onnx-torchscript").path, "build/tiny.onnx")
    shutil.copytree(converted("mlprogram-fp32").path, "tiny.mlpackage")
    Path("parity.toml").write_text(
        'images = ["photos/*.png"]\n[models.tiny]\nfactory = "models.py:tiny"\n'
        'artifacts = ["build/*.onnx", "tiny.mlpackage", "later.mlmodel"]\n'
        '[models.tiny.tolerance."build/tiny.onnx"]\nprobability = 0.002\n',
        encoding="utf-8",
    )
    forget(monkeypatch)
    done = parity("run", "--json", "results.json")

    # What is not built yet has not passed.
    assert done.code == 1
    assert {leg: verdict for leg, verdict in verdicts().items() if verdict != "skipped"} == {
        ("build/tiny.onnx", "onnxruntime"): "pass",
        ("build/tiny.onnx", "onnx-reference"): "pass",
        ("tiny.mlpackage", "coreml-evaluator"): "pass",
        ("later.mlmodel", "-"): "error",
    }
    assert "later.mlmodel: no such file" in done.out
    subjects = json.loads(Path("results.json").read_text(encoding="utf-8"))["subjects"]
    assert {s["tolerance"] for s in subjects if s["route"] == "build/tiny.onnx"} == {0.002}

    one = ("--route", "build/tiny.onnx", "--backend", "onnxruntime")
    assert parity("baseline", "record", "--reason", "first", *one).code == 0
    assert Path("baselines/tiny/build_tiny.onnx.onnxruntime.json").is_file()
    assert parity("baseline", "check", *one).code == 0
    assert not Path(".parity/tiny").exists()


# The file


def refused(path: Path, changes: tuple[str, str]) -> str:
    file = path / "parity.toml"
    file.write_text(SUITE.replace(*changes), encoding="utf-8")
    with pytest.raises(ParityError) as raised:
        read_suite(file)
    return str(raised.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ('convert = "tools.py:convert"\n', ""),
            "[converters] ship: give either `convert`, a callable, or `command`",
        ),
        (("[converters.ship]", '[converters.ship]\ncommand = ["x", "{output}"]'), "give either `convert`"),
        (('"tools.py:convert"', '"tools.py"'), "[converters.ship] convert: a conversion is `file.py:callable`"),
        (('"tools.py:convert"', '"tool.py:convert"'), "tool.py; did you mean tools.py?"),
        (('".onnx"\n\n[converters.by', '".tflite"\n\n[converters.by'), "[converters.ship] suffix: "),
        (("[converters.ship]", '[converters.ship]\nprecission = "fp16"'), "unknown key; did you mean precision?"),
        (("{weights}", "{weight}"), "{weight} stands for nothing; there are {weights}, {labels}, {output}"),
        (("{output}", "out.onnx"), "{output}, the file that it is to write, stands in none of its words"),
        (("{output}", "{output"), "for braces that are meant"),
        (('"ship", "by-command"]', '"shop"]'), "unknown route `shop`; did you mean ship?"),
        (("[converters.ship]", "[converters.onnx]"), "`onnx` is a route already; give the converter another name"),
        (("[converters.ship]", '[converters."../up"]'), "a letter first; not '../up'"),
        (
            ('routes = ["onnx', 'artifacts = ["a.tflite"]\nroutes = ["onnx'),
            "[models.tiny.artifacts[0]] path: a.tflite names no",
        ),
        (('"scaling.py"]', '"scalings.py"]'), "[converters.by-command] depends: no file"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(changes: tuple[str, str], told: str, team: Path) -> None:
    assert told in refused(team, changes)
