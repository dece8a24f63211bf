"""What moves elements and changes none, and numbers in eight bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from tests.cross_check.operation import (
    Attributes,
    Operation,
    along_axes,
    along_axis,
    numbers,
    one_tensor,
    resized,
    unsigned,
)

# Called alike by both, and by PyTorch.
_PADDINGS = ("constant", "reflect", "replicate")


@st.composite
def _paddings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw padding of the last two axes of an image; a reflection needs another element for each."""
    sizes = [draw(st.integers(2, 5)) for _ in range(2)]
    mode = draw(st.sampled_from(_PADDINGS))
    sides = [draw(st.integers(0, size - 1 if mode == "reflect" else 4)) for size in sizes for _ in range(2)]
    value = draw(st.sampled_from([0.0, 1.5, -2.0])) if mode == "constant" else 0.0
    return {
        "shape": [1, draw(st.integers(1, 3)), *sizes],
        "pad": [0, 0, 0, 0, *sides],
        "mode": mode,
        "value": value,
        "numbers": "normal",
    }


def _pad(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    above, below, left, right = a["pad"][4:]
    return F.pad(x, [left, right, above, below], a["mode"], a["value"])


@st.composite
def _tiles(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    return {"shape": shape, "reps": [draw(st.integers(1, 3)) for _ in shape], "numbers": "normal"}


@st.composite
def _orders(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    return {"shape": shape, "perm": list(draw(st.permutations(range(len(shape))))), "numbers": "normal"}


@st.composite
def _reshapes(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
    together = draw(st.permutations(shape))
    cut = draw(st.integers(0, len(shape) - 1))
    target = [int(np.prod(together[: cut + 1])), *together[cut + 1 :]]
    return {"shape": shape, "target": target, "numbers": "normal"}


@st.composite
def _ones(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a shape, and places of axes of one element in the larger shape."""
    shape = draw(st.lists(st.integers(2, 4), min_size=1, max_size=3))
    rank = len(shape) + draw(st.integers(1, 2))
    axes = sorted(draw(st.permutations(range(rank)))[: rank - len(shape)])
    sizes = iter(shape)
    large = [1 if i in axes else next(sizes) for i in range(rank)]
    return {"shape": shape, "axes": axes, "large": large, "numbers": "normal"}


_PARTS = along_axis(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4))


def _part_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {f"x{i}": numbers("normal", resized(a, size), random) for i, size in enumerate(a["sizes"])}


@st.composite
def _eight_bits(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    return {
        "shape": shape,
        "dtype": draw(st.sampled_from(["int8", "uint8"])),
        "axis": draw(st.integers(0, len(shape) - 1)),
        "numbers": draw(st.sampled_from(["normal", "halves"])),
    }


def _scales(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    channels = a["shape"][a["axis"]]
    low = 0 if a["dtype"] == "uint8" else -20
    return {
        # Powers of two: else it is the rounding of a quotient that decides.
        "scale": (2.0 ** random.integers(-6, 1, channels)).astype(np.float32),
        "zero_point": random.integers(low, 20, channels).astype(a["dtype"]),
    }


def _quantize_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return one_tensor(a, random) | _scales(a, random)


def _along(a: Attributes, values: torch.Tensor) -> torch.Tensor:
    return values.reshape([-1 if i == a["axis"] else 1 for i in range(len(a["shape"]))])


def _quantized(a: Attributes, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    limits = torch.iinfo(getattr(torch, a["dtype"]))
    whole = (x / _along(a, scale)).round() + _along(a, zero_point)
    return whole.clamp(limits.min, limits.max)


def _core_quantize(c: Any, a: Attributes, x: Any, scale: Any, zero_point: Any) -> Any:
    return c.quantize(x, scale, zero_point, np.zeros_like(scale), np.int32(a["axis"]))


def _core_dequantize(c: Any, a: Attributes, x: Any, scale: Any, zero_point: Any) -> Any:
    quantized = c.cast(x, zero_point.dtype.type)
    return c.dequantize(quantized, scale, zero_point, np.zeros_like(scale), np.int32(a["axis"]))


def _dequantize_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    limits = np.iinfo(a["dtype"])
    return {"x": random.integers(limits.min, limits.max + 1, a["shape"]).astype(np.float32)} | _scales(a, random)


def _mil_dequantize(b: Any, a: Attributes, x: Any, scale: Any, zero_point: Any) -> Any:
    quantized = b.cast(x=x, dtype=a["dtype"])
    return b.dequantize(input=quantized, scale=scale, zero_point=zero_point, axis=a["axis"])


def _moving(name: str, draws: Any, mil: Any, core: Any, reference: Any, inputs: Any = one_tensor) -> Operation:
    return Operation(name, draws, inputs, mil, core, reference, rounding="none")


OPERATIONS = (
    _moving(
        "pad",
        _paddings(),
        lambda b, a, x: b.pad(x=x, pad=a["pad"][4:], mode=a["mode"], constant_val=a["value"]),
        lambda c, a, x: c.pad(x, unsigned(a["pad"]), np.float32(a["value"]), a["mode"]),
        _pad,
    ),
    _moving(
        "tile",
        _tiles(),
        lambda b, a, x: b.tile(x=x, reps=a["reps"]),
        lambda c, a, x: c.tile(x, unsigned(a["reps"])),
        lambda a, x: x.repeat(a["reps"]),
    ),
    _moving(
        "transpose",
        _orders(),
        lambda b, a, x: b.transpose(x=x, perm=a["perm"]),
        lambda c, a, x: c.transpose(x, unsigned(a["perm"])),
        lambda a, x: x.permute(a["perm"]),
    ),
    _moving(
        "reshape",
        _reshapes(),
        lambda b, a, x: b.reshape(x=x, shape=a["target"]),
        lambda c, a, x: c.reshape(x, a["target"]),
        lambda a, x: x.reshape(a["target"]),
    ),
    _moving(
        "reverse",
        along_axes(),
        lambda b, a, x: b.reverse(x=x, axes=a["axes"]),
        lambda c, a, x: c.reverse(x, a["axes"]),
        lambda a, x: x.flip(a["axes"]),
    ),
    _moving(
        "expand_dims",
        _ones(),
        lambda b, a, x: b.expand_dims(x=x, axes=a["axes"]),
        lambda c, a, x: c.expand_dims(x, a["axes"]),
        lambda a, x: x.reshape(a["large"]),
    ),
    _moving(
        "squeeze",
        _ones(),
        lambda b, a, x: b.squeeze(x=x, axes=a["axes"]),
        lambda c, a, x: c.shrink_dims(x, a["axes"]),
        lambda a, x: x.reshape(a["shape"]),
        inputs=lambda a, random: {"x": numbers("normal", a["large"], random)},
    ),
    _moving(
        "concat",
        _PARTS,
        lambda b, a, **values: b.concat(values=list(values.values()), axis=a["axis"]),
        lambda c, a, **values: c.concat(np.int32(a["axis"]), list(values.values())),
        lambda a, *values: torch.cat(values, a["axis"]),
        inputs=_part_inputs,
    ),
    _moving(
        "split",
        _PARTS,
        lambda b, a, x: b.split(x=x, split_sizes=a["sizes"], axis=a["axis"]),
        lambda c, a, x: c.split(x, unsigned(a["sizes"]), np.int32(a["axis"])),
        lambda a, x: x.split(a["sizes"], a["axis"]),
        inputs=lambda a, random: {"x": numbers("normal", resized(a, sum(a["sizes"])), random)},
    ),
    Operation(
        "quantize",
        _eight_bits(),
        _quantize_inputs,
        lambda b, a, x, scale, zero_point: b.quantize(
            input=x, scale=scale, zero_point=zero_point, axis=a["axis"], output_dtype=a["dtype"]
        ),
        _core_quantize,
        _quantized,
        constants=("scale", "zero_point"),
        rounding="none",
    ),
    Operation(
        "dequantize",
        _eight_bits(),
        _dequantize_inputs,
        _mil_dequantize,
        _core_dequantize,
        lambda a, x, scale, zero_point: (x - _along(a, zero_point)) * _along(a, scale),
        constants=("scale", "zero_point"),
    ),
)
