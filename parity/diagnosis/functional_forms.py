"""Operations of PyTorch's as functions of values: none writes in place, and what is fused is taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from parity.diagnosis.source import plain_name

if TYPE_CHECKING:
    import torch

# Operations that converters often write as several: taken apart here too, so that their parts can be compared.
_TAKEN_APART = (
    "native_layer_norm",
    "native_group_norm",
    "gelu",
    "hardswish",
    "hardsigmoid",
    "silu",
    "_softmax",
    "_safe_softmax",
)


def written_arguments(function: Any, args: Any, result: Any) -> Iterator[torch.Tensor]:
    """List the arguments that an operation wrote into and gives back."""
    from torch.utils._pytree import tree_leaves

    if function._schema.is_mutable:
        leaves = tree_leaves(result)
        yield from (argument for argument in args if any(argument is leaf for leaf in leaves))


def places_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return where a tensor lies in its memory."""
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _laid_out(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Copy a value into the layout that another had when it was recorded."""
    import torch

    return torch.empty_strided(like.shape, like.stride(), dtype=value.dtype).copy_(value)


def scattering(root: torch.Tensor, part: torch.Tensor) -> Callable[..., Any]:
    """Make what writes a part into a whole, as the two lay when they were recorded."""
    shape, stride, like = tuple(part.shape), part.stride(), root.detach()
    offset = part.storage_offset() - root.storage_offset()

    def run(whole: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        result = _laid_out(whole, like)
        result.as_strided(shape, stride, offset).copy_(value)
        return result

    return run


def slicing(root: torch.Tensor, part: torch.Tensor) -> Callable[..., Any]:
    """Make what reads a part of a whole, as the two lay when they were recorded."""
    shape, stride, like = tuple(part.shape), part.stride(), root.detach()
    offset = part.storage_offset() - root.storage_offset()
    return lambda whole: _laid_out(whole, like).as_strided(shape, stride, offset)


def copying(target: torch.Tensor) -> Callable[..., Any]:
    """Make what gives a value the shape and the type of a tensor."""
    shape, dtype = tuple(target.shape), target.dtype
    return lambda value: value.to(dtype).expand(shape).clone()


def functional(function: Any) -> Callable[..., Any]:
    """Make a form of an operation that leaves its arguments alone, and takes them however they lie in memory."""
    import torch

    if plain_name(function) in ("view", "_unsafe_view", "_reshape_alias"):
        return lambda value, shape, *strides: value.reshape(shape)

    written = [
        index
        for index, argument in enumerate(function._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    if not written:
        return function  # type: ignore[no-any-return]

    def run(*args: Any, **kwargs: Any) -> Any:
        copies = [a.clone() if i in written and isinstance(a, torch.Tensor) else a for i, a in enumerate(args)]
        return function(*copies, **kwargs)

    return run


def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """Return how PyTorch takes the operations apart that converters take apart."""
    import torch
    from torch._decomp import get_decompositions

    packets: dict[str, Any] = {name: getattr(torch.ops.aten, name) for name in _TAKEN_APART}
    apart = dict(get_decompositions([packet.default for packet in packets.values()]))
    # What works in place is taken apart alike, and written back.
    in_place = {f"{name}_": packet for name, packet in packets.items() if hasattr(torch.ops.aten, f"{name}_")}
    return apart | {
        getattr(torch.ops.aten, name).default: apart[packet.default]
        for name, packet in in_place.items()
        if packet.default in apart
    }
