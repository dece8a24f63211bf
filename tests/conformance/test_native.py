"""The comparison with Apple's runtime, with a stand-in for the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conformance.conformance_native import BothStates, beside, differences
from tests.conformance.test_plugin import MADE_UP, run_plugin

X = np.array([1.0, -2.0, 400.0], np.float32)


def value(array: Any, dtype: Any = np.float32) -> dict[str, Any]:
    return {"y": np.asarray(array, dtype)}


@pytest.mark.parametrize(
    ("native", "evaluator"),
    [
        (value(X), value(X)),
        (value(X), value(X + np.float32(0.3))),  # within a thousandth of 400
        (value([np.nan, np.inf, 1]), value([np.nan, np.inf, 1])),
        (value(np.zeros((0, 2))), value(np.zeros((0, 2)))),
        ({"classLabel": "cat"}, {"classLabel": "cat"}),
        ({"p": {"cat": 0.25, "dog": 0.75}}, {"p": {"dog": 0.75, "cat": 0.25}}),
        (ValueError("shape"), RuntimeError("shape")),
    ],
)
def test_agreement(native: Any, evaluator: Any) -> None:
    assert differences(native, evaluator) == []


@pytest.mark.parametrize(
    ("native", "evaluator", "what"),
    [
        (value(X), value(X + np.float32(0.5)), "value"),
        (value([1, np.nan]), value([1, 2]), "value"),
        (value([1, 2]), value([1, np.inf]), "value"),
        (value([1, np.inf]), value([1, -np.inf]), "value"),
        (value([1, 2]), value([[1, 2]]), "type"),
        (value([1, 2]), value([1, 2], np.int32), "type"),
        (value([1, 2]), {"z": X}, "presence"),
        ({"classLabel": "cat"}, {"classLabel": "dog"}, "value"),
        ({"p": {"cat": 0.25, "dog": 0.75}}, {"p": {"cat": 0.75, "dog": 0.25}}, "value"),
        ({"p": {"cat": 0.25}}, {"p": {"dog": 0.25}}, "value"),
        (value(X), RuntimeError("lacks an operation"), "error"),
        (RuntimeError("out of bounds"), value(X), "error"),
    ],
)
def test_difference(native: Any, evaluator: Any, what: str) -> None:
    found = differences(native, evaluator)

    assert {row["what"] for row in found} == {what}


def test_the_worst_element_is_shown() -> None:
    (row,) = differences(value([1, 2, 3]), value([1, 2.5, 5]))

    assert row == {
        "output": "y", "what": "value", "native": "3.0", "evaluator": "5.0",
        "max_abs_diff": "2.0", "elements": 2, "of": 3,
    }  # fmt: skip


class Memory:
    """Keep states, as a runtime does."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def read_state(self, name: str) -> Any:
        return self.values[name]

    def write_state(self, name: str, value: Any) -> None:
        self.values[name] = value


def test_states_are_kept_on_both_sides() -> None:
    states = BothStates(Memory(), Memory())
    states.write_state("count", 3)

    assert states.read_state("count") == 3
    assert states.evaluator.read_state("count") == 3


def test_a_state_that_the_evaluator_lacks_does_not_stop_the_native_one() -> None:
    states = BothStates(Memory(), RuntimeError("no state"))
    states.write_state("count", 3)

    assert states.read_state("count") == 3


class Native:
    """Answer as a runtime that refuses every prediction."""

    def __init__(self, path: str, *_: Any) -> None:
        self.path = path

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return 9

    def get_compiled_model_path(self) -> str:
        return self.path

    def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        raise RuntimeError("no such model")


def test_what_is_not_compared_is_the_native_proxys() -> None:
    both = beside(Native, lambda found: None)

    assert both.maximum_supported_specification_version() == 9
    assert both("missing.mlpackage", "CPU_ONLY", "", {}, None).get_compiled_model_path() == "missing.mlpackage"


def test_that_both_refuse_is_agreement_and_the_native_error_is_raised() -> None:
    notes: list[Any] = []
    model = beside(Native, notes.extend)("missing.mlpackage", "CPU_ONLY", "", {}, None)

    with pytest.raises(RuntimeError, match="no such model"):
        model.batchPredict([{"x": X}])
    assert notes == []


# Apple's runtime, were it the evaluator with one output off by one.
FAKE = """
import coremltools.models.model as model
from parity.coreml.proxy import EvaluatorProxy

class Fake(EvaluatorProxy):
    def predict(self, inputs, state=None):
        return {name: value + 1 for name, value in super().predict(inputs, state).items()}

def pytest_configure(config):
    model._MLModelProxy = Fake
"""


def test_under_the_plugin_the_differences_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "fake_native.py").write_text(FAKE, encoding="utf-8")
    native = ("--conformance-runtime", "native")
    found, output = run_plugin(tmp_path, MADE_UP, *native, plugins=("fake_native",))

    assert found, output
    assert (
        found["test_passes"]["outcome"] == "failed"
    )  # the stand-in is wrong, and its answer is what the test gets
    assert found["test_passes"]["differences"] == [
        {"output": "y", "what": "value", "native": "3.0", "evaluator": "2.0",
         "max_abs_diff": "1.0", "elements": 2, "of": 2},
    ]  # fmt: skip
    assert found["test_catches"]["differences"] == []
    assert found["test_structure"]["differences"] == []
