"""Sums in other arithmetics: convolutions, products of matrices and reductions, rounded on the way.

A sum over channels is split into chunks. Each is computed by the kernel of the whole, rounded to fp16, and added to
what is there. One chunk is the whole sum rounded once, whatever the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch

from parity.coreml.program import Form
from parity.envelope.arithmetics import Arithmetic, Sums

LARGEST = 65504.0

Function = Callable[..., torch.Tensor]


def parts_of(count: int, sums: Sums) -> list[slice]:
    """Split so many channels into chunks, in the order in which they are added."""
    chunks = -(-count // sums.chunk)
    if sums.order == "lanes":
        return [slice(lane, None, chunks) for lane in range(chunks)]
    forward = [slice(start, min(start + sums.chunk, count)) for start in range(0, count, sums.chunk)]
    return forward[::-1] if sums.order == "reversed" else forward


# Computes the terms of a sum, each time that it is called.
Terms = Callable[[], Iterable[torch.Tensor]]


def add_up(terms: Terms, sums: Sums, *, saturate: bool = False) -> torch.Tensor:
    """Round each term to fp16 and add them, in fp16 or wide; float32. saturate: nothing on the way is infinite."""
    total = _added(terms(), sums, lambda half: half)
    # What was infinite on the way is no finite number at the end, and most sums never are.
    if saturate and not torch.isfinite(total.sum()):
        return _added(terms(), sums, lambda half: half.clamp_(-LARGEST, LARGEST))
    return total


def _added(terms: Iterable[torch.Tensor], sums: Sums, bound: Function) -> torch.Tensor:
    halves = (bound(term.to(torch.float16)) for term in terms)
    if sums.wide:
        return sum(half.to(torch.float32) for half in halves)  # type: ignore[return-value]
    if sums.order == "tree":
        level = list(halves)
        while len(level) > 1:
            pairs = [bound(one + other) for one, other in zip(level[::2], level[1::2], strict=False)]
            level = [*pairs, *level[len(pairs) * 2 :]]
        return level[0].to(torch.float32)
    total = next(halves)
    for half in halves:
        total = bound(total.add_(half))
    return total.to(torch.float32)


def chunked(type_: str, form: Form, arithmetic: Arithmetic) -> Function | None:
    """Make the function that computes an operation in chunks; None where it is one chunk, or no such sum."""
    make = _CHUNKED.get(type_)
    return make(form, arithmetic) if make and arithmetic.sums else None


def _conv(form: Form, arithmetic: Arithmetic) -> Function | None:
    given, sums = form.fixed, arithmetic.sums
    weight, groups = given.get("weight"), given.get("groups", 1)
    assert sums is not None
    if weight is None or form.changing != ("x",):
        return None
    parts = parts_of(weight.shape[1], sums)
    if len(parts) < 2:
        return None
    if _is_pointwise(given):
        multiply = _matrix(weight[:, :, 0, 0], given.get("bias"), arithmetic)
        return lambda x: multiply(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    quick: list[Callable[..., torch.Tensor]] = []
    for index, part in enumerate(parts):
        fixed = {**given, "weight": weight[:, part].contiguous()}
        if index:
            fixed.pop("bias", None)
        quick.append(kernel_of(form, fixed))

    def taken(x: torch.Tensor, part: slice) -> torch.Tensor:
        return x[:, part] if groups == 1 else x.unflatten(1, (groups, -1))[:, :, part].flatten(1, 2)

    def run(x: torch.Tensor) -> torch.Tensor:
        def terms() -> Iterator[torch.Tensor]:
            return (function(x=taken(x, part)) for function, part in zip(quick, parts, strict=True))

        return add_up(terms, sums, saturate=arithmetic.saturate)

    return run


def _is_pointwise(given: Mapping[str, Any]) -> bool:
    """Say whether a convolution multiplies every place by one matrix."""
    single = given["weight"].shape[2:] == (1, 1) and given.get("groups", 1) == 1
    padded = given.get("pad_type", "valid") == "custom" and any(given.get("pad") or ())
    return single and not padded and set(given.get("strides") or (1,)) == {1}


def _linear(form: Form, arithmetic: Arithmetic) -> Function | None:
    weight, sums = form.fixed.get("weight"), arithmetic.sums
    assert sums is not None
    if weight is None or form.changing != ("x",) or weight.shape[1] <= sums.chunk:
        return None
    return _matrix(weight, form.fixed.get("bias"), arithmetic)


def _matrix(weight: torch.Tensor, bias: torch.Tensor | None, arithmetic: Arithmetic) -> Function:
    """Multiply [..., K] by [C, K] in chunks of K; the first chunk that is added has the bias."""
    sums = arithmetic.sums
    assert sums is not None
    channels = range(weight.shape[1])
    parts = [list(channels[part]) for part in parts_of(len(channels), sums)]
    # Brought into this order once, chunks lie side by side, and are read where they lie.
    order = [channel for part in parts for channel in part]
    moved = None if order == list(channels) else torch.tensor(order)
    columns = (weight if moved is None else weight[:, moved]).to(torch.float32).mT.contiguous()
    ends = list(accumulate(len(part) for part in parts))

    def run(x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(torch.float32)
        if moved is not None:
            rows = rows[:, moved]

        def terms() -> Iterator[torch.Tensor]:
            for index, (start, end) in enumerate(pairwise((0, *ends))):
                product = rows[:, start:end] @ columns[start:end]
                yield product if index or bias is None else product.add_(bias)

        return add_up(terms, sums, saturate=arithmetic.saturate).reshape(*x.shape[:-1], -1)

    return run


def kernel_of(form: Form, fixed: Any) -> Callable[..., torch.Tensor]:
    """Make an operation's own kernel for other constants; it takes the changing parameters by name."""
    ready = form.prepare(**fixed) if form.prepare and form.changing == ("x",) else None
    if ready is not None:
        return lambda x: ready(x)
    return lambda **changing: form.function(**fixed, **changing)


