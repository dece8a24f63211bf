"""A file's first and last operation speak against contracts; where they speak against all, against none."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion import open_artifact
from conversion.contract import state
from parity.contract.shown import as_the_graph_shows
from tests.parity.foreign import Change, export, normalise, program, softmax

WHOLE, UNIT = state(["normalise", "softmax"]), state(["normalise", "softmax"], "0..1")
NO_SOFTMAX, BARE, NORMALISED = state(["normalise"]), state([]), state(["softmax"])
ALL = [WHOLE, UNIT, NORMALISED, NO_SOFTMAX, BARE]


@pytest.mark.parametrize(
    ("before", "behind", "left"),
    [
        (None, None, [BARE]),
        (None, softmax, [NORMALISED]),
        (lambda x: x.permute(0, 1, 2, 3), softmax, [NORMALISED]),
        # What subtracts and divides may do so to pixels of any range, or to what the app has normalised.
        (normalise, softmax, [WHOLE, UNIT, NORMALISED]),
        (normalise, None, [NO_SOFTMAX, BARE]),
    ],
)
def test_contracts_that_the_graph_speaks_against_are_left_out(
    before: Change | None, behind: Change | None, left: list[object], tmp_path: Path
) -> None:
    artifact = open_artifact(export(tmp_path / "m.onnx", before, behind))

    assert as_the_graph_shows(artifact, ALL) == left


def test_it_is_the_same_in_core_ml(tmp_path: Path) -> None:
    artifact = open_artifact(program(tmp_path / "m.mlpackage", None, softmax))

    assert as_the_graph_shows(artifact, ALL) == [NORMALISED]


def test_all_are_left_where_none_would_be(tmp_path: Path) -> None:
    artifact = open_artifact(export(tmp_path / "m.onnx"))

    assert as_the_graph_shows(artifact, [WHOLE, UNIT]) == [WHOLE, UNIT]
