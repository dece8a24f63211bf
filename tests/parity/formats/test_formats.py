"""The seam: every format has every name, and what stands behind it is found in one place."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import parity.formats.coreai
import parity.formats.mlprogram
import parity.formats.neuralnetwork
import parity.formats.onnx
from conversion.artifact import Format as Name
from parity.formats import FORMATS, Format, find_format
from parity.formats.editing import Editable, Edits

PACKAGES = (
    parity.formats.onnx,
    parity.formats.mlprogram,
    parity.formats.neuralnetwork,
    parity.formats.coreai,
)
SOURCE = Path(parity.formats.__file__).parents[1]


def test_every_format_of_an_artefact_has_its_package() -> None:
    assert tuple(FORMATS) == get_args(Name)
    assert tuple(find_format(name) for name in FORMATS) == PACKAGES


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_all_names_of_the_protocol(name: str) -> None:
    package = find_format(name)
    facts = [fact for fact in Format.__annotations__ if not hasattr(package, fact)]
    verbs = [verb for verb in vars(Format) if not verb.startswith("_") and not hasattr(package, verb)]
    edits = [edit for edit in vars(Edits) if not edit.startswith("_") and not hasattr(package.edit, edit)]

    assert (facts, verbs, edits) == ([], [], [])


def test_an_unknown_format_has_no_package() -> None:
    with pytest.raises(KeyError, match="tflite"):
        find_format("tflite")


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("InferenceSession(", ["formats/onnx/session.py"]),
        # The engine's is of the description's functions, which only files with several have.
        ("defaultFunctionName", ["coreml/reading/mil.py", "coreml/running/engine.py"]),
    ],
)
def test_what_is_opened_or_looked_up_is_so_in_one_place(text: str, files: list[str]) -> None:
    places = [p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.py") if text in p.read_text()]

    assert sorted(places) == files


@pytest.mark.parametrize("name", ["mlprogram", "neuralnetwork"])
def test_colours_are_declared_swapped_and_declared_back(name: str) -> None:
    from coremltools.proto import Model_pb2

    content = Model_pb2.Model()
    content.description.input.add().type.imageType.colorSpace = 20  # FeatureTypes.proto: RGB
    model = Editable(name, content)

    before = model.verbs.declares_bgr(content)
    model.swap_channels()
    swapped = model.verbs.declares_bgr(content)
    model.verbs.declare_rgb(content)

    assert (before, swapped, model.verbs.declares_bgr(content)) == (False, True, False)
