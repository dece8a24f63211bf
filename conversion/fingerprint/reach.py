"""What a module computes with besides its weights: all user code and all values that it reaches, as one digest.

    parts of the module --> classes, settings, hooks --> functions --> what they name --> ... --> digest

The walk goes over live objects and not over files alone: a constant, a closure, a method that was replaced or a
function made by `exec` counts as it is now, whatever the file says. The text of a user's file counts as well, with
those that it imports, because not every way from one function to another can be seen. Installed releases count by
name and version. An environment variable or a small file that reached code names counts by its content.
"""

from __future__ import annotations

import copyreg
import functools
import gc
import hashlib
import io
import logging
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from conversion.fingerprint.code import describe_builtin, describe_class, describe_code, describe_function
from conversion.fingerprint.installed import is_users
from conversion.fingerprint.mentions import describe_file, sha256
from conversion.fingerprint.namespaces import describe_namespace
from conversion.fingerprint.stored import elements, is_a, namespace, pairs, stored_on, wrapped
from conversion.fingerprint.values import ADDRESSES, describe_tensor, file_text, shown, sort_key
from conversion.fingerprint.walk import Walk

if TYPE_CHECKING:
    import torch

# What computes nothing.
_IDLE = (io.IOBase, threading.local, type(threading.Lock()), type(threading.RLock()), weakref.ref, threading.Thread)


@dataclass(frozen=True)
class Reach:
    """Hold a digest of what is reached; known: whether that is all, for some code cannot be followed."""

    digest: str
    known: bool


def reach(module: torch.nn.Module) -> Reach:
    """Follow a module to everything that it computes with, but for the weights of its registered parts.

    The digest is the same in every process in which these are the same, with the same minor version of Python.
    """
    from torch.nn.modules import module as registry

    parts = dict(module.named_modules())
    walk = Walk(frozenset(map(id, parts.values())))
    records = [f"{path} {walk.refer(part)}" for path, part in parts.items()]
    for hooks in (registry._global_forward_pre_hooks, registry._global_forward_hooks):
        records.append(walk.refer_all(hooks.values()))
    return _finish(walk, records)


def reach_of(function: Callable[..., Any]) -> Reach:
    """Follow a function of the user's to all code and all values that it computes with."""
    walk = Walk(frozenset())
    return _finish(walk, [walk.refer(function)])


def _finish(walk: Walk, records: list[str]) -> Reach:
    """Describe all that was met, and what that holds, until nothing is new."""
    while walk.queue:
        records.append(_record(walk, walk.queue.popleft()))
    texts = sorted(map(file_text, walk.files()))
    # The separator keeps two lists apart whose elements join to the same text.
    content = "\0".join([*records, *texts]).encode(errors="surrogatepass")
    return Reach(hashlib.sha256(content).hexdigest(), walk.known)


def _record(walk: Walk, value: Any) -> str:
    """Describe one object by what it holds."""
    import numpy as np
    import torch

    kind = type(value).__qualname__
    if is_a(value, torch.nn.Module):
        return _module(walk, value)
    if is_a(value, torch.Tensor):
        return describe_tensor(value)
    if is_a(value, np.ndarray):
        content = walk.refer(value.tolist()) if value.dtype.hasobject else sha256(value.tobytes())
        return f"{value.dtype} {value.shape} {content}"
    if is_a(value, torch.Generator):
        return f"Generator {describe_tensor(value.get_state())}"
    if is_a(value, torch.fx.Graph):  # what it computes is the code of its module's forward
        return f"Graph {ADDRESSES.sub('', str(value))}"
    if is_a(value, (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)):
        return repr(value)
    for types, describe in _WAYS:
        if is_a(value, types):
            return f"{kind} {describe(walk, value)}"
    return _object(walk, value)


def _dictionary(walk: Walk, value: dict[Any, Any]) -> str:
    held = ", ".join(f"{walk.refer(key)}: {walk.refer(item)}" for key, item in pairs(value))
    default = value.default_factory if isinstance(value, defaultdict) else None
    return f"{{{held}}} {walk.refer(default)} {_state(walk, value)}"


