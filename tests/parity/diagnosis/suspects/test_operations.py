"""An operation that computes something else is known by its values, and undone by letting PyTorch do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.parity.diagnosis.faulty import broken, causes, explained, good, node, reference
from tests.parity.test_injected_faults import mil_operations
from tests.parity.tiny import tiny


def another_activation(model: Any) -> None:
    operation = node(model, "LeakyRelu")
    operation.op_type = "Tanh"
    del operation.attribute[:]


def another_mean(model: Any) -> None:
    operation = node(model, "ReduceMean")
    operation.op_type = "ReduceMax"


@pytest.mark.parametrize(
    ("break_it", "fault", "module"),
    [(another_activation, "g-activation", "`leaky`"), (another_mean, "g-operation", "mean")],
)
def test_an_operation_of_an_onnx_file(break_it: Callable[[Any], None], fault: str, module: str) -> None:
    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == [fault]
    assert module in explanation.diagnoses[0].message
    assert explanation.first_divergence is not None


def program_activation(specification: Any) -> None:
    next(op for op in mil_operations(specification) if op.type == "relu").type = "tanh"


def network_pooling(specification: Any) -> None:
    layers = specification.neuralNetworkClassifier.layers
    next(x for x in layers if x.WhichOneof("layer") == "pooling").pooling.type = 0  # the largest, not the mean


@pytest.mark.parametrize(
    ("route", "break_it", "fault"),
    [("mlprogram", program_activation, "g-activation"), ("onnx-coreml", network_pooling, "g-operation")],
)
def test_an_operation_of_core_ml(route: str, break_it: Callable[[Any], None], fault: str) -> None:
    explanation = explained(broken(good(route, tiny), break_it), reference(tiny))

    assert causes(explanation) == [fault]


def test_two_operations_are_undone_together() -> None:
    def break_it(model: Any) -> None:
        another_activation(model)
        another_mean(model)

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation)
    text = " ".join(d.message for d in explanation.diagnoses)
    assert "`leaky`" in text
    assert "ReduceMax" in text


def test_the_last_operation_is_not_excused_by_replacing_the_answer() -> None:
    # Nothing but the answer's own operation is located here; PyTorch must get the artefact's logits, not its own.
    def break_it(model: Any) -> None:
        another_activation(model)
        last = node(model, "Softmax", -1)
        last.op_type = "HardSigmoid"
        del last.attribute[:]

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    confirmed = [diagnosis for diagnosis in explanation.diagnoses if diagnosis.confirmed]
    assert len(confirmed) != 1 or "`leaky`" in confirmed[0].message
