"""Products that are rounded to fp16 one by one, and added in fp32. It takes as long as that sounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.ops.conv import pad_spatial, window_padding
from parity.coreml.program import Form
from parity.envelope.sums import Function, operands

# How many products are in memory at once.
_AT_ONCE = 1 << 22


def rounded_products(type_: str, form: Form) -> Function | None:
    """Make the function that computes an operation so; None where it multiplies nothing."""
    make = _MULTIPLYING.get(type_)
    return make(form) if make else None


def multiply(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Multiply matrices [..., R, K] and [..., K, C] with their products rounded to fp16."""
    rows, columns = x.shape[-2], y.shape[-1]
    batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    step = max(1, _AT_ONCE // max(1, rows * columns * batch.numel()))
    total = torch.zeros((*batch, rows, columns))
    for start in range(0, x.shape[-1], step):
        part = slice(start, start + step)
        products = x[..., :, part, None] * y[..., None, part, :]
        total += products.to(torch.float16).to(torch.float32).sum(-2)
    return total


def _matmul(form: Form) -> Function:
    def run(**values: Any) -> torch.Tensor:
        x, y = operands(form, values)
        if min(x.ndim, y.ndim) < 2:
            return form.function(**form.fixed, **values)  # type: ignore[no-any-return]
        return multiply(x, y)

    return run


def _linear(form: Form) -> Function | None:
    weight, bias = form.fixed.get("weight"), form.fixed.get("bias")
    if weight is None or form.changing != ("x",):
        return None

    def run(x: torch.Tensor) -> torch.Tensor:
        result = multiply(x.reshape(-1, x.shape[-1]), weight.mT).reshape(*x.shape[:-1], -1)
        return result if bias is None else result + bias

    return run


def _conv(form: Form) -> Function | None:
    weight = form.fixed.get("weight")
    if weight is None or weight.ndim != 4 or form.changing != ("x",):
        return None
    given, kernel = form.fixed, tuple(weight.shape[2:])
    bias, groups = given.get("bias"), given.get("groups", 1)
    strides, dilations = given.get("strides") or (1, 1), given.get("dilations") or (1, 1)

    def run(x: torch.Tensor) -> torch.Tensor:
        sizes = tuple(x.shape[2:])
        padding = window_padding(
            given.get("pad_type", "valid"), given.get("pad"), sizes, kernel, strides, dilations
        )
        x = pad_spatial(x, padding)
        extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
        out = [(n - e) // s + 1 for n, e, s in zip(x.shape[2:], extents, strides, strict=True)]
        columns = F.unfold(x.contiguous(), kernel, dilations, 0, strides).unflatten(1, (groups, -1))
        rows = weight.reshape(groups, weight.shape[0] // groups, -1)
        result = multiply(rows, columns).reshape(len(x), -1, *out)
        return result if bias is None else result + bias.reshape(-1, 1, 1)

    return run


_MULTIPLYING: dict[str, Callable[[Form], Function | None]] = {"conv": _conv, "linear": _linear, "matmul": _matmul}
