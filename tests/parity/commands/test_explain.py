"""`parity explain` from outside: exit codes, what is printed, and one clear line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from parity.cli import main
from tests.parity.commands.command import Parity, Refused, lay_out
from tests.parity.diagnosis.faulty import swapped
from tests.parity.tiny import converted


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Lay out a file of factories, photos, a sound file, and one with red and blue swapped."""
    model = onnx.load(str(converted("onnx-torchscript").path))
    onnx.save(model, str(tmp_path / "good.onnx"))
    swapped(model)
    onnx.save(model, str(tmp_path / "swapped.onnx"))
    return lay_out(tmp_path)


@pytest.fixture
def explain(parity: Parity) -> Parity:
    """Run `parity explain`."""
    return lambda *arguments: parity("explain", *arguments)


def test_parity_that_holds_needs_no_explanation(explain: Parity) -> None:
    code, out, err = explain("models.py:tiny", "good.onnx", "--images", "photos")

    assert (code, err) == (0, "")
    assert out.startswith("tiny by onnx-torchscript on onnxruntime: parity holds")


def test_a_cause_is_printed_first_and_the_hops_last(explain: Parity) -> None:
    code, out, err = explain("models.py:tiny", "swapped.onnx", "--images", "photos", "--json", "found.json")

    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[1].startswith("  cause: Red and blue are swapped")
    assert "(confirmed: undoing it restores parity) [pre-bgr-swap]" in lines[1]
    assert lines[2].startswith("  fix: ")
    assert any(line.startswith("  first divergence: ") for line in lines)
    assert lines[-1].startswith("  hop onnx.reference: fail")
    known = lines[lines.index("  how it knows:") + 1 :][:6]
    assert [line.split(":")[0] for line in known] == [
        *("    comparison", "    input", "    weights", "    operations", "    head and labels", "    tried")
    ]
    # Kernel and bias of the convolution, into which the batch norm is folded, and of the linear layer.
    assert known[2] == "    weights: 4 of 4 equal"
    subject = json.loads(Path("found.json").read_text(encoding="utf-8"))["subjects"][0]
    assert [d["fault"] for d in subject["diagnoses"]] == ["pre-bgr-swap"]
    assert subject["checks"][2] == {"step": "weights", "told": "4 of 4 equal", "agrees": True}
    (attempt,) = subject["attempts"]
    assert (attempt["faults"], attempt["images"], attempt["restores"]) == (["pre-bgr-swap"], 6, True)


def test_an_untrained_network_explains_nothing(explain: Parity) -> None:
    code, out, _ = explain("models.py:untrained", "good.onnx", "--images", "photos", "--tolerance", "0.999")

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
def test_bad_input_is_one_line(explain: Parity, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = explain(*arguments)

    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


SUITE = """
images = ["photos/*.png"]

[converters.ship]
convert = "ship.py:convert"
suffix = ".onnx"
inside = ["normalise", "softmax"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript", "ship"]
"""
SHIP = """
import shutil


def convert(path):
    shutil.copy("swapped.onnx", path)
"""


@pytest.fixture
def team(place: Path) -> Path:
    """Lay out a suite whose own converter gives the file with red and blue swapped."""
    (place / "parity.toml").write_text(SUITE, encoding="utf-8")
    (place / "ship.py").write_text(SHIP, encoding="utf-8")
    return place


@pytest.mark.usefixtures("team")
def test_a_route_of_the_suite_is_converted_and_explained(explain: Parity) -> None:
    code, out, err = explain("tiny", "ship")

    assert (code, err) == (1, "")
    assert "cause: Red and blue are swapped" in out
    assert explain("tiny", "onnx-torchscript", "--images", "photos/*.png").code == 0


@pytest.mark.usefixtures("team")
def test_a_file_is_explained_on_named_images_alone(refused: Refused) -> None:
    assert "--images is missing" in refused("explain", "tiny", "swapped.onnx")


@pytest.mark.usefixtures("team")
def test_what_is_neither_file_nor_route_is_named(refused: Refused) -> None:
    told = refused("explain", "tiny", "shipped")

    assert told == "shipped: no such file, and no route of `tiny` (routes: onnx-torchscript, ship)"


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


@pytest.mark.parametrize(("options", "said"), [((), False), (("--verbose",), True)])
def test_what_broke_is_said_where_it_is_asked_for(
    options: tuple[str, ...], said: bool, explain: Parity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(examination: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("parity.diagnosis.suspects.shapes.suspects", breaks)

    code, out, err = explain("models.py:tiny", "swapped.onnx", "--images", "photos", *options)

    # The other suspects are asked all the same.
    assert (code, err) == (1, "")
    assert "[pre-bgr-swap]" in out
    assert ("broke, which is a bug of coreml-parity" in out) == said
    assert ("ZeroDivisionError: a bug" in out) == said
