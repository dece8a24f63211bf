"""An activation that is another function is named by what it computes, once for all places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.parity.diagnosis.faulty import broken, causes, explained, good, node, reference


def leaky_with(slope: float) -> Any:
    def break_it(model: Any) -> None:
        operation = node(model, "LeakyRelu")
        operation.op_type = "PRelu"
        del operation.attribute[:]
        model.graph.initializer.append(helper.make_tensor("slope", 1, [1], [slope]))
        operation.input.append("slope")

    return break_it


def left_out(model: Any) -> None:
    operation = node(model, "LeakyRelu")
    for one in model.graph.node:
        one.input[:] = [operation.input[0] if name == operation.output[0] else name for name in one.input]
    model.graph.node.remove(operation)


@pytest.mark.parametrize(
    ("break_it", "function"),
    [
        (leaky_with(0.0), "is relu in the file"),
        (leaky_with(0.4), "is leaky_relu with slope 0.4 in the file"),
        (left_out, "is left out in the file"),
    ],
)
def test_the_function_is_named(break_it: Any, function: str) -> None:
    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["g-activation"]
    assert explanation.diagnoses[0].evidence == "PyTorch with that function in its place gives the same answers"
    assert f"Activation `leaky`, leaky_relu in PyTorch, {function}" in explanation.diagnoses[0].message


def test_padding_by_an_operation_of_its_own_is_named_with_all_four_sides() -> None:
    def break_it(model: Any) -> None:
        operation = node(model, "Conv")
        for attribute in operation.attribute:
            if attribute.name == "pads":
                attribute.ints[:] = [0, 0, 0, 0]
        amounts = np.array([0, 0, 0, 0, 0, 0, 2, 2])
        model.graph.initializer.append(helper.make_tensor("amounts", 7, [8], amounts))
        place = list(model.graph.node).index(operation)
        model.graph.node.insert(
            place, helper.make_node("Pad", [operation.input[0], "amounts"], ["padded"], "pad it")
        )
        node(model, "Conv").input[0] = "padded"

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["g-pad-asymmetric"]
    assert "`stem` is padded (0, 2, 0, 2) (top, bottom, left, right) instead of (1, 1, 1, 1), by `pad it`" in (
        explanation.diagnoses[0].message
    )


def test_a_bias_that_is_nowhere_is_named() -> None:
    def break_it(model: Any) -> None:
        del node(model, "Gemm").input[2:]

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["wt-zeroed"]
    assert "has no bias, which is the same as one of zeros" in explanation.diagnoses[0].message


def test_an_epsilon_in_a_formula_is_measured() -> None:
    """Write the layer norm out, with an epsilon that no attribute says."""

    def break_it(model: Any) -> None:
        operation = node(model, "LayerNormalization")
        value, scale, bias = operation.input[:3]
        place = list(model.graph.node).index(operation)
        model.graph.initializer.append(helper.make_tensor("another epsilon", 1, [], [0.1]))
        model.graph.initializer.append(helper.make_tensor("last", 7, [1], [-1]))
        parts = (
            helper.make_node("ReduceMean", [value], ["mean"], axes=[-1]),
            helper.make_node("Sub", [value, "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "centred"], ["squares"]),
            helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[-1]),
            helper.make_node("Add", ["variance", "another epsilon"], ["more"]),
            helper.make_node("Sqrt", ["more"], ["deviation"]),
            helper.make_node("Div", ["centred", "deviation"], ["normal"]),
            helper.make_node("Mul", ["normal", scale], ["scaled"]),
            helper.make_node("Add", ["scaled", bias], [operation.output[0]]),
        )
        model.graph.node.remove(operation)
        for offset, part in enumerate(parts):
            model.graph.node.insert(place + offset, part)

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["g-norm-eps"]
    assert "has the epsilon 0.1 where PyTorch has 1e-05" in explanation.diagnoses[0].message
