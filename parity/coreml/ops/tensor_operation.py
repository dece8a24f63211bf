"""Making, joining, splitting and sorting tensors. Source: coremltools' MIL definitions, family tensor_operation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from parity.coreml.dtypes import NUMPY, settle
from parity.coreml.program import Value
from parity.coreml.registry import op


@op("argsort")
def argsort(x: torch.Tensor, axis: int = -1, ascending: bool = False) -> torch.Tensor:
    """Return the indices that sort one axis; equals keep their order."""
    return x.argsort(dim=axis, descending=not ascending, stable=True)


@op("band_part", exact=True, view=True)
def band_part(x: torch.Tensor, lower: int = -1, upper: int = -1) -> torch.Tensor:
    """Set to zero what is further below or above the main diagonal; a negative number keeps that whole side."""
    banded = x if lower < 0 else x.triu(-lower)
    return banded if upper < 0 else banded.tril(upper)


@op("concat", exact=True)
def concat(values: list[torch.Tensor], axis: int, interleave: bool = False) -> torch.Tensor:
    """Join along one axis, one after the other or element by element in turn; scalars become a vector."""
    if values[0].ndim == 0:
        return torch.stack(values)
    if interleave:
        axis %= values[0].ndim
        return torch.stack(values, axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, axis)


@op("cumsum")
def cumsum(x: torch.Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> torch.Tensor:
    """Add up along one axis; exclusive leaves each element out of its own sum, reverse starts at the end."""
    forward = x.flip(axis) if reverse else x
    total = forward.cumsum(axis)
    if exclusive:
        total -= forward
    return total.flip(axis) if reverse else total


@op("fill")
def fill(shape: tuple[int, ...], value: torch.Tensor | None = None) -> torch.Tensor:
    """Make a tensor of one value, 0.0 by default."""
    return torch.zeros(shape) if value is None else torch.full(shape, value.item(), dtype=value.dtype)


@op("fill_like", since="iOS16")
def fill_like(ref_tensor: torch.Tensor, value: torch.Tensor | None = None) -> torch.Tensor:
    """Make a tensor of one value with the shape of another; the type is that of the value."""
    return fill(tuple(ref_tensor.shape), value)


@op("flatten2d", exact=True, view=True)
def flatten2d(x: torch.Tensor, axis: int = 1) -> torch.Tensor:
    """Collapse the axes before `axis` into one, and the rest into another."""
    return x.reshape(torch.Size(x.shape[:axis]).numel(), -1)


@op("identity", exact=True, view=True)
def identity(x: torch.Tensor) -> torch.Tensor:
    """Return x."""
    return x


def _suppress(
    boxes: torch.Tensor, best: torch.Tensor, classes: torch.Tensor, iou_threshold: float, max_boxes: int
) -> torch.Tensor:
    """Return which boxes [B, 4] stay, the best first: none that overlaps a better one of its class too much."""
    centre, size = boxes[:, :2], boxes[:, 2:]
    low, high, area = centre - size / 2, centre + size / 2, size.prod(1)
    left = best.argsort(descending=True, stable=True)
    chosen: list[torch.Tensor] = []
    while left.numel() and len(chosen) < max_boxes:
        first, left = left[0], left[1:]
        chosen.append(first)
        common = (torch.minimum(high[first], high[left]) - torch.maximum(low[first], low[left])).clamp_(min=0)
        shared = common.prod(1)
        # Two boxes without area share 0 / 0, which is no overlap.
        overlaps = shared / (area[first] + area[left] - shared) > iou_threshold
        left = left[~(overlaps & (classes[left] == classes[first]))]
    return torch.stack(chosen) if chosen else left[:0]


@op("non_maximum_suppression", exact=True)
def non_maximum_suppression(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    score_threshold: float,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose boxes that overlap no better one; return them, their scores, indices, and their number per example.

    boxes: [n, B, 4] as (x, y, width, height) around the centre; scores [n, B, K]; a box's best class counts.
    What is left of max_boxes has the index -1. Where no score reaches the threshold, the best box stays, as in
    Apple's tests.
    """
    n, count = boxes.shape[:2]
    kept_boxes, kept_scores = boxes.new_zeros(n, max_boxes, 4), scores.new_zeros(n, max_boxes, scores.shape[2])
    indices = torch.full((n, max_boxes), -1)
    numbers = torch.zeros(n, dtype=torch.int64)
    for i in range(n):
        best, classes = scores[i].max(1)
        able = (best >= score_threshold).nonzero().reshape(-1)
        if not able.numel() and count:
            able = best.argmax().reshape(1)
        groups = classes[able] if per_class_suppression else torch.zeros_like(able)
        stay = able[_suppress(boxes[i, able], best[able], groups, iou_threshold, max_boxes)]
        kept = len(stay)
        kept_boxes[i, :kept], kept_scores[i, :kept] = boxes[i, stay], scores[i, stay]
        indices[i, :kept], numbers[i] = stay, kept
    return kept_boxes, kept_scores, indices, numbers


