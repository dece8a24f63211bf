"""The lines that do the app's part: Python's answer as the harness does, Swift's say the same numbers.

No Swift compiler is here: that these lines compile was never tried.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Artifact, Preprocessing, open_artifact
from conversion.contract import Contract, state
from conversion.images import read_pixels
from parity.backends import find_backend
from parity.contract.code import deployment, python_lines, swift_lines
from parity.contract.settle import settled
from tests.parity.foreign import export, normalise, program, softmax
from tests.parity.tiny import pictures, tiny

LAST = torch.rand(1, 32, 32, 3)
FILES = {
    "nothing": (state([]), {}),
    "softmax": (state(["softmax"]), {"behind": softmax}),
    "unit": (state(["normalise", "softmax"], "0..1"), {"before": normalise, "behind": softmax}),
    "symmetric": (state(["normalise"], "-1..1"), {"before": lambda x: normalise((x + 1) / 2)}),
    "last": (state([]), {"before": lambda x: x.permute(0, 3, 1, 2), "example": LAST}),
}


def opened(name: str, directory: Path) -> Artifact:
    contract, how = FILES[name]
    artifact = open_artifact(export(directory / "model.onnx", **how), contract)
    return settled(artifact, tiny(), lambda: pytest.fail("nothing is measured of what is stated"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("resize", [36, (32, 32), None])
def test_python_answers_as_the_harness(
    name: str, resize: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = opened(name, tmp_path)
    pictures()[2].resize((50, 44)).save(tmp_path / "photo.jpg")
    preprocessing = Preprocessing(size=(32, 32), resize=resize)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}

    exec("\n".join(python_lines(deployment(artifact, preprocessing))), names)

    pixels = read_pixels(tmp_path / "photo.jpg", preprocessing)
    expected = find_backend("onnxruntime").load(artifact)(pixels[None]).probabilities
    np.testing.assert_allclose(names["probabilities"], expected, atol=1e-7)
    assert names["best"] == int(np.argmax(expected))


def test_a_core_ml_classifier_gives_its_dictionary(tmp_path: Path) -> None:
    path = program(tmp_path / "m.mlpackage", normalise, softmax, image=True, labels=["a", "b"] * 4)
    artifact = replace(open_artifact(path), contract=Contract())
    lines = "\n".join(python_lines(deployment(artifact, tiny().preprocessing)))

    assert 'model.predict({"image": image})["classLabel_probs"]' in lines
    assert "softmax" not in lines
    compile(lines, "lines", "exec")


@pytest.mark.parametrize("name", FILES)
def test_swift_has_the_same_numbers(name: str, tmp_path: Path) -> None:
    artifact = opened(name, tmp_path)
    lines = "\n".join(swift_lines(deployment(artifact, tiny().preprocessing)))

    scale, bias = artifact.contract.affine()
    for kind, numbers in (("factor", scale), ("bias", bias)):
        listed = re.search(rf"{kind}(?:: \[Double\])? = \[(.*?)\]", lines)
        assert listed is not None
        assert [float(number) for number in listed[1].split(",")] == pytest.approx(numbers, rel=1e-8)
    assert ("powers" in lines) == ("softmax" not in artifact.contract.inside)
    assert ("3 * place + channel" in lines) == (name == "last")
    assert all(lines.count(one) == lines.count(other) for one, other in ("()", "[]", "{}"))


def test_swift_gives_an_image_to_core_ml(tmp_path: Path) -> None:
    path = program(tmp_path / "m.mlpackage", normalise, softmax, image=True)
    lines = "\n".join(swift_lines(deployment(open_artifact(path), tiny().preprocessing)))

    assert "cgImage: context.makeImage()!" in lines
    assert "MLMultiArray(" not in lines
