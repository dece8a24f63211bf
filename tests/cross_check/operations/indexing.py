"""Gathers and scatters, with indices from the end too, and slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, along_axis, numbers, resized, tensors, unsigned

_COUNTS = st.integers(1, 6)


@st.composite
def _points(draw: st.DrawFn) -> dict[str, Any]:
    drawn = draw(tensors(count=_COUNTS))
    return {**drawn, "depth": draw(st.integers(1, len(drawn["shape"])))}


def _x(a: Attributes, random: np.random.Generator) -> np.ndarray:
    return numbers(a["numbers"], a["shape"], random)


def _gather_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    size = a["shape"][a["axis"]]
    return {"x": _x(a, random), "indices": random.integers(-size, size, a["count"]).astype(np.int32)}


def _core_gather(c: Any, a: Attributes, x: Any, indices: Any) -> Any:
    """gather_nd over the first axis, with the axis brought there and back."""
    axis = a["axis"] % len(a["shape"])
    order = [axis, *(i for i in range(len(a["shape"])) if i != axis)]
    gathered = c.gather_nd(c.transpose(x, unsigned(order)), c.expand_dims(indices, [-1]))
    return c.transpose(gathered, unsigned(np.argsort(order)))


def _along_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    size = a["shape"][a["axis"]]
    return {"x": _x(a, random), "indices": random.integers(-size, size, resized(a, a["count"])).astype(np.int32)}


def _whole(indices: torch.Tensor, size: int) -> torch.Tensor:
    return indices.long() % size


def _distinct_along(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """No index twice: which update comes last is defined by neither. None from the end: MIL does not define it."""
    size = a["shape"][a["axis"]]
    count = min(a["count"], size)
    drawn = random.permuted(np.broadcast_to(np.arange(size), (*_without(a), size)), axis=-1)[..., :count]
    indices = np.moveaxis(drawn, -1, a["axis"]).astype(np.int32)
    updates = numbers("normal", indices.shape, random)
    # Division by next to nothing would be about rounding alone.
    updates = np.where(np.abs(updates) < 0.1, np.float32(0.5), updates)
    return {"data": _x(a, random), "indices": indices, "updates": updates}


def _without(a: Attributes) -> list[int]:
    axis = a["axis"] % len(a["shape"])
    return [size for i, size in enumerate(a["shape"]) if i != axis]


_MODES: dict[str, Callable[..., torch.Tensor]] = {
    "update": lambda old, new: new,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
}


def _scatter_along(a: Attributes, data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    axis = a["axis"]
    where = _whole(indices, data.shape[axis])
    return data.scatter(axis, where, _MODES[a["mode"]](data.gather(axis, where), updates))


def _core_scatter_along(c: Any, a: Attributes, data: Any, indices: Any, updates: Any) -> Any:
    output = c.TensorType(tuple(a["shape"]), np.float32)
    return c.scatter_along_axis(output, data, indices, updates, np.int32(a["axis"]), scatter_mode=a["mode"])


def _point_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    indexed = a["shape"][: a["depth"]]
    columns = [random.integers(-size, size, a["count"]) for size in indexed]
    return {"x": _x(a, random), "indices": np.stack(columns, axis=-1).astype(np.int32)}


def _gather_nd(a: Attributes, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return x[tuple(_whole(column, x.shape[i]) for i, column in enumerate(indices.unbind(-1)))]


def _distinct_points(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    indexed = a["shape"][: a["depth"]]
    flat = random.permutation(int(np.prod(indexed)))[: a["count"]]
    indices = np.stack(np.unravel_index(flat, indexed), axis=-1).astype(np.int32)
    return {
        "data": _x(a, random),
        "indices": indices,
        "updates": numbers("normal", (len(flat), *a["shape"][a["depth"] :]), random),
    }


def _scatter_nd(a: Attributes, data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    return data.index_put(tuple(column.long() for column in indices.unbind(-1)), updates)


@st.composite
def _slices(draw: st.DrawFn) -> dict[str, Any]:
    """Draw slices that hold something; steps forwards and backwards, ends also counted from the end."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    first = [draw(st.integers(0, size - 1)) for size in shape]
    last = [draw(st.integers(0, size - 1)) for size in shape]
    pairs = [(min(f, g), max(f, g)) for f, g in zip(first, last, strict=True)]
    from_end = [draw(st.booleans()) for _ in shape]
    return {
        "shape": shape,
        "begin": [low - size * end for (low, _), size, end in zip(pairs, shape, from_end, strict=True)],
        "end": [high + 1 for _, high in pairs],
        "stride": [draw(st.integers(1, 3)) for _ in shape],
        "numbers": "normal",
    }


