"""ONNX files that compute in 16 bits where nobody asked for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.parity.diagnosis.faulty import broken, causes, explained, good, node, reference


def behind_stem(model: Any, steps: list[Any]) -> None:
    """Put nodes behind the first convolution; they read `stem` and the last gives `back`."""
    stem = node(model, "Conv")
    for one in model.graph.node:
        one.input[:] = ["back" if name == stem.output[0] else name for name in one.input]
    stem.output[0] = "stem"
    place = list(model.graph.node).index(stem)
    for number, step in enumerate(steps, 1):
        model.graph.node.insert(place + number, step)


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16")])
def test_a_cast_in_the_middle_is_named(kind: int, name: str) -> None:
    def break_it(model: Any) -> None:
        behind_stem(
            model,
            [
                helper.make_node("Cast", ["stem"], ["short"], "shortened", to=kind),
                helper.make_node("Cast", ["short"], ["back"], "again", to=TensorProto.FLOAT),
            ],
        )

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["p-fp16-drift"]
    assert f"computes in {name}, first behind Cast `shortened`" in explanation.diagnoses[0].message


def test_a_value_that_is_too_large_for_it_is_named() -> None:
    def break_it(model: Any) -> None:
        for name, factor in (("up", 1e5), ("down", 1e-5)):
            model.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), name))
        behind_stem(
            model,
            [
                helper.make_node("Mul", ["stem", "up"], ["large"]),
                helper.make_node("Cast", ["large"], ["short"], "shortened", to=TensorProto.FLOAT16),
                helper.make_node("Cast", ["short"], ["long"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["long", "down"], ["back"]),
            ],
        )

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["p-fp16-overflow"]
    assert "`short` overflows in float16 (> 65504)" in explanation.diagnoses[0].message
