"""Selections of a command line: refused exactly where a part of them would run nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion import Artifact
from parity import ParityError
from parity.backends.selection import check_backends, check_selection
from parity.suite.suite import ModelEntry, Selection, Suite

SUITE = Suite(
    Path("parity.toml"),
    (
        ModelEntry("big", "models.py:big", {}, ("onnx", "mlprogram"), ("a.jpg",)),
        ModelEntry("small", "models.py:small", {}, ("onnx", "onnx-coreml"), ("a.jpg",)),
    ),
)
# Typed in: what a run of this suite consists of.
LEGS = [
    ("big", "onnx", "onnxruntime"),
    ("big", "onnx", "onnx-reference"),
    ("big", "mlprogram", "coreml-native"),
    ("big", "mlprogram", "coreml-evaluator"),
    ("small", "onnx", "onnxruntime"),
    ("small", "onnx", "onnx-reference"),
    ("small", "onnx-coreml", "coreml-native"),
    ("small", "onnx-coreml", "coreml-evaluator"),
]


def some(place: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(sorted({leg[place] for leg in LEGS})), max_size=2, unique=True)


@given(some(0), some(1), some(2))
def test_a_selection_is_refused_where_a_name_of_it_runs_nothing(
    models: list[str], routes: list[str], backends: list[str]
) -> None:
    asked = (models, routes, backends)
    left = [leg for leg in LEGS if all(not names or part in names for part, names in zip(leg, asked, strict=True))]
    run = {name for leg in left for name in leg}
    if {*models, *routes, *backends} <= run:
        check_selection(SUITE, Selection(tuple(models), tuple(routes), tuple(backends)))
        return
    with pytest.raises(ParityError) as raised:
        check_selection(SUITE, Selection(tuple(models), tuple(routes), tuple(backends)))
    assert any(f"`{name}`" in str(raised.value) for name in {*models, *routes, *backends} - run)


def test_the_error_names_what_the_others_leave() -> None:
    with pytest.raises(ParityError) as raised:
        check_selection(SUITE, Selection(("small",), ("mlprogram",)))

    assert str(raised.value) == "parity.toml: no model `small` with route mlprogram (models: big)"


def test_where_the_others_exclude_each_other_all_is_named() -> None:
    with pytest.raises(ParityError) as raised:
        check_selection(SUITE, Selection(("small",), ("mlprogram",), ("onnxruntime",)))

    assert str(raised.value) == (
        "parity.toml: no model `small` with route mlprogram and backend onnxruntime (models: big, small)"
    )


# Artefacts


ONNX, MLPROGRAM = Artifact(Path("a.onnx"), "onnx", "fp32"), Artifact(Path("b.mlpackage"), "mlprogram", "fp16")


@pytest.mark.parametrize(
    ("artifacts", "backends"),
    [
        ([ONNX, MLPROGRAM], []),
        ([ONNX], ["onnxruntime"]),
        ([ONNX, MLPROGRAM], ["onnx-reference", "coreml-native"]),
        ([ONNX, ONNX], ["onnxruntime", "onnx-reference"]),
    ],
)
def test_backends_that_run_every_artefact_pass(artifacts: list[Artifact], backends: list[str]) -> None:
    check_backends(artifacts, backends)


@pytest.mark.parametrize(
    ("artifacts", "backends", "told"),
    [
        (
            [ONNX],
            ["coreml-evaluator"],
            "a.onnx: coreml-evaluator cannot run onnx; backends that can: onnxruntime",
        ),
        ([ONNX, MLPROGRAM], ["onnxruntime"], "b.mlpackage: onnxruntime cannot run mlprogram; backends that can: "),
        (
            [ONNX],
            ["onnxruntime", "coreml-native"],
            "backend `coreml-native` runs mlprogram and neuralnetwork",
        ),
        ([ONNX], ["onnxruntim"], "unknown backend `onnxruntim`; did you mean onnxruntime?"),
    ],
)
def test_a_part_that_would_not_run_is_named(artifacts: list[Artifact], backends: list[str], told: str) -> None:
    with pytest.raises(ParityError) as raised:
        check_backends(artifacts, backends)

    assert str(raised.value).startswith(told)