def _state(walk: Walk, value: Any) -> str:
    """Describe the attributes of a container of a class of its own."""
    own = namespace(value) if type(value).__module__ != "builtins" else None
    return "" if own is None else f"{walk.refer(type(value))} {walk.refer_named(own)}"


def _module(walk: Walk, module: torch.nn.Module) -> str:
    """Describe a module by its class and by what its code stored on it; repr shows only what it chose to."""
    import torch

    hidden = [] if id(module) in walk.parts else [module._parameters, module._buffers, module._modules]
    if isinstance(module, torch.jit.ScriptModule):
        code = ADDRESSES.sub("", module._c.dump_to_str(True, True, False))
        values = [] if id(module) in walk.parts else list(module.state_dict().values())
        return f"{type(module).__qualname__} {code} {walk.refer_all(values)}"
    plain = _plain_names()
    own = {name: value for name, value in vars(module).items() if name not in plain or name == "training"}
    # Hooks have numbers that are counted up over the whole process.
    hooks = {
        name: list(value.values() if isinstance(value, Mapping) else value)
        for name, value in vars(module).items()
        if name in plain and "hook" in name and value and isinstance(value, Mapping)
    }
    return f"module {walk.refer(type(module))} {walk.refer_named({**own, **hooks})} {walk.refer_all(hidden)}"


def _object(walk: Walk, value: Any) -> str:
    """Describe an object by its attributes, or by how it would be copied."""
    kind = f"{type(value).__qualname__} {walk.refer(type(value))}"
    inner = wrapped(value)
    if inner is not None:
        kind += f" {walk.refer(inner)}"
    stored = stored_on(value)
    copied = copyreg.dispatch_table.get(type(value))
    plain = all(getattr(type(value), name) is getattr(object, name) for name in ("__reduce_ex__", "__reduce__"))
    if copied is None and plain and stored:
        return f"{kind} {walk.refer_named(stored)}"
    try:
        reduced = copied(value) if copied else value.__reduce_ex__(2)
        if is_a(reduced, str):
            return f"{kind} {reduced}"
        make, arguments, state, *items = (*reduced, None, None, None)[:5]
        contents = [list(one) if is_a(one, Iterator) else one for one in items]
    except Exception:  # of whatever class: its author says that it cannot be copied
        if stored is None and inner is None:
            walk.known = False
        return f"{kind} {walk.refer_named(stored or {})} {shown(value)}"
    return f"{kind} {walk.refer_all((arguments, state, *contents))} {walk.refer(make)}"


# The first that fits counts: a class has a way of its own to be described, and what it makes, too.
_WAYS: tuple[tuple[Any, Callable[[Walk, Any], str]], ...] = (
    (ModuleType, lambda walk, v: describe_namespace(walk, v, whole=is_users(v))),
    (FunctionType, describe_function),
    (MethodType, lambda walk, v: walk.refer_all((v.__func__, v.__self__))),
    (functools.partial, lambda walk, v: f"{walk.refer_all((v.func, v.args))} {walk.refer(v.keywords)}"),
    (type, describe_class),
    (property, lambda walk, v: walk.refer_all((v.fget, v.fset))),
    (functools.cached_property, lambda walk, v: walk.refer(v.func)),
    ((staticmethod, classmethod), lambda walk, v: walk.refer(v.__func__)),
    (dict, _dictionary),
    (MappingProxyType, lambda walk, v: walk.refer_all(gc.get_referents(v))),  # what it shows may be any mapping
    ((list, tuple, deque), lambda walk, v: f"{walk.refer_all(elements(v))} {_state(walk, v)}"),
    ((set, frozenset), lambda walk, v: f"{walk.refer_all(sorted(elements(v), key=sort_key))} {_state(walk, v)}"),
    (logging.Logger, lambda walk, v: repr(v.name)),
    (PurePath, lambda walk, v: f"{v.as_posix()!r} {describe_file(str(v))}"),
    (CodeType, describe_code),
    (BuiltinFunctionType, describe_builtin),
    (_IDLE, lambda walk, v: ""),
)


@functools.cache
def _plain_names() -> frozenset[str]:
    """Name what PyTorch itself stores on every module."""
    import torch

    return frozenset(vars(torch.nn.Module()))
