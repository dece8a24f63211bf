"""What stands between logits and probabilities is read off the outputs, and undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.parity.diagnosis.faulty import (
    behind_all,
    broken,
    causes,
    explained,
    good,
    node,
    reference,
    set_attribute,
    without_softmax,
)
from tests.parity.test_injected_faults import mil_drop_softmax, nn_drop_softmax
from tests.parity.tiny import tiny

ONNX = "onnx-torchscript"


def twice(model: Any) -> None:
    behind_all(model, "Softmax", axis=1)


def of_the_batch(model: Any) -> None:
    set_attribute(node(model, "Softmax", -1), "axis", 0)


def logarithms(model: Any) -> None:
    node(model, "Softmax", -1).op_type = "LogSoftmax"


def percent(model: Any) -> None:
    behind_all(model, "Mul", [np.array(100, np.float32)])


def sigmoid(model: Any) -> None:
    last = node(model, "Softmax", -1)
    last.op_type = "Sigmoid"
    del last.attribute[:]


def sharpened(model: Any) -> None:
    last = node(model, "Softmax", -1)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2, np.float32), "two"))
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Mul", [last.input[0], "two"], ["twice as sharp"])
    )
    last.input[0] = "twice as sharp"


@pytest.mark.parametrize(
    ("fault", "break_it", "figures"),
    [
        ("head-softmax-missing", without_softmax, "logits"),
        ("head-softmax-twice", twice, "e/(e+11) = 0.198"),
        ("head-softmax-axis", of_the_batch, "over axis 0, not over the classes (axis 1)"),
        ("head-log-softmax", logarithms, "log-probabilities"),
        ("head-percent", percent, "sum to 100"),
        ("head-sigmoid", sigmoid, "sigmoid"),
        ("head-temperature", sharpened, "multiplied by 2 "),
    ],
)
def test_a_head_is_named_and_undone(fault: str, break_it: Callable[[Any], None], figures: str) -> None:
    explanation = explained(broken(good(ONNX), break_it), reference())

    assert causes(explanation) == [fault]
    assert figures in explanation.diagnoses[0].message


@pytest.mark.parametrize(("route", "break_it"), [("mlprogram", mil_drop_softmax), ("onnx-coreml", nn_drop_softmax)])
def test_core_ml_without_softmax(route: str, break_it: Callable[[Any], None]) -> None:
    explanation = explained(broken(good(route, tiny), break_it), reference(tiny))

    assert causes(explanation) == ["head-softmax-missing"]
    assert "Softmax" in explanation.diagnoses[0].fix