@op("non_maximum_suppression", since="iOS17", exact=True)
def non_maximum_suppression_of_columns(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose boxes that overlap no better one; return them, their scores, and their indices.

    boxes: [n, 4, B] as (x, y, width, height) around the centre; scores [n, K, B]; a box's best class counts.
    """
    kept_boxes, kept_scores, indices, _ = non_maximum_suppression(
        boxes.mT, scores.mT, iou_threshold, -torch.inf, max_boxes, per_class_suppression
    )
    return kept_boxes.mT, kept_scores.mT, indices


@op("non_zero")
def non_zero(x: torch.Tensor) -> torch.Tensor:
    """Return the indices of what is not zero, [count, rank], in the order of rows."""
    return x.nonzero()


@op("one_hot")
def one_hot(
    indices: torch.Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: torch.Tensor | None = None,
    off_value: torch.Tensor | None = None,
) -> torch.Tensor:
    """Insert an axis that has on_value (1) at the index and off_value (0) elsewhere."""
    axis %= indices.ndim + 1
    classes = torch.arange(one_hot_vector_size).reshape(-1, *(1,) * (indices.ndim - axis))
    on = torch.tensor(1) if on_value is None else on_value
    off = torch.tensor(0) if off_value is None else off_value
    return torch.where(indices.unsqueeze(axis) == classes, on, off)


@dataclass(frozen=True)
class _Zeros:
    """Put zeros on both sides of the two spatial axes of [N, C, H, W]."""

    zeros: tuple[int, int]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, C, H + 2 rows, W + 2 columns]."""
        rows, columns = self.zeros
        return F.pad(x, [columns, columns, rows, rows])


def padded_elements(size: int, before: int, after: int, mode: str) -> torch.Tensor:
    """Return which of `size` elements stand in a padded axis. mode: `reflect`, or `replicate`.

    A reflection goes back and forth between the edges, as often as it takes, and neither edge is repeated. Apple
    says "at most size - 1", but Core ML answers what is wider (test_fusion_with_pad_reflective_op_0 of coremltools
    pads [11, 6, 2, 3] by up to 4), and coremltools itself works it out by numpy.pad, which does this.
    """
    if not size:
        raise ValueError("an axis of size 0 has no element to pad with")
    index = torch.arange(-before, size + after)
    if mode != "reflect":
        return index.clamp(0, size - 1)
    # There and back is one period; a single element is all there is.
    there = index % max(1, 2 * (size - 1))
    return torch.minimum(there, 2 * (size - 1) - there)


def _prepare_pad(pad: tuple[int, ...], mode: str = "constant", constant_val: float = 0.0) -> _Zeros | None:
    before, after = pad[::2], pad[1::2]
    alike = before == after and not any(before[:-2]) and len(before) >= 2 and min(before) >= 0
    return _Zeros((before[-2], before[-1])) if alike and mode == "constant" and constant_val == 0 else None


@op("pad", exact=True, view=True, prepare=_prepare_pad)
def pad(x: torch.Tensor, pad: tuple[int, ...], mode: str = "constant", constant_val: float = 0.0) -> torch.Tensor:
    """Pad the last len(pad) / 2 axes; pad is (before, after) per axis, in the axes' order."""
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    if mode == "constant":
        return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=constant_val)
    for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
        if before or after:
            # torch's own modes reach three axes only, and its reflection no further than the other edge.
            x = x.index_select(axis, padded_elements(x.shape[axis], before, after, mode))
    return x


