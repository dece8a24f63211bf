"""Values that are too large, refused before PyTorch makes them, whichever kernel asks for them.

Every operation of PyTorch is first asked for the shape of its result, on tensors without memory. That takes as long
as a small operation does, so an engine is guarded for what it has not run before: inputs of other shapes, and all
inputs where shapes follow from what these hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from parity.core.memory import memory_limit, too_large
from parity.coreml.dtypes import NUMPY
from parity.coreml.program import Value

# These copy where they cannot look at the memory of their argument: a number that is expanded, say.
_MAY_COPY = frozenset(("aten::contiguous", "aten::reshape", "aten::flatten", "aten::to"))
# To ask the following for the shape of their result would import torch's compiler or SymPy, in a second or two.
# They give no more elements than what they read is broadcast to.
_NO_MORE_ELEMENTS = frozenset((torch.Tag.pointwise, torch.Tag.reduction))
# They give at most so many times the elements of all that they read. A pool pads by half its window at most, so
# that each of three axes at most doubles.
_AT_MOST: Mapping[str, int] = {
    **dict.fromkeys(
        ("batch_norm", "cat", "group_norm", "instance_norm", "layer_norm", "log_softmax", "softmax"), 1
    ),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d"), 8),
}
_ATEN: Any = torch.ops.aten
# Shapes of products, from their arguments. Where these do not fit together, the product says so in its own words.
_PRODUCTS: Mapping[Any, Callable[..., tuple[int, ...]]] = {
    _ATEN.mm.default: lambda x, y: (*x.shape[:-1], *y.shape[1:]),
    _ATEN.addmm.default: lambda bias, x, y: (*x.shape[:-1], *y.shape[1:]),
    _ATEN.linear.default: lambda x, weight, *bias: (*x.shape[:-1], *weight.shape[:-1]),
}
# In bytes.
_LARGEST_ELEMENT = 16


class ValueTooLargeError(ValueError):
    """An operation asks for more memory than one value may have."""


class Guard(TorchDispatchMode):
    """Refuse results that are too large, inside a `with`, in this thread.

    passed: what need not be checked again; it gets what passes.
    """

    def __init__(self, passed: set[Hashable] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = memory_limit()
        self._passed: set[Hashable] = set() if passed is None else passed

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled inside, and to keep torch's compiler out of it would import all of that first.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Check the result of one operation, then let it be computed."""
        kwargs = dict(kwargs or {})
        if not _shares_memory(func):
            self._check(func, args, kwargs)
        return func(*args, **kwargs)

    def _check(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        flat, structure = tree_flatten((args, kwargs))
        key = (func, *[(a.shape, a.dtype) if isinstance(a, torch.Tensor) else (type(a), str(a)) for a in flat])
        if key in self._passed:
            return
        if func in _PRODUCTS:
            self._refuse(_PRODUCTS[func](*args), args[1].element_size())
        elif not _is_small(func, flat, self.limit):
            self._refuse_too_large(func, flat, structure)
        self._passed.add(key)

    def _refuse_too_large(self, func: Any, flat: Sequence[Any], structure: Any) -> None:
        results: Any = ()
        # What has no form without memory reads its content, and gives no more than that holds.
        with suppress(Exception):
            shaped, named = tree_unflatten([_without_memory(a) for a in flat], structure)
            results = func(*shaped, **{**named, **_on_meta(func)})
        for result in tree_flatten(results)[0]:
            if isinstance(result, torch.Tensor):
                self._refuse(result.shape, result.element_size())

    def _refuse(self, shape: Sequence[int], element_size: int) -> None:
        if excess := too_large(tuple(shape), element_size, self.limit):
            raise ValueTooLargeError(excess)


def _is_small(func: Any, arguments: Sequence[Any], limit: int) -> bool:
    """Say whether what an operation reads is so small that its result is, too."""
    shapes = [argument.shape for argument in arguments if isinstance(argument, torch.Tensor)]
    if times := _AT_MOST.get(func._schema.name.removeprefix("aten::")):
        return not too_large((times, sum(map(math.prod, shapes))), _LARGEST_ELEMENT, limit)
    if _NO_MORE_ELEMENTS.isdisjoint(func.tags):
        return False
    try:
        together = np.broadcast_shapes(*shapes)
    except ValueError:  # which the operation says in its own words
        return False
    return not too_large(together, _LARGEST_ELEMENT, limit)


def declared_too_large(value: Value) -> str:
    """Say why no value may have the shape that the file declares; empty where one may, or the shape is open."""
    if value.dtype not in NUMPY or not all(isinstance(size, int) for size in value.shape):
        return ""
    return too_large(tuple(size for size in value.shape if isinstance(size, int)), NUMPY[value.dtype].itemsize)


def _without_memory(argument: Any) -> Any:
    return argument.to("meta") if isinstance(argument, torch.Tensor) else argument


def _on_meta(func: Any) -> dict[str, Any]:
    """Return the arguments by which an operation makes its result without memory, and draws nothing."""
    names = {argument.name for argument in func._schema.arguments}
    wanted = {"device": torch.device("meta"), "generator": None, "pin_memory": None}
    return {name: value for name, value in wanted.items() if name in names}


def _shares_memory(func: Any) -> bool:
    """Say whether an operation's results lie in the memory of its arguments."""
    returned: Iterable[Any] = func._schema.returns
    return func._schema.name not in _MAY_COPY and all(value.alias_info is not None for value in returned)