def _matmul(form: Form, arithmetic: Arithmetic) -> Function | None:
    sums = arithmetic.sums
    assert sums is not None

    def run(**values: Any) -> torch.Tensor:
        x, y = operands(form, values)
        parts = parts_of(x.shape[-1], sums)
        if len(parts) < 2 or min(x.ndim, y.ndim) < 2:
            return form.function(**form.fixed, **values)  # type: ignore[no-any-return]
        return add_up(lambda: (x[..., p] @ y[..., p, :] for p in parts), sums, saturate=arithmetic.saturate)

    return run


def operands(form: Form, values: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrices of a matmul as they are multiplied, whichever of them is a constant."""
    given = {**form.fixed, **values}
    x, y = given["x"].to(torch.float32), given["y"].to(torch.float32)
    x = x.mT if given.get("transpose_x") and x.ndim > 1 else x
    return x, y.mT if given.get("transpose_y") and y.ndim > 1 else y


def _reduce(form: Form, arithmetic: Arithmetic) -> Function | None:
    sums = arithmetic.sums
    assert sums is not None
    if form.changing != ("x",):
        return None
    mean = form.function.__name__ == "reduce_mean"

    def run(x: torch.Tensor) -> torch.Tensor:
        axes = sorted(axis % x.ndim for axis in (form.fixed.get("axes") or range(x.ndim)))
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        rows = x.permute(*kept, *axes).flatten(len(kept))
        # A mean is divided before it is rounded: no unit would let the sum of a picture overflow.
        scale = 1 / rows.shape[-1] if mean else 1.0
        parts = parts_of(rows.shape[-1], sums)
        total = add_up(lambda: (rows[..., p].sum(-1) * scale for p in parts), sums, saturate=arithmetic.saturate)
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        return total.reshape(shape) if form.fixed.get("keep_dims") else total

    return run


_CHUNKED: dict[str, Callable[[Form, Arithmetic], Function | None]] = {
    "conv": _conv,
    "linear": _linear,
    "matmul": _matmul,
    "reduce_sum": _reduce,
    "reduce_mean": _reduce,
}
# What adds up; their subnormal results may become zero where others' do not.
SUMMING: Sequence[str] = (*_CHUNKED, "conv_transpose", "einsum", "avg_pool")
