"""Tensors of more than five axes, which Core ML has not, kept as flat ones with the same numbers in the same order.

A tall tensor stays in the graph, where nothing uses it once all that takes it is computed of its flat one; whatever
is not known here takes the tall one, and the converter refuses it as it would have anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from conversion.flattened import MOST_AXES, Tall, alike, around, few, flat_of, is_tall, kept, sizes_of, tall_flat


def flat_answer(tall: Tall, function: Any, args: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """Answer a function whose values or answer are tall by flat ones; NotImplemented where it will do as it is."""
    way = _ways().get(function)
    return way(tall, function, args, settings) if way else NotImplemented


@cache
def _ways() -> dict[Any, Callable[..., Any]]:
    import torch

    named = {
        _reshaped: "reshape view flatten unflatten unsqueeze squeeze contiguous",
        _permuted: "permute",
        _transposed: "transpose",
        _selected: "select",
        _item: "__getitem__",
        _pieces: "unbind chunk split",
        _reduced: "amax amin sum mean",
        _along: "softmax log_softmax cumsum",
        _together: "cat concat concatenate stack",
        _multiplied: "matmul __matmul__",
        _by_rows: "linear layer_norm gelu silu hardswish",
        _joined: "add sub mul div __radd__ __rsub__ __rmul__ __sub__ __add__ __mul__ __truediv__",
        _each: "relu sigmoid exp neg tanh clone",
    }
    homes = (torch, torch.Tensor, torch.nn.functional)
    return {
        getattr(home, name): way
        for way, names in named.items()
        for name in names.split()
        for home in homes
        if hasattr(home, name)
    }


def _reshaped(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    values = flat_of(tall, args[0])
    if values is None:
        return NotImplemented
    answer = function(*args, **settings)
    return answer if not is_tall(args[0]) and not is_tall(answer) else kept(tall, answer, values)


def _permuted(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    order: Sequence[Any] = settings.get("dims", args[1:])
    order = order[0] if order and isinstance(order[0], (tuple, list)) else order
    return _ordered(tall, function, args, settings, order)


def _transposed(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    named = [settings[name] for name in ("dim0", "dim1") if name in settings]
    one, other = [*list(args[1:]), *named]
    order = list(range(args[0].dim()))
    order[one], order[other] = order[other], order[one]
    return _ordered(tall, function, args, settings, order)


def _ordered(tall: Tall, function: Any, args: Any, settings: Any, order: Sequence[int]) -> Any:
    """Permute between two reshapes: coremltools itself spells these three with fewer axes, and nothing else."""
    values = tall_flat(tall, args[0])
    if values is None:
        return NotImplemented
    answer = function(*args, **settings)
    permuted = values.reshape(sizes_of(args[0])).permute(list(order))
    return kept(tall, answer, permuted.reshape(few(sizes_of(answer))))


def _selected(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    axis = settings.get("dim", args[1] if len(args) > 1 else 0)
    values = tall_flat(tall, args[0])
    if values is None:
        return NotImplemented
    answer = function(*args, **settings)
    place = settings.get("index", args[-1])
    return kept(tall, answer, values.reshape(around(sizes_of(args[0]), axis)).select(1, place))


def _item(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    items = args[1] if isinstance(args[1], tuple) else (args[1],)
    known = all(isinstance(item, slice) or (isinstance(item, int) and not isinstance(item, bool)) for item in items)
    values = tall_flat(tall, args[0])
    if values is None or not known:
        return NotImplemented
    answer = function(*args, **settings)
    sizes = sizes_of(args[0])
    # From the last on, so that the places of those before stay.
    for axis, item in reversed(list(enumerate(items))):
        part = values.reshape(around(sizes, axis))[:, item]
        sizes[axis : axis + 1] = [sizes_of(part)[1]] if isinstance(item, slice) else []
        values = part
    return kept(tall, answer, values)


def _pieces(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    """Take a tensor apart along an axis: unbind says it second, chunk and split third, or each by name."""
    before = 1 if function.__name__ == "unbind" else 2
    axis = settings.get("dim", args[before] if len(args) > before else 0)
    values = tall_flat(tall, args[0])
    if values is None:
        return NotImplemented
    answers = function(*args, **settings)
    rest = {name: setting for name, setting in settings.items() if name != "dim"}
    parts = function(values.reshape(around(sizes_of(args[0]), axis)), *args[1:before], **rest, dim=1)
    return tuple(kept(tall, answer, part) for answer, part in zip(answers, parts, strict=True))


def _reduced(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    dims = settings.get("dim", args[1] if len(args) > 1 else None)
    values = tall_flat(tall, args[0])
    if values is None or dims is None or "dtype" in settings or "out" in settings:
        return NotImplemented
    rank = args[0].dim()
    axes = sorted(axis % rank for axis in ([dims] if isinstance(dims, int) else dims))
    if axes != list(range(axes[0], axes[0] + len(axes))):
        return NotImplemented
    answer = function(*args, **settings)
    grouped = values.reshape(around(sizes_of(args[0]), axes[0], len(axes)))
    return kept(tall, answer, function(grouped, dim=1))


def _along(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    axis = settings.get("dim", args[1] if len(args) > 1 else None)
    values = tall_flat(tall, args[0])
    if values is None or axis is None or settings.get("dtype") is not None or len(args) > 2:
        return NotImplemented
    answer = function(*args, **settings)
    return kept(tall, answer, function(values.reshape(around(sizes_of(args[0]), axis)), dim=1))


def _each(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    values = tall_flat(tall, args[0])
    if values is None or len(args) > 1:
        return NotImplemented
    return kept(tall, function(*args, **settings), function(values, **settings))


def _together(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    """Put tensors behind each other along an axis, which is new where they are stacked."""
    import torch

    parts = args[0] if args else settings.get("tensors", ())
    axis = settings.get("dim", settings.get("axis", args[1] if len(args) > 1 else 0))
    flats = [flat_of(tall, part) for part in parts]
    if not flats or any(flat is None for flat in flats) or "out" in settings:
        return NotImplemented
    answer = function(*args, **settings)
    if not any(is_tall(part) for part in (*parts, answer)):
        return answer
    # Along a new axis a part is 1 long; `axis` counts from the end of the answer.
    own = [sizes_of(part) for part in parts]
    if answer.dim() > parts[0].dim():
        place = axis % answer.dim()
        own = [[*sizes[:place], 1, *sizes[place:]] for sizes in own]
    grouped = [flat.reshape(around(sizes, axis)) for flat, sizes in zip(flats, own, strict=True)]
    return kept(tall, answer, torch.cat(grouped, dim=1))


def _multiplied(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    """Multiply matrices whose other axes are broadcast, as runs of these."""
    if len(args) != 2 or settings or not any(is_tall(part) for part in args):
        return NotImplemented
    flats = [flat_of(tall, part) for part in args]
    if any(flat is None for flat in flats) or min(part.dim() for part in args) < 2:
        return NotImplemented
    answer = function(*args)
    rank = answer.dim() - 2
    sizes = [[1] * (rank + 2 - part.dim()) + sizes_of(part) for part in args]
    groups = list(alike([own[:rank] for own in sizes]))
    if len(groups) > MOST_AXES - 2:
        return NotImplemented
    one, other = (
        flat.reshape([*(math.prod(own[start:end]) for start, end in groups), *own[rank:]])
        for flat, own in zip(flats, sizes, strict=True)
    )
    return kept(tall, answer, one @ other)


def _by_rows(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    """Compute what reads the last axes alone, those of a layer norm or one, of all others as rows."""
    shape = settings.get("normalized_shape", args[1] if len(args) > 1 else ())
    count = len(shape) if isinstance(shape, (tuple, list)) and shape else 1
    values = tall_flat(tall, args[0])
    if values is None or count >= MOST_AXES:
        return NotImplemented
    answer = function(*args, **settings)
    sizes = sizes_of(args[0])
    rows = values.reshape([math.prod(sizes[:-count]), *sizes[-count:]])
    return kept(tall, answer, function(rows, *args[1:], **settings))


def _joined(tall: Tall, function: Any, args: Any, settings: Any) -> Any:
    """Compute of two that are broadcast: axes become one along which each is whole, or of size 1."""
    import torch

    if not any(isinstance(part, torch.Tensor) and is_tall(part) for part in args) or "out" in settings:
        return NotImplemented
    flats = [flat_of(tall, part) if isinstance(part, torch.Tensor) else part for part in args]
    if len(args) != 2 or any(flat is None for flat in flats):
        return NotImplemented
    answer = function(*args, **settings)
    rank = answer.dim()
    sizes = [
        [1] * (rank - part.dim()) + sizes_of(part) if isinstance(part, torch.Tensor) else [1] * rank
        for part in args
    ]
    groups = list(alike(sizes))
    if len(groups) > MOST_AXES:
        return NotImplemented
    grouped = [
        flat.reshape([math.prod(own[start:end]) for start, end in groups])
        if isinstance(flat, torch.Tensor)
        else flat
        for flat, own in zip(flats, sizes, strict=True)
    ]
    return kept(tall, answer, function(*grouped, **settings))
