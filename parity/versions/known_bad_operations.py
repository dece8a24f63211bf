"""OPERATIONS: where a model has an operation with the settings by which a known-bad pair is hit.

Each takes a Program and gives its steps that are such. Settings that a call leaves out are PyTorch's defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.diagnosis.source import Program, Step

_POOLS = ("avg_pool1d", "avg_pool2d", "avg_pool3d")
_MOST_FP16 = 65504.0


def _made_by(program: Program, step: Step) -> Step | None:
    """Find what gives the first value that a step reads."""
    index = program.producer.get(step.inputs[0]) if step.inputs else None
    return None if index is None else program.steps[index]


def _of(program: Program, *types: str) -> Iterator[Step]:
    return (step for step in program.steps if step.type in types)


def _setting(step: Step, place: int, name: str, default: Any) -> Any:
    """Read an argument, by its place among all or by its name."""
    if name in step.kwargs:
        return step.kwargs[name]
    return step.args[place] if len(step.args) > place else default


def _counts_padding(pool: Step) -> bool:
    return bool(_setting(pool, 5, "count_include_pad", True))


def _padded_pools(program: Program) -> Iterator[tuple[Step, Step]]:
    for pool in _of(program, *_POOLS):
        pad = _made_by(program, pool)
        if pad is not None and pad.type == "constant_pad_nd" and any(_setting(pad, 1, "pad", ())):
            yield pad, pool


def _unequal_pads(program: Program) -> Iterator[Step]:
    for pad, pool in _padded_pools(program):
        ends = list(_setting(pad, 1, "pad", ()))
        if _counts_padding(pool) and ends[::2] != ends[1::2]:
            yield pool


def _uncounted_pads(program: Program) -> Iterator[Step]:
    return (pool for _, pool in _padded_pools(program) if not _counts_padding(pool))


def _ceil_pools(program: Program) -> Iterator[Step]:
    """Give pools with ceil_mode that count their padding; whether a window hangs over depends on the size."""
    pools = (pool for pool in _of(program, *_POOLS) if _setting(pool, 4, "ceil_mode", False))
    return (pool for pool in pools if _counts_padding(pool))


def _normed(program: Program, *types: str) -> Iterator[Step]:
    """Give operations right before a batch norm."""
    for norm in _of(program, "native_batch_norm"):
        before = _made_by(program, norm)
        if before is not None and before.type in types:
            yield before


def _normed_beta(program: Program) -> Iterator[Step]:
    return (step for step in _normed(program, "addmm") if _setting(step, 3, "beta", 1) != 1)


def _normed_transposed_groups(program: Program) -> Iterator[Step]:
    for step in _normed(program, "convolution"):
        weight, groups = step.args[1], step.args[8]
        # With one output channel for each group, and one scale, nothing can be mistaken for another's.
        if step.args[6] and groups > 1 and tuple(weight.shape)[1] > 1:
            yield step


def _two_readers(program: Program) -> Iterator[Step]:
    readers: dict[int, list[Step]] = {}
    for step in _normed(program, "convolution"):
        readers.setdefault(step.inputs[0], []).append(step)
    return (step for steps in readers.values() if len(steps) > 1 for step in steps)


def _padded_convolutions(program: Program) -> Iterator[Step]:
    for step in _of(program, "convolution"):
        pad = _made_by(program, step)
        if pad is not None and pad.type == "constant_pad_nd":
            yield step


def _antialiased(program: Program) -> Iterator[Step]:
    return _of(program, "_upsample_bilinear2d_aa")


def _reciprocals(program: Program) -> Iterator[Step]:
    return _of(program, "reciprocal")


def _floored_by_one(program: Program) -> Iterator[Step]:
    for step in _of(program, "floor_divide", "div"):
        floors = step.type == "floor_divide" or step.kwargs.get("rounding_mode") == "floor"
        divisor = _setting(step, 1, "other", None)
        if floors and isinstance(divisor, int | float) and divisor == 1:
            yield step


def _beyond_fp16(program: Program) -> Iterator[Step]:
    for step in program.steps:
        numbers = (item for item in step.args if isinstance(item, float))
        if any(_MOST_FP16 < abs(number) < float("inf") for number in numbers):
            yield step


def _alphas(program: Program) -> Iterator[Step]:
    return (step for step in _of(program, "add", "sub") if step.kwargs.get("alpha", 1) != 1)


OPERATIONS: Mapping[str, Callable[[Program], Iterator[Step]]] = {
    "average pool behind a pad of unequal ends": _unequal_pads,
    "average pool without its padding behind a pad": _uncounted_pads,
    "average pool with ceil_mode": _ceil_pools,
    "batch norm behind addmm with beta": _normed_beta,
    "batch norm behind a transposed convolution of groups": _normed_transposed_groups,
    "two convolutions of one value, each with a batch norm": _two_readers,
    "convolution behind a pad": _padded_convolutions,
    "bilinear resize with antialias": _antialiased,
    "reciprocal": _reciprocals,
    "floor division by one": _floored_by_one,
    "a number beyond fp16": _beyond_fp16,
    "addition with alpha": _alphas,
}
