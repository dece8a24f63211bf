"""Reductions, running sums, and what sorts. Core AI keeps the axes that it reduces, so ML Program does here too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, along_axes, along_axis, one_tensor


def _reduction(
    name: str, core: Callable[..., Any], reference: Callable[..., Any], *kinds: str, exact: bool = False
) -> Operation:
    return Operation(
        name,
        along_axes(*(kinds or ("normal", "wide"))),
        one_tensor,
        lambda b, a, x: getattr(b, name)(x=x, axes=a["axes"], keep_dims=True),
        lambda c, a, x: core(c, x, a["axes"]),
        lambda a, x: reference(x, a["axes"]),
        rounding="none" if exact else "sum",
    )


def _product(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x


def _distinct(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Numbers that are all different: the order of equal ones is defined by neither."""
    count = int(np.prod(a["shape"]))
    return {"x": (random.permutation(count).astype(np.float32) - count // 2).reshape(a["shape"]) / 2}


@st.composite
def _top(draw: st.DrawFn) -> dict[str, Any]:
    a = draw(along_axis())
    return a | {"k": draw(st.integers(1, a["shape"][a["axis"]])), "ascending": draw(st.booleans())}


def _core_top(c: Any, a: Attributes, x: Any) -> Any:
    """The first k of what is sorted, and of where it was."""
    axis = a["axis"] % len(a["shape"])
    begin, end = [0] * len(a["shape"]), [a["k"] if i == axis else size for i, size in enumerate(a["shape"])]
    how = (np.int32(a["axis"]), np.bool_(not a["ascending"]), np.bool_(True))
    cut = (begin, end, [1] * len(a["shape"]))
    return c.slice_(c.sort(x, *how), *cut), c.slice_(c.cast(c.argsort(x, *how), np.float32), *cut)


OPERATIONS = (
    _reduction("reduce_sum", lambda c, x, axes: c.reduce_sum(x, axes), lambda x, axes: x.sum(axes, keepdim=True)),
    _reduction(
        "reduce_mean", lambda c, x, axes: c.reduce_mean(x, axes), lambda x, axes: x.mean(axes, keepdim=True)
    ),
    _reduction(
        "reduce_max",
        lambda c, x, axes: c.reduce_max(x, axes),
        lambda x, axes: x.amax(axes, keepdim=True),
        "normal",
        "special",
        exact=True,
    ),
    _reduction(
        "reduce_min",
        lambda c, x, axes: c.reduce_min(x, axes),
        lambda x, axes: x.amin(axes, keepdim=True),
        "normal",
        "special",
        exact=True,
    ),
    _reduction("reduce_prod", lambda c, x, axes: c.reduce_product(x, axes), _product, "normal"),
    _reduction(
        "reduce_l1_norm",
        lambda c, x, axes: c.reduce_sum(c.abs_(x), axes),
        lambda x, axes: x.abs().sum(axes, keepdim=True),
    ),
    _reduction(
        "reduce_l2_norm",
        lambda c, x, axes: c.sqrt(c.reduce_sum(c.mul(x, x), axes)),
        lambda x, axes: x.square().sum(axes, keepdim=True).sqrt(),
    ),
    _reduction(
        "reduce_sum_square",
        lambda c, x, axes: c.reduce_sum(c.mul(x, x), axes),
        lambda x, axes: x.square().sum(axes, keepdim=True),
    ),
    Operation(
        "reduce_argmax",
        along_axis("normal", "halves"),
        one_tensor,
        lambda b, a, x: b.reduce_argmax(x=x, axis=a["axis"], keep_dims=True),
        lambda c, a, x: c.argmax(x, np.int32(a["axis"])),
        # The first of equal ones: NumPy says so, PyTorch leaves it open.
        lambda a, x: torch.from_numpy(np.expand_dims(np.argmax(x.numpy(), a["axis"]), a["axis"])),
        rounding="none",
    ),
    Operation(
        "argsort",
        along_axis(ascending=st.booleans()),
        _distinct,
        lambda b, a, x: b.argsort(x=x, axis=a["axis"], ascending=a["ascending"]),
        lambda c, a, x: c.argsort(x, np.int32(a["axis"]), np.bool_(not a["ascending"]), np.bool_(True)),
        lambda a, x: torch.argsort(x, a["axis"], not a["ascending"]),
        rounding="none",
    ),
    Operation(
        "topk",
        _top(),
        _distinct,
        lambda b, a, x: b.topk(x=x, k=a["k"], axis=a["axis"], ascending=a["ascending"]),
        _core_top,
        lambda a, x: torch.topk(x, a["k"], a["axis"], not a["ascending"]),
        rounding="none",
    ),
    Operation(
        "cumsum",
        along_axis("normal", "wide", reverse=st.booleans()),
        one_tensor,
        lambda b, a, x: b.cumsum(x=x, axis=a["axis"] % len(a["shape"]), reverse=a["reverse"]),
        lambda c, a, x: c.scan(x, np.uint32(a["axis"] % len(a["shape"])), np.bool_(a["reverse"])),
        lambda a, x: x.flip(a["axis"]).cumsum(a["axis"]).flip(a["axis"]) if a["reverse"] else x.cumsum(a["axis"]),
        rounding="sum",
    ),
)
