"""How single values are written, the same way in every process."""

from __future__ import annotations

import functools
import hashlib
import io
import linecache
import re
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Where an object happens to lie in memory: another place in every process.
ADDRESSES = re.compile(r" at 0x[0-9a-fA-F]+")
SPECIAL = re.compile(r"__\w+__")
_DESCRIPTORS = (property, functools.cached_property, staticmethod, classmethod)


def describe_tensor(tensor: torch.Tensor) -> str:
    """Write a tensor's type, shape and the digest of its bytes."""
    import torch

    plain = tensor.detach().cpu()
    if plain.is_quantized or plain.layout != torch.strided:
        saved = io.BytesIO()
        torch.save(plain, saved)
        return f"{plain.dtype} {plain.layout} {tuple(plain.shape)} {hashlib.sha256(saved.getvalue()).hexdigest()}"
    array = plain.resolve_conj().resolve_neg().contiguous()
    # As bytes, because numpy has no bfloat16.
    content = array.reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{array.dtype} {tuple(array.shape)} {hashlib.sha256(content).hexdigest()}"


def file_text(file: str) -> str:
    """Read a source file as it is now, or what a notebook keeps in its place; empty where there is none."""
    linecache.checkcache(file)
    return "".join(linecache.getlines(file))


def sort_key(value: Any) -> str:
    """Give a text to sort by that is the same in every process."""
    name = value.__qualname__ if issubclass(type(value), type | FunctionType) else ""
    return f"{type(value).__qualname__} {name} {shown(value)}"


def shown(value: Any) -> str:
    """Write a value as it shows itself, without its address; empty where that fails."""
    try:
        return ADDRESSES.sub("", repr(value))
    except Exception:  # of whatever class: the code is not ours
        return ""


def has_value(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where the variable has no value yet
    except ValueError:
        return False
    return True


def decides(name: str, member: Any) -> bool:
    """Say whether a member of a class can decide what it computes."""
    routine = isinstance(member, (FunctionType, *_DESCRIPTORS))
    return routine if SPECIAL.fullmatch(name) else name != "_abc_impl" and not _is_slot(member)


def _is_slot(member: Any) -> bool:
    return type(member).__name__ in ("member_descriptor", "getset_descriptor")
