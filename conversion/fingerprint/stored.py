"""What is stored on objects and modules, read without running the code that answers for them.

A lazily loaded module imports what somebody asks it for, a proxy makes what it stands for, a mapping may load each
of its values: to ask changes the process, takes minutes, and may raise anything. So no attribute is asked for here,
only what lies in a `__dict__` or a slot is read.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Iterable
from types import GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

from conversion.fingerprint.values import SPECIAL

_HOLDERS: tuple[Any, ...] = (list, tuple, deque, set, frozenset)


def is_a(value: Any, kinds: Any) -> bool:
    """Say whether a value is of a class, by its type: `isinstance` also asks for a `__class__` that may be code."""
    return issubclass(type(value), kinds)


def namespace(value: Any) -> dict[str, Any] | None:
    """Return an object's `__dict__`, whatever it answers when asked for it; None where it has none."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except Exception:  # a property of this name, and there is no end of what one may raise
        return None
    return own if is_a(own, dict) else None


def stored_on(value: Any) -> dict[str, Any] | None:
    """Return what is stored on an object; None where it has no place for attributes."""
    slots = {
        name: member
        for base in type(value).__mro__
        for name, member in vars(base).items()
        if "__slots__" in vars(base) and type(member) is MemberDescriptorType and not SPECIAL.fullmatch(name)
    }
    own = namespace(value)
    if own is None and not slots:
        return None
    filled = {name: member.__get__(value) for name, member in slots.items() if _is_filled(member, value)}
    return {**filled, **(own or {})}


def _is_filled(member: MemberDescriptorType, value: Any) -> bool:
    try:
        member.__get__(value)
    except AttributeError:
        return False
    return True


def wrapped(value: Any) -> Any:
    """Return the callable that an object wraps; None where it wraps none."""
    own = namespace(value) or {}
    inner = own.get("__wrapped__")
    if inner is None:
        raw = next((vars(base)["__wrapped__"] for base in type(value).__mro__ if "__wrapped__" in vars(base)), None)
        inner = _of_descriptor(raw, value) if is_a(raw, (MemberDescriptorType, GetSetDescriptorType)) else raw
    return inner if callable(inner) else None


def _of_descriptor(descriptor: Any, value: Any) -> Any:
    try:
        return descriptor.__get__(value)
    except Exception:  # a slot without a value, or an object that makes what it wraps, and fails
        return None


def elements(value: Iterable[Any]) -> list[Any]:
    """List what a sequence or a set holds, also one whose class has an `__iter__` of its own."""
    base = next(kind for kind in _HOLDERS if is_a(value, kind))
    return list(base.__iter__(value))


def pairs(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """List what a dictionary holds, also one whose class has an `items` of its own."""
    return list((OrderedDict if is_a(value, OrderedDict) else dict).items(value))


def home_name(kind: type[Any]) -> Any:
    """Return the name of the module that a class is of, whatever its metaclass answers; it need not be a text."""
    return type.__dict__["__module__"].__get__(kind)


def loaded(name: Any) -> ModuleType | None:
    """Return the module that is loaded under a name; None also where what stands there is no module."""
    module = sys.modules.get(name) if type(name) is str else None
    return module if is_a(module, ModuleType) else None
