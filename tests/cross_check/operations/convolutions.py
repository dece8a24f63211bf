"""Convolutions, their transposes, and products of matrices.

Core AI's convolution has neither padding nor bias: coreai.pad and an addition, as its own text says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, numbers, unsigned

_CONV = {2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {2: F.conv_transpose2d, 3: F.conv_transpose3d}


@st.composite
def _windows(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a convolution of two or three axes whose window fits into the padded data."""
    rank = draw(st.sampled_from([2, 2, 3]))
    axes = range(rank)
    kernel = [draw(st.integers(1, 3)) for _ in axes]
    dilations = [draw(st.integers(1, 2)) for _ in axes]
    pad = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    least = [max(1, r - pad[2 * i] - pad[2 * i + 1]) for i, r in enumerate(reach)]
    groups = draw(st.sampled_from([1, 1, 2]))
    return {
        "batch": draw(st.integers(1, 2)),
        "channels": groups * draw(st.integers(1, 3)),
        "filters": groups * draw(st.integers(1, 3)),
        "sizes": [low + draw(st.integers(0, 4)) for low in least],
        "kernel": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in axes],
        "dilations": dilations,
        "pad": pad,
        "groups": groups,
        "numbers": draw(st.sampled_from(["normal", "wide"])),
    }


@st.composite
def _transposed_windows(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the like with a padding that is the same on both sides, as Core AI has it, and leaves something."""
    a = draw(_windows())
    reach = [(k - 1) * d + 1 for k, d in zip(a["kernel"], a["dilations"], strict=True)]
    extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(a["strides"], a["dilations"], strict=True)]
    pad = [draw(st.integers(0, (r - 1) // 2)) for r in reach]
    return a | {"pad": pad, "output_pad": extra}


def _inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "x": numbers(a["numbers"], (a["batch"], a["channels"], *a["sizes"]), random),
        "weight": numbers("normal", (a["filters"], a["channels"] // a["groups"], *a["kernel"]), random),
        "bias": numbers("normal", (a["filters"],), random),
    }


def _transposed_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    weight = (a["channels"], a["filters"] // a["groups"], *a["kernel"])
    return _inputs(a, random) | {"weight": numbers("normal", weight, random)}


def padded(c: Any, x: Any, pad: list[int], value: float = 0.0, mode: str = "constant") -> Any:
    """Pad a Core AI value; pad: (before, after) for each axis."""
    return c.pad(x, unsigned(pad), np.float32(value), mode)


def _mil_conv(b: Any, a: Attributes, x: Any, weight: Any, bias: Any) -> Any:
    settings = {key: a[key] for key in ("strides", "dilations", "pad", "groups")}
    return b.conv(x=x, weight=weight, bias=bias, pad_type="custom", **settings)


def _core_conv(c: Any, a: Attributes, x: Any, weight: Any, bias: Any) -> Any:
    convolve = c.conv2d if len(a["kernel"]) == 2 else c.conv3d
    x = padded(c, x, [0, 0, 0, 0, *a["pad"]])
    result = convolve(x, weight, unsigned(a["strides"]), unsigned(a["dilations"]), unsigned(a["groups"]))
    return c.broadcasting_add(result, bias.reshape(1, -1, *(1,) * len(a["kernel"])))


def _conv(a: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    pairs = [a["pad"][i : i + 2] for i in range(0, len(a["pad"]), 2)]
    x = F.pad(x, [side for pair in reversed(pairs) for side in pair])
    return _CONV[len(a["kernel"])](x, weight, bias, a["strides"], 0, a["dilations"], a["groups"])


def _output_shape(a: Attributes) -> list[int]:
    sizes = [
        (size - 1) * stride - 2 * pad + dilation * (kernel - 1) + extra + 1
        for size, stride, pad, dilation, kernel, extra in zip(
            *(a[key] for key in ("sizes", "strides", "pad", "dilations", "kernel", "output_pad")), strict=True
        )
    ]
    return [a["batch"], a["filters"], *sizes]


def _mil_transpose(b: Any, a: Attributes, x: Any, weight: Any, bias: Any) -> Any:
    settings = {key: a[key] for key in ("strides", "dilations", "groups")}
    pad = [side for p in a["pad"] for side in (p, p)]
    shape = _output_shape(a)
    return b.conv_transpose(
        x=x, weight=weight, bias=bias, pad_type="custom", pad=pad, output_shape=shape, **settings
    )


def _core_transpose(c: Any, a: Attributes, x: Any, weight: Any, bias: Any) -> Any:
    convolve = c.conv_transpose2d if len(a["kernel"]) == 2 else c.conv_transpose3d
    settings = [unsigned(a[key]) for key in ("strides", "pad", "dilations", "output_pad", "groups")]
    return c.broadcasting_add(convolve(x, weight, *settings), bias.reshape(1, -1, *(1,) * len(a["kernel"])))


def _transpose(a: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    transpose = _TRANSPOSE[len(a["kernel"])]
    return transpose(x, weight, bias, a["strides"], a["pad"], a["output_pad"], a["groups"], a["dilations"])


@st.composite
def _matrices(draw: st.DrawFn) -> dict[str, Any]:
    rows, inner, columns = (draw(st.integers(1, 5)) for _ in range(3))
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    other = [draw(st.sampled_from([1, size])) for size in batch]
    return {
        "x": [*batch, rows, inner],
        "y": [*other, inner, columns],
        "numbers": draw(st.sampled_from(["normal", "wide"])),
    }


def _two_matrices(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: numbers(a["numbers"], a[name], random) for name in "xy"}


_LINEAR = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 5),
        "inner": st.integers(1, 6),
        "columns": st.integers(1, 5),
        "numbers": st.sampled_from(["normal", "wide"]),
    }
)


def _linear_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "x": numbers(a["numbers"], (a["rows"], a["inner"]), random),
        "weight": numbers("normal", (a["columns"], a["inner"]), random),
        "bias": numbers("normal", (a["columns"],), random),
    }


OPERATIONS = (
    Operation(
        "conv", _windows(), _inputs, _mil_conv, _core_conv, _conv, constants=("weight", "bias"), rounding="sum"
    ),
    Operation(
        "conv_transpose",
        _transposed_windows(),
        _transposed_inputs,
        _mil_transpose,
        _core_transpose,
        _transpose,
        constants=("weight", "bias"),
        rounding="sum",
    ),
    Operation(
        "matmul",
        _matrices(),
        _two_matrices,
        lambda b, a, x, y: b.matmul(x=x, y=y),
        lambda c, a, x, y: c.broadcasting_batch_matmul(x, y),
        lambda a, x, y: x @ y,
        rounding="sum",
    ),
    Operation(
        "linear",
        _LINEAR,
        _linear_inputs,
        lambda b, a, x, weight, bias: b.linear(x=x, weight=weight, bias=bias),
        lambda c, a, x, weight, bias: c.broadcasting_add(c.batch_matmul(x, weight.T.copy()), bias),
        lambda a, x, weight, bias: F.linear(x, weight, bias),
        constants=("weight", "bias"),
        rounding="sum",
    ),
)
