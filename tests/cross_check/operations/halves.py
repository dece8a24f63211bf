"""Operations in fp16: both sides must round to it, and overflow as it does, whatever they compute in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tests.cross_check.operation import Attributes, Operation
from tests.cross_check.operations import convolutions, elementwise, normalizations, reductions

_NAMES = (
    *("add", "sub", "mul", "real_div", "maximum"),
    *("exp", "sqrt", "sigmoid", "silu", "tanh", "erf", "gelu", "relu"),
    *("matmul", "linear", "softmax", "reduce_sum", "reduce_mean", "reduce_max", "cumsum"),
)


def in_half(operation: Operation) -> Operation:
    """Give the like of an operation with inputs that are rounded to fp16 first; its result is one of fp16."""

    def halved(values: Mapping[str, Any], cast: Callable[[Any], Any]) -> dict[str, Any]:
        return {
            name: value.astype(np.float16) if isinstance(value, np.ndarray) else cast(value)
            for name, value in values.items()
        }

    def reference(a: Attributes, *tensors: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = operation.reference(a, *(tensor.half().double() for tensor in tensors))
        return result.half()

    return replace(
        operation,
        name=f"{operation.name} (fp16)",
        mil=lambda b, a, **values: operation.mil(b, a, **halved(values, lambda x: b.cast(x=x, dtype="fp16"))),
        core=lambda c, a, **values: operation.core(c, a, **halved(values, lambda x: c.cast(x, np.float16))),
        reference=reference,
        precision="fp16",
    )


_ALL = {
    operation.name: operation
    for family in (elementwise, convolutions, normalizations, reductions)
    for operation in family.OPERATIONS
}
OPERATIONS = tuple(in_half(_ALL[name]) for name in _NAMES)
