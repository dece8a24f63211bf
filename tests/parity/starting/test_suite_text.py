"""The suite file as it is written is read back as it was meant."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.contract import Contract, Layout, Range, Step
from parity import ParityError
from parity.starting.finished import DECLARED, MEASURED, Finished
from parity.starting.network import StartingModel
from parity.starting.plan import Plan
from parity.starting.suite_text import quoted, suite_text
from parity.suite.suite import read_suite
from tests.parity import tiny
from tests.parity.commands.command import lay_out

PLAN = Plan(
    model=StartingModel("models.py:tiny", tiny.tiny()),
    factory="models.py:tiny",
    images=("photos/*.png",),
    routes=("onnx", "mlprogram"),
    finished=(),
    on_apple=True,
    python="3.12",
    installs=("coreml-parity==0.1.0",),
)
STATED = Contract(("softmax", "labels"), "0..255", "NHWC", output="answer")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_quoted_so_that_toml_reads_it(text: str) -> None:
    assert tomllib.loads(f"text = {quoted(text)}") == {"text": text}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_name_of_a_model_is_a_key(name: str) -> None:
    named = replace(PLAN, model=StartingModel("x.py:y", replace(PLAN.model.classifier, name=name)))

    assert list(tomllib.loads(suite_text(named))["models"]) == [name]


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ParityError, match="is not UTF-8, and a suite file can hold no such name"):
        quoted("photo\udc80.png")


def test_a_suite_of_routes_says_no_more_than_it_must(tmp_path: Path) -> None:
    lay_out(tmp_path, suite_text(PLAN))

    text = (tmp_path / "parity.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == {
        "images": ["photos/*.png"],
        "models": {"tiny": {"factory": "models.py:tiny", "routes": ["onnx", "mlprogram"]}},
    }
    (entry,) = read_suite(tmp_path / "parity.toml").models
    assert (entry.name, entry.factory, entry.routes) == ("tiny", "models.py:tiny", ("onnx", "mlprogram"))
    # Every line that decides something has its comment above it.
    lines = text.splitlines()
    for key in ("images =", "factory =", "routes ="):
        (place,) = (number for number, line in enumerate(lines) if line.startswith(key))
        assert lines[place - 1].startswith("# ")


def test_a_suite_of_finished_files_states_what_was_measured(tmp_path: Path) -> None:
    finished = (
        Finished("tiny.onnx", None, DECLARED),
        Finished("app.onnx", STATED, MEASURED),
        Finished("ranged.onnx", Contract(("normalise",), "-1..1"), MEASURED),
    )
    lay_out(tmp_path, suite_text(replace(PLAN, routes=(), finished=finished)), "onnx-torchscript")

    text = (tmp_path / "parity.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["models"]["tiny"]["artifacts"] == [
        "tiny.onnx",
        {"path": "app.onnx", "inside": ["softmax", "labels"], "layout": "NHWC", "output": "answer"},
        {"path": "ranged.onnx", "inside": ["normalise"], "range": "-1..1"},
    ]
    assert text.count("# Measured on these images; correct it if it is wrong.") == 2
    (entry,) = read_suite(tmp_path / "parity.toml").models
    assert entry.routes == ("tiny.onnx", "app.onnx", "ranged.onnx")
    assert entry.recipe("app.onnx").contract == STATED


STEPS: tuple[tuple[Step, ...], ...] = ((), ("softmax",), ("normalise",), ("normalise", "softmax", "labels"))


@pytest.mark.parametrize("inside", STEPS)
@pytest.mark.parametrize("numbers", ["0..255", "0..1"])
@pytest.mark.parametrize("layout", ["", "NHWC"])
def test_every_contract_comes_back(
    inside: tuple[Step, ...], numbers: Range, layout: Layout, tmp_path: Path
) -> None:
    kept = Contract(inside, numbers if "normalise" in inside else "0..255", layout)
    plan = replace(PLAN, routes=(), finished=(Finished("app.onnx", kept, MEASURED),))
    lay_out(tmp_path, suite_text(plan))

    (entry,) = read_suite(tmp_path / "parity.toml").models
    assert entry.recipe("app.onnx").contract == kept
