"""`parity contract`, and what states a contract on the other commands and in a suite file."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from conversion import Preprocessing
from conversion.classifier import CropRounding
from conversion.images import read_pixels
from parity import ParityError
from parity.suite.suite import read_suite
from tests.parity.commands.command import Parity, lay_out
from tests.parity.foreign import export, softmax

SUITE = """
images = ["photos/*.png"]

[converters.ship]
convert = "tools.py:convert"
suffix = ".onnx"
inside = []

[models.tiny]
factory = "models.py:tiny"
routes = ["ship"]
artifacts = ["loose.onnx", { path = "bare.onnx", inside = [], input = "input" }]
"""
TOOLS = """
import torch

def convert(module, path):
    torch.onnx.export(module, (torch.rand(1, 3, 32, 32),), str(path), input_names=["x"], dynamo=False)
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lay_out(tmp_path, SUITE)
    (tmp_path / "tools.py").write_text(TOOLS, encoding="utf-8")
    export(tmp_path / "bare.onnx")
    export(tmp_path / "loose.onnx", None, softmax)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("team")
def test_what_is_stated_is_written_out(parity: Parity) -> None:
    done = parity("contract", "bare.onnx", "--model", "models.py:tiny", "--inside", "none")

    assert (done.code, done.err) == (0, "")
    assert "inside = [], as is stated" in done.out
    assert "the app must: resize to 32x32 (bilinear), x/255, (x - mean)/std with mean (0.485, 0.456" in done.out
    assert "Python:" in done.out
    assert "Swift:" in done.out


# Photos without resize: half of an odd margin, 1.5 of 3 pixels, is rounded to the even number by torchvision (2),
# and down by transformers (1). Of even margins nothing is rounded.
@pytest.mark.parametrize("rounding", ["down", "even"])
@pytest.mark.parametrize(("size", "differ"), [((35, 33), True), ((37, 35), True), ((34, 36), False)])
def test_the_lines_of_python_crop_as_the_model_does(
    rounding: str, size: tuple[int, int], differ: bool, team: Path, parity: Parity
) -> None:
    with (team / "models.py").open("a", encoding="utf-8") as file:
        file.write(
            "\n\ndef cropped():\n    way = Preprocessing(size=(32, 32), resize=None, "
            f"crop_rounding={rounding!r})\n    return replace(tiny(), preprocessing=way)\n"
        )
    noise = np.random.default_rng(5).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save("photo.jpg", quality=95)
    options = ("--model", "models.py:cropped", "--inside", "none", "--language", "python")

    done = parity("contract", "bare.onnx", *options)
    assert (done.code, done.err) == (0, "")
    names: dict[str, Any] = {}
    exec(textwrap.dedent(done.out.partition("Python:\n")[2]), names)

    both = {
        way: read_pixels("photo.jpg", Preprocessing(size=(32, 32), resize=None, crop_rounding=way))
        for way in get_args(CropRounding)
    }
    assert np.array_equal(np.asarray(names["image"]), both[rounding])
    assert np.array_equal(both["down"], both["even"]) != differ


@pytest.mark.usefixtures("team")
def test_what_nobody_states_is_measured_where_there_are_images(parity: Parity) -> None:
    unknown = parity("contract", "bare.onnx", "--model", "tiny")
    measured = parity("contract", "bare.onnx", "--model", "tiny", "--images", "photos", "--language", "python")

    assert unknown.code == 3
    assert "state it by --inside, or give --images" in unknown.err
    assert measured.code == 0
    assert "inside = [], as measured on these images" in measured.out
    assert "Swift:" not in measured.out


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--inside", "softmx"), "did you mean softmax?"),
        (("--range", "0..2"), "range: `0..2` is none of 0..255, 0..1, -1..1"),
        (("--inside", "none", "--range", "0..1"), "leave it out, or add `normalise` to inside"),
        (("--mean", "1,2"), "give three numbers"),
        (("--mean", "0,0,0"), "mean and std go together"),
        (("--std", "1,1,0"), "give three numbers"),
    ],
)
def test_what_cannot_be_stated_is_bad_input(options: tuple[str, ...], told: str, parity: Parity) -> None:
    done = parity("check", "models.py:tiny", "bare.onnx", "--images", "photos", *options)

    assert done.code == 2
    assert told in done.err


