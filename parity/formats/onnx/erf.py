"""The approximate GELU in the place of an exact one that is spelt out with an Erf."""

from __future__ import annotations

from typing import Any

import numpy as np


def approximate_erf(model: Any, operation: str) -> None:
    """Put the tanh of the approximate GELU in the place of an ONNX Erf.

    GELU's erf(x / sqrt(2)) becomes tanh(sqrt(2 / pi) * (x + 0.044715 x^3)); what comes in is x / sqrt(2).
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    index = next(i for i, node in enumerate(graph.node) if (node.name or node.output[0]) == operation)
    (value,), (result,) = graph.node[index].input, graph.node[index].output
    linear, cubic = 2 / np.sqrt(np.pi), np.sqrt(2 / np.pi) * 0.044715 * 2 * np.sqrt(2)
    names = [f"{operation} {part}" for part in ("linear", "cubic", "square", "scaled", "factor", "inner")]
    first, third, square, scaled, factor, inner = names
    for name, number in ((first, linear), (third, cubic)):
        graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
    del graph.node[index]
    steps = (
        ("Mul", [value, value], square),
        ("Mul", [square, third], scaled),
        ("Add", [scaled, first], factor),
        ("Mul", [factor, value], inner),
        ("Tanh", [inner], result),
    )
    for place, (kind, inputs, output) in enumerate(steps):
        graph.node.insert(index + place, helper.make_node(kind, inputs, [output], output))
