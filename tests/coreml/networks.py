"""Tiny NeuralNetworks for tests: write layers with coremltools' NeuralNetworkBuilder, run, and check every node.

Beside its answer every run checks what the planner relies on: no layer changes its inputs, a result that may be
overwritten shares no memory with an input, and the form that works in place gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.coreml import Evaluator
from parity.coreml.dtypes import CARRIERS

ct = import_coremltools()
with chatter_to():
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder as Builder

Add = Callable[[Any], Any]


@dataclass(frozen=True)
class Model:
    """Hold a specification as the evaluator takes it from coremltools."""

    specification: Any

    def get_spec(self) -> Any:
        return self.specification


def specify(
    add: Add,
    inputs: Mapping[str, tuple[int, ...]],
    outputs: tuple[str, ...] = ("y",),
    rank5: bool = False,
    mode: str | None = None,
) -> Any:
    """Build a specification; no output declares its shape. rank5: under the shape mapping of iOS 11 and 12."""
    builder = Builder(
        [(name, datatypes.Array(*shape)) for name, shape in inputs.items()],
        [(name, None) for name in outputs],
        mode=mode,
        disable_rank5_shape_mapping=not rank5,
    )
    with chatter_to():
        add(builder)
    return builder.spec


def run(add: Add, outputs: tuple[str, ...] = ("y",), rank5: bool = False, **arrays: Any) -> Any:
    """Build and run a network on float arrays by input name; one output alone, several as a tuple.

    rank5: an array's own shape is declared up to three axes; of five, the last three.
    """
    fed = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    shapes = {name: a.shape[-3:] if rank5 and a.ndim == 5 else a.shape for name, a in fed.items()}
    evaluator = Evaluator(Model(specify(add, shapes, outputs, rank5)))
    answers = evaluator.predict(fed)
    check_nodes(evaluator, fed)
    found = tuple(answers[name] for name in outputs)
    return found[0] if len(found) == 1 else found


def check_nodes(evaluator: Evaluator, fed: Mapping[str, Any]) -> None:
    """Run node by node and check what each promises to the planner."""
    plan = evaluator._runnable.plan
    with torch.inference_mode():
        values: dict[str, Any] = {**plan.graph.constants, **evaluator._runnable.feeds(fed)}
        for node in plan.graph.nodes:
            inputs = [values[name] for name in node.inputs]
            before = [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]
            results = node.run(*inputs)
            for value, result in zip(node.outputs, results, strict=True):
                if value.dtype in CARRIERS and isinstance(result, torch.Tensor):
                    assert result.dtype is CARRIERS[value.dtype], f"{node.type} gives no {value.dtype}: {result}"
            tensors = [(x, copy) for x, copy in zip(inputs, before, strict=True) if isinstance(x, torch.Tensor)]
            for x, copy in tensors:
                torch.testing.assert_close(
                    x, copy, rtol=0, atol=0, equal_nan=True, msg=f"{node.type} changed its input"
                )
            if node.owns_result:
                storages = {x.untyped_storage().data_ptr() for x, _ in tensors}
                shared = [
                    r for r in results if isinstance(r, torch.Tensor) and r.untyped_storage().data_ptr() in storages
                ]
                assert not shared, f"{node.type} shares memory with its input"
            if node.run_inplace:
                again = node.run_inplace(before[0], *inputs[1:])
                torch.testing.assert_close(again, results, rtol=0, atol=0, equal_nan=True)
            values |= {value.name: r for value, r in zip(node.outputs, results, strict=True)}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Draw normally distributed numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def positive(*shape: int, seed: int = 0) -> np.ndarray:
    """Draw numbers between 0.1 and 2."""
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


def close(found: Any, expected: Any, tolerance: float = 2e-6) -> None:
    """Compare shapes and values."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