def evenly_spaced(start: float, end: float, step: float, dtype: str) -> torch.Tensor:
    """Return start, start + step, ... up to and without end, as numpy.arange does; not rounded to `dtype` yet.

    How many there are is ceil((end - start) / step) in the arithmetic of `dtype`, as coremltools infers it: of
    0.3 by 0.1 there are 3 in float32, and 4 in double, in which float32(0.3) is above three times float32(0.1).
    """
    number: Any = NUMPY[dtype].type
    if step == 0:
        raise ValueError(f"the step from {start:g} to {end:g} is 0; it has to lead from one to the other")
    if NUMPY[dtype].kind == "f":
        with np.errstate(all="ignore"):
            ratio = (number(end) - number(start)) / number(step)
        if not np.isfinite(ratio):
            raise ValueError(
                f"{ratio:g} steps of {step:g} lead from {start:g} to {end:g}; their number is not finite"
            )
        count = math.ceil(ratio)
        return torch.arange(max(0, count), dtype=torch.float64) * step + start
    # In integers: a quotient in double would be wrong beyond 2^53.
    count = -((int(start) - int(end)) // int(step))
    return torch.arange(max(0, count)) * int(step) + int(start)


@op("range_1d")
def range_1d(
    start: torch.Tensor, end: torch.Tensor, step: torch.Tensor, *, outputs: tuple[Value, ...] = ()
) -> torch.Tensor:
    """Count from start by step, up to and without end."""
    carried = "fp32" if start.is_floating_point() else "int32"
    dtype = outputs[0].dtype if outputs else carried
    return settle(evenly_spaced(start.item(), end.item(), step.item(), dtype), dtype)


@op("shape")
def shape(x: torch.Tensor) -> torch.Tensor:
    """Return the sizes of the axes."""
    return torch.tensor(x.shape, dtype=torch.int32)


@op("split", exact=True, view=True)
def split(
    x: torch.Tensor, axis: int, num_splits: int | None = None, split_sizes: tuple[int, ...] | None = None
) -> tuple[torch.Tensor, ...]:
    """Cut along one axis into parts of the given sizes, else into num_splits equal ones."""
    sizes = split_sizes or (x.shape[axis] // (num_splits or 1),) * (num_splits or 1)
    return torch.split(x, list(sizes), axis)


@op("stack", exact=True)
def stack(values: list[torch.Tensor], axis: int) -> torch.Tensor:
    """Join along a new axis."""
    return torch.stack(values, axis)


@op("tile", exact=True)
def tile(x: torch.Tensor, reps: tuple[int, ...]) -> torch.Tensor:
    """Repeat each axis as often as `reps` says."""
    return x.repeat(reps)


# The declared type of the indices is output_indices_dtype already.
@op("topk", exact=True)
def topk(
    x: torch.Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest elements along one axis (-1: all), or the smallest, and their indices.

    They are sorted, also where `sort` does not ask for it; the first of equals leads.
    """
    values, indices = x.sort(dim=axis, descending=not ascending, stable=True)
    count = x.shape[axis] if k == -1 else k
    values, indices = values.narrow(axis, 0, count), indices.narrow(axis, 0, count)
    return (values, indices) if return_indices else values
