"""Pooling. Core AI has windows without padding, and sums in the place of averages: the rest is written out.

ML Program's ceil_mode: a last window that begins beyond the data is dropped where there is padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, numbers
from tests.cross_check.operations.convolutions import padded, unsigned

_MAX = {2: F.max_pool2d, 3: F.max_pool3d}
_MEAN = {2: F.avg_pool2d, 3: F.avg_pool3d}


@st.composite
def _pools(draw: st.DrawFn, ranks: tuple[int, ...] = (2, 2, 3)) -> dict[str, Any]:
    """Draw windows over two or three axes, padded by at most half a window on each side alike, as PyTorch pads."""
    rank = draw(st.sampled_from(ranks))
    axes = range(rank)
    kernel = [draw(st.integers(1, 4)) for _ in axes]
    pad = [draw(st.integers(0, k // 2)) for k in kernel]
    # PyTorch's average over three axes wants a window within the data alone, and MIL's has no ceil_mode there.
    least = [max(1, k - 2 * p) if rank == 2 else k for k, p in zip(kernel, pad, strict=True)]
    return {
        "batch": draw(st.integers(1, 2)),
        "channels": draw(st.integers(1, 3)),
        "sizes": [low + draw(st.integers(0, 5)) for low in least],
        "kernel": kernel,
        "strides": [draw(st.integers(1, 4)) for _ in axes],
        "pad": pad,
        "ceil_mode": rank == 2 and draw(st.booleans()),
        "exclude": draw(st.booleans()),
        "numbers": draw(st.sampled_from(["normal", "wide"])),
    }


def _inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": numbers(a["numbers"], (a["batch"], a["channels"], *a["sizes"]), random)}


def _settings(a: Attributes) -> dict[str, Any]:
    pad = [side for p in a["pad"] for side in (p, p)]
    return {
        "kernel_sizes": a["kernel"],
        "strides": a["strides"],
        "pad_type": "custom",
        "pad": pad,
        "ceil_mode": a["ceil_mode"],
    }


def _reach(a: Attributes) -> list[int]:
    """Return (before, after) for all axes, to where the last window of ceil_mode ends, by PyTorch's rule."""
    reach = [0, 0, 0, 0]
    for size, kernel, stride, pad in zip(a["sizes"], a["kernel"], a["strides"], a["pad"], strict=True):
        count = (size + 2 * pad - kernel) // stride + 1
        if a["ceil_mode"]:
            count = -((kernel - size - 2 * pad) // stride) + 1
            count -= (count - 1) * stride >= size + pad
        reach += [pad, max(pad, (count - 1) * stride + kernel - size - pad)]
    return reach


def _core_max(c: Any, a: Attributes, x: Any) -> Any:
    """Core AI's own ceil_mode where nothing is padded, else windows over what they reach."""
    rank = len(a["kernel"])
    itself = not any(a["pad"])
    pad = [0] * (2 * rank + 4) if itself else _reach(a)
    x = x if itself else padded(c, x, pad, -np.inf)
    counts = [
        -(-(size + pad[4 + 2 * i] + pad[5 + 2 * i] - k) // s) + 1
        if itself and a["ceil_mode"]
        else (size + pad[4 + 2 * i] + pad[5 + 2 * i] - k) // s + 1
        for i, (size, k, s) in enumerate(zip(a["sizes"], a["kernel"], a["strides"], strict=True))
    ]
    output = c.TensorType((a["batch"], a["channels"], *counts), np.float32)
    pool = c.maxpool2d if rank == 2 else c.maxpool3d
    ones = unsigned([1] * rank)
    return pool(output, x, unsigned(a["kernel"]), unsigned(a["strides"]), ones, np.array(itself and a["ceil_mode"]))


def _core_sum(c: Any, a: Attributes, x: Any) -> Any:
    pool = c.sumpool2d if len(a["kernel"]) == 2 else c.sumpool3d
    return pool(padded(c, x, _reach(a)), unsigned(a["kernel"]), unsigned(a["strides"]))


def _counts(a: Attributes) -> np.ndarray:
    """How many elements each window averages: its whole size, or those of the data."""
    ones = torch.ones(1, 1, *a["sizes"], dtype=torch.float64)
    rank = len(a["kernel"])
    if not a["exclude"]:
        return np.full([1] * (rank + 2), np.prod(a["kernel"]), np.float32)
    reach = _reach(a)[4:]
    pairs = [reach[i : i + 2] for i in range(0, len(reach), 2)]
    wide = F.pad(ones, [side for pair in reversed(pairs) for side in pair])
    return (_MEAN[rank](wide, a["kernel"], a["strides"]) * np.prod(a["kernel"])).round().float().numpy()


def _max(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    return _MAX[len(a["kernel"])](x, a["kernel"], a["strides"], a["pad"], ceil_mode=a["ceil_mode"])


def _mean(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    """PyTorch's average; with its count of what ceil_mode adds, which it never counts."""
    return _MEAN[len(a["kernel"])](
        x, a["kernel"], a["strides"], a["pad"], a["ceil_mode"], count_include_pad=not a["exclude"]
    )


def _l2(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    total = F.avg_pool2d(x.square(), a["kernel"], a["strides"], a["pad"], a["ceil_mode"], divisor_override=1)
    return total.sqrt()


OPERATIONS = (
    Operation(
        "max_pool",
        _pools(),
        _inputs,
        lambda b, a, x: b.max_pool(x=x, **_settings(a)),
        _core_max,
        _max,
        rounding="none",
    ),
    Operation(
        "avg_pool",
        _pools(),
        _inputs,
        lambda b, a, x: b.avg_pool(x=x, exclude_padding_from_average=a["exclude"], **_settings(a)),
        lambda c, a, x: c.broadcasting_divide(_core_sum(c, a, x), _counts(a)),
        _mean,
        rounding="sum",
    ),
    Operation(
        "l2_pool",
        _pools(ranks=(2,)),
        _inputs,
        lambda b, a, x: b.l2_pool(x=x, **_settings(a)),
        lambda c, a, x: c.sqrt(_core_sum(c, a, c.mul(x, x))),
        _l2,
        rounding="sum",
    ),
)
