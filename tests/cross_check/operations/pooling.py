"""Pooling. Core AI has windows without padding, and sums in the place of averages: the rest is written out.

ML Program's ceil_mode drops a last window that begins beyond the data where there is padding, and keeps it where
there is none, as Core AI's does; PyTorch always drops it. So the third opinion is PyTorch's window over what is
padded by hand. What ceil_mode adds counts in an average unless padding does not (apple/coremltools#2772).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, numbers, unsigned
from tests.cross_check.operations.convolutions import padded

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
    """Return (before, after) for each spatial axis, to where its last window ends."""
    reach: list[int] = []
    for size, kernel, stride, pad in zip(a["sizes"], a["kernel"], a["strides"], a["pad"], strict=True):
        steps = size + 2 * pad - kernel
        count = (-(-steps // stride) if a["ceil_mode"] else steps // stride) + 1
        if pad > 0 and (count - 1) * stride >= size + pad:
            count -= 1
        reach += [pad, max(pad, (count - 1) * stride + kernel - size - pad)]
    return reach


def _wide(a: Attributes, x: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Pad [N, C, *spatial] to where the last windows end."""
    reach = _reach(a)
    pairs = [reach[i : i + 2] for i in range(0, len(reach), 2)]
    return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=value)


def _core_max(c: Any, a: Attributes, x: Any) -> Any:
    """Core AI's own ceil_mode where nothing is padded, else windows over what they reach."""
    itself = not any(a["pad"])
    reach = [0] * (2 * len(a["kernel"])) if itself else _reach(a)
    x = x if itself else padded(c, x, [0, 0, 0, 0, *reach], -np.inf)
    ceil_mode = itself and a["ceil_mode"]
    steps = [
        size + before + after - kernel
        for size, before, after, kernel in zip(a["sizes"], reach[::2], reach[1::2], a["kernel"], strict=True)
    ]
    counts = [(-(-step // s) if ceil_mode else step // s) + 1 for step, s in zip(steps, a["strides"], strict=True)]
    output = c.TensorType((a["batch"], a["channels"], *counts), np.float32)
    pool = c.maxpool2d if len(counts) == 2 else c.maxpool3d
    ones = unsigned([1] * len(counts))
    return pool(output, x, unsigned(a["kernel"]), unsigned(a["strides"]), ones, np.array(ceil_mode))


def _core_sum(c: Any, a: Attributes, x: Any) -> Any:
    pool = c.sumpool2d if len(a["kernel"]) == 2 else c.sumpool3d
    # The builder makes a constant of every argument but the last.
    ones = c.constant.constant(unsigned([1] * len(a["kernel"])))
    return pool(padded(c, x, [0, 0, 0, 0, *_reach(a)]), unsigned(a["kernel"]), unsigned(a["strides"]), ones)


def _sums(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    means = _MEAN[len(a["kernel"])](_wide(a, x), a["kernel"], a["strides"])
    return means * float(np.prod(a["kernel"]))


def _counts(a: Attributes) -> torch.Tensor:
    """How many elements each window averages: its whole size, or those of the data."""
    if not a["exclude"]:
        return torch.tensor(float(np.prod(a["kernel"])), dtype=torch.float64).reshape([1] * (len(a["sizes"]) + 2))
    return _sums(a, torch.ones(1, 1, *a["sizes"], dtype=torch.float64)).round()


def _max(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    return _MAX[len(a["kernel"])](_wide(a, x, -torch.inf), a["kernel"], a["strides"])


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
        lambda c, a, x: c.broadcasting_divide(_core_sum(c, a, x), _counts(a).float().numpy()),
        lambda a, x: _sums(a, x) / _counts(a),
        rounding="sum",
    ),
    Operation(
        "l2_pool",
        _pools(ranks=(2,)),
        _inputs,
        lambda b, a, x: b.l2_pool(x=x, **_settings(a)),
        lambda c, a, x: c.sqrt(_core_sum(c, a, c.mul(x, x))),
        lambda a, x: _sums(a, x.square()).sqrt(),
        rounding="sum",
    ),
)