def _slice(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    cuts = zip(a["begin"], a["end"], a["stride"], a["shape"], strict=True)
    return x[tuple(slice(begin % size, end, step) for begin, end, step, size in cuts)]


def _slice_update_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    x = _x(a, random)
    return {"x": x, "update": numbers("normal", tuple(_slice(a, torch.from_numpy(x)).shape), random)}


def _slice_update(a: Attributes, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    result = x.clone()
    _slice(a, result).copy_(update)
    return result


OPERATIONS = (
    Operation(
        "gather",
        along_axis(count=_COUNTS),
        _gather_inputs,
        lambda b, a, x, indices: b.gather(x=x, indices=indices, axis=a["axis"]),
        _core_gather,
        lambda a, x, indices: x.index_select(a["axis"], _whole(indices, x.shape[a["axis"]])),
        rounding="none",
    ),
    Operation(
        "gather_along_axis",
        along_axis(count=_COUNTS),
        _along_inputs,
        lambda b, a, x, indices: b.gather_along_axis(x=x, indices=indices, axis=a["axis"]),
        lambda c, a, x, indices: c.gather_along_axis(x, indices, np.int32(a["axis"])),
        lambda a, x, indices: x.gather(a["axis"], _whole(indices, x.shape[a["axis"]])),
        rounding="none",
    ),
    Operation(
        "gather_nd",
        _points(),
        _point_inputs,
        lambda b, a, x, indices: b.gather_nd(x=x, indices=indices),
        lambda c, a, x, indices: c.gather_nd(x, indices),
        _gather_nd,
        rounding="none",
    ),
    Operation(
        "scatter_along_axis",
        along_axis(count=_COUNTS, mode=st.sampled_from(list(_MODES))),
        _distinct_along,
        lambda b, a, data, indices, updates: b.scatter_along_axis(
            data=data, indices=indices, updates=updates, axis=a["axis"], mode=a["mode"]
        ),
        _core_scatter_along,
        _scatter_along,
    ),
    Operation(
        "scatter_nd",
        _points(),
        _distinct_points,
        lambda b, a, data, indices, updates: b.scatter_nd(
            data=data, indices=indices, updates=updates, mode="update"
        ),
        lambda c, a, data, indices, updates: c.scatter_nd(data, indices, updates),
        _scatter_nd,
        rounding="none",
    ),
    Operation(
        "slice_by_index",
        _slices(),
        lambda a, random: {"x": _x(a, random)},
        lambda b, a, x: b.slice_by_index(x=x, begin=a["begin"], end=a["end"], stride=a["stride"]),
        lambda c, a, x: c.slice_(x, a["begin"], a["end"], a["stride"]),
        _slice,
        rounding="none",
    ),
    Operation(
        "slice_update",
        _slices(),
        _slice_update_inputs,
        lambda b, a, x, update: b.slice_update(
            x=x, update=update, begin=a["begin"], end=a["end"], stride=a["stride"]
        ),
        lambda c, a, x, update: c.slice_update(x, a["begin"], a["end"], a["stride"], update),
        _slice_update,
        rounding="none",
    ),
)