@pytest.mark.usefixtures("team")
def test_check_explain_predict_and_record_take_it(parity: Parity) -> None:
    images = ("--images", "photos")
    one = ("--backend", "onnxruntime")

    assert parity("check", "models.py:tiny", "bare.onnx", *images, *one, "--strict").code == 3
    assert parity("check", "models.py:tiny", "bare.onnx", *images, *one, "--strict", "--inside", "none").code == 0
    assert parity("explain", "models.py:tiny", "bare.onnx", *images, "--inside", "normalise").code == 1
    assert parity("record", "bare.onnx", *images, "--inside", "none", "--out", "r.json").code == 0
    record = json.loads(Path("r.json").read_text(encoding="utf-8"))["records"][0]
    assert all(sum(p["probabilities"]) == pytest.approx(1) for p in record["predictions"])
    shown = parity("predict", "bare.onnx", "photos", "--inside", "none", "--mean", "0.5,0.5,0.5", "--std", "1,1,1")
    assert "(x - mean)/std with mean (0.5, 0.5, 0.5)" in shown.out


@pytest.mark.usefixtures("team")
def test_a_suite_states_it_for_converters_and_for_files(parity: Parity) -> None:
    done = parity("run", "--backend", "onnxruntime", "--strict", "--json", "results.json")

    subjects = json.loads(Path("results.json").read_text(encoding="utf-8"))["subjects"]
    assert {s["route"]: s["verdict"] for s in subjects} == {
        "ship": "pass",
        "bare.onnx": "pass",
        "loose.onnx": "inconclusive",
    }
    assert done.code == 3
    assert "as is stated: x/255" in done.out
    assert parity("run", "--backend", "onnxruntime", "--json", "results.json").code == 0


@pytest.mark.usefixtures("team")
def test_a_stream_knows_it_and_goes_on_only_with_the_same(parity: Parity) -> None:
    one = ("run", "--images", "photos", "--workers", "0", "--backend", "onnxruntime", "--json", "s.json")

    assert parity(*one).code == 0
    remarks = [s["remarks"] for s in json.loads(Path("s.json").read_text(encoding="utf-8"))["subjects"]]
    assert all("x/255, (x - mean)/std" in " ".join(its) for its in remarks)
    assert parity(*one[:-1], "strict.json", "--strict").code == 3

    file = Path("parity.toml")
    file.write_text(
        SUITE.replace('{ path = "bare.onnx", inside = []', '{ path = "bare.onnx", inside = ["softmax"]')
    )
    changed = parity(*one)
    assert changed.code == 2
    assert "what tiny by bare.onnx on onnxruntime is said to do itself changed (`inside`)" in changed.err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("inside = []\n", 'inside = ["softmx"]\n'), "[converters] ship: inside: `softmx` is none of"),
        (("inside = []\n", 'inside = []\nrange = "0..1"\n'), "range 0..1 is of a file that normalises itself"),
        (('path = "bare.onnx", inside = []', 'path = "bare.tflite"'), "bare.tflite names no converted model"),
        (
            ('input = "input"', 'inputs = "x"'),
            "artifacts[1]] inputs: unknown key; did you mean input?",
        ),
    ],
)
def test_what_is_wrong_in_a_suite_file_is_told(changes: tuple[str, str], told: str, team: Path) -> None:
    (team / "parity.toml").write_text(SUITE.replace(*changes), encoding="utf-8")

    with pytest.raises(ParityError) as raised:
        read_suite(team / "parity.toml")
    assert told in str(raised.value)
