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
import hashlib
import importlib.util
import io
import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from conversion.fingerprint.installed import file_of_class, home_of, is_users, release_of
from conversion.fingerprint.mentions import Names, describe_file, find_source, names_in, sha256
from conversion.fingerprint.values import (
    ADDRESSES,
    SPECIAL,
    decides,
    describe_tensor,
    file_text,
    has_value,
    sort_key,
    stored_on,
)

if TYPE_CHECKING:
    import torch

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_COPIES = (tuple, frozenset)
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
    walk = _Walk(frozenset(map(id, parts.values())))
    records = [f"{path} {walk.refer(part)}" for path, part in parts.items()]
    for hooks in (registry._global_forward_pre_hooks, registry._global_forward_hooks):
        records.append(walk.refer_all(hooks.values()))
    return walk.finish(records)


def reach_of(function: Callable[..., Any]) -> Reach:
    """Follow a function of the user's to all code and all values that it computes with."""
    walk = _Walk(frozenset())
    return walk.finish([walk.refer(function)])


@dataclass
class _Walk:
    """Number objects as they are met, and describe each once by the numbers of those that it holds."""

    parts: frozenset[int]  # ids of the modules whose weights are known elsewhere
    queue: deque[Any] = field(default_factory=deque)
    known: bool = True
    _numbers: dict[int, int] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)  # an object that is gone leaves its id to another
    _spaces: dict[int, dict[str, Any]] = field(default_factory=dict)
    _sources: set[str] = field(default_factory=set)

    def finish(self, records: list[str]) -> Reach:
        """Describe all that was met, and what that holds, until nothing is new."""
        while self.queue:
            records.append(self.record(self.queue.popleft()))
        texts = sorted(map(file_text, self.files()))
        # The separator keeps two lists apart whose elements join to the same text.
        content = "\0".join([*records, *texts]).encode(errors="surrogatepass")
        return Reach(hashlib.sha256(content).hexdigest(), self.known)

    def refer(self, value: Any) -> str:
        """Write a simple value itself, anything else as a number."""
        if type(value) in _ATOMS:
            return f"{type(value).__name__} {value!r}"
        # Whether two equal constants are one object is the compiler's affair.
        if not isinstance(value, _COPIES) and id(value) in self._numbers:
            return f"#{self._numbers[id(value)]}"
        number = len(self._kept)
        self._kept.append(value)
        if not isinstance(value, _COPIES):
            self._numbers[id(value)] = number
        self.queue.append(value)
        return f"#{number}"

    def refer_all(self, values: Iterable[Any]) -> str:
        """Write several values in their order."""
        return f"[{', '.join(map(self.refer, values))}]"

    def refer_named(self, values: Mapping[str, Any]) -> str:
        """Write values by name, in the order of the names."""
        return f"{{{', '.join(f'{name}: {self.refer(values[name])}' for name in sorted(values))}}}"

    def record(self, value: Any) -> str:
        """Describe one object by what it holds."""
        import numpy as np
        import torch

        kind = type(value).__qualname__
        if isinstance(value, torch.nn.Module):
            return self._module(value)
        if isinstance(value, torch.Tensor):
            return describe_tensor(value)
        if isinstance(value, np.ndarray):
            content = self.refer(value.tolist()) if value.dtype.hasobject else sha256(value.tobytes())
            return f"{value.dtype} {value.shape} {content}"
        if isinstance(value, torch.Generator):
            return f"Generator {describe_tensor(value.get_state())}"
        if isinstance(value, torch.fx.Graph):  # what it computes is the code of its module's forward
            return f"Graph {ADDRESSES.sub('', str(value))}"
        if isinstance(value, ModuleType):
            return self._namespace(value, frozenset(), frozenset(), whole=is_users(value))
        if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format | torch.Size):
            return repr(value)
        for types, describe in self._ways():
            if isinstance(value, types):
                return f"{kind} {describe(value)}"
        return self._object(value)

    def files(self) -> set[str]:
        """List the user's files that were reached, and those that are imported there, one from the other."""
        left, seen = list(self._spaces.values()), set(self._spaces)
        while left:
            for value in list(left.pop().values()):
                space, file = home_of(value)
                if space is not None and id(space) not in seen and file and release_of(file) is None:
                    seen.add(id(space))
                    self._sources.add(file)
                    left.append(space)
        return {file for file in self._sources if not file.startswith("<")}

    def _ways(self) -> tuple[tuple[Any, Callable[[Any], str]], ...]:
        return (
            (FunctionType, self._function),
            (MethodType, lambda v: self.refer_all((v.__func__, v.__self__))),
            (functools.partial, lambda v: f"{self.refer_all((v.func, v.args))} {self.refer(v.keywords)}"),
            (type, self._class),
            (property, lambda v: self.refer_all((v.fget, v.fset))),
            (functools.cached_property, lambda v: self.refer(v.func)),
            ((staticmethod, classmethod), lambda v: self.refer(v.__func__)),
            (Mapping, self._mapping),
            ((list, tuple, deque), lambda v: f"{self.refer_all(v)} {self._state(v)}"),
            ((set, frozenset), lambda v: f"{self.refer_all(sorted(v, key=sort_key))} {self._state(v)}"),
            (logging.Logger, lambda v: repr(v.name)),
            (PurePath, lambda v: f"{v.as_posix()!r} {describe_file(str(v))}"),
            (CodeType, self._code),
            (BuiltinFunctionType, self._builtin),
            (_IDLE, lambda v: ""),
        )

    def _mapping(self, value: Mapping[Any, Any]) -> str:
        pairs = ", ".join(f"{self.refer(key)}: {self.refer(item)}" for key, item in value.items())
        return f"{{{pairs}}} {self.refer(getattr(value, 'default_factory', None))} {self._state(value)}"

    def _state(self, value: Any) -> str:
        """Describe the attributes of a container of a class of its own."""
        own = type(value).__module__ != "builtins" and getattr(value, "__dict__", None)
        return f"{self.refer(type(value))} {self.refer_named(own)}" if isinstance(own, dict) else ""

    def _module(self, module: torch.nn.Module) -> str:
        """Describe a module by its class and by what its code stored on it; repr shows only what it chose to."""
        import torch

        hidden = [] if id(module) in self.parts else [module._parameters, module._buffers, module._modules]
        if isinstance(module, torch.jit.ScriptModule):
            code = ADDRESSES.sub("", module._c.dump_to_str(True, True, False))
            values = [] if id(module) in self.parts else list(module.state_dict().values())
            return f"{type(module).__qualname__} {code} {self.refer_all(values)}"
        plain = _plain_names()
        own = {name: value for name, value in vars(module).items() if name not in plain or name == "training"}
        # Hooks have numbers that are counted up over the whole process.
        hooks = {
            name: list(value.values() if isinstance(value, Mapping) else value)
            for name, value in vars(module).items()
            if name in plain and "hook" in name and value and isinstance(value, Mapping)
        }
        return f"module {self.refer(type(module))} {self.refer_named({**own, **hooks})} {self.refer_all(hidden)}"

    def _class(self, value: type[Any]) -> str:
        file = file_of_class(value)
        release = release_of(file) if file else "python"
        members = {name: member for name, member in vars(value).items() if decides(name, member)}
        if release is None:
            assert file is not None
            self._sources.add(file)
            home = sys.modules.get(value.__module__)
            if home is not None:
                self._spaces.setdefault(id(vars(home)), vars(home))
            return f"{value.__qualname__} {self.refer_all(value.__mro__[1:])} {self.refer_named(members)}"
        # A method of a library that the user put another in place of.
        changed = {name: member for name, member in members.items() if is_users(member)}
        bases = [base for base in value.__mro__[1:] if base is not object]
        return f"{value.__qualname__} of {release} {self.refer_all(bases)} {self.refer_named(changed)}"

    def _builtin(self, value: Any) -> str:
        home = sys.modules.get(getattr(value, "__module__", None) or "")
        return f"{value.__qualname__} {self._namespace(home, frozenset(), frozenset()) if home else ''}"

    def _function(self, value: Any) -> str:
        release = release_of(value.__code__.co_filename)
        if release is not None:
            # What the installed code was closed over may be the user's: a decorator, an activation.
            held = [cell.cell_contents for cell in value.__closure__ or () if has_value(cell)]
            return f"{value.__qualname__} of {release} {self.refer_all(held)} {self.refer(value.__defaults__)}"
        space = value.__globals__
        self._sources.add(value.__code__.co_filename)
        self._spaces.setdefault(id(space), space)
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        closed = {name: cell.cell_contents for name, cell in cells if has_value(cell)}
        return " ".join(
            [
                value.__qualname__,
                self._code(value.__code__),
                self.refer_named(closed),
                self.refer_all((value.__defaults__, value.__kwdefaults__)),
                self.refer_named(vars(value)),
                self._mentioned(value, space, closed),
            ]
        )

    def _code(self, code: CodeType) -> str:
        constants = [self._code(one) if isinstance(one, CodeType) else self.refer(one) for one in code.co_consts]
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        table = getattr(code, "co_exceptiontable", b"")
        return f"{sha256(code.co_code + table)} {shape} {names} {constants}"

    def _mentioned(self, function: Any, space: dict[str, Any], closed: Mapping[str, Any]) -> str:
        """Describe all that a user's function names outside of itself."""
        mentions = names_in(function.__code__)
        used = {name: space[name] for name in mentions.names if name in space and not SPECIAL.fullmatch(name)}
        # Names that are looked up by text may be any.
        by_text = mentions.names & {"getattr", "vars", "dir"} or "__dict__" in mentions.attributes
        modules = {name: one for name, one in {**used, **closed}.items() if isinstance(one, ModuleType)}
        parts = [self.refer_named({name: one for name, one in used.items() if name not in modules})]
        for name, module in sorted(modules.items()):
            whole = by_text and is_users(module)
            parts.append(f"{name}: {self._namespace(module, mentions.attributes, whole=whole)}")
        if "globals" in mentions.names:
            parts.append(self.refer_named({k: v for k, v in space.items() if not SPECIAL.fullmatch(k)}))
        parts += [
            self._imported(name, space.get("__package__") or "", mentions) for name in sorted(mentions.imports)
        ]
        if "import_module" in mentions.names | mentions.attributes or "__import__" in mentions.names:
            loaded = [sys.modules[text] for text in sorted(mentions.texts) if text in sys.modules]
            parts += [self._namespace(module, mentions.attributes, whole=is_users(module)) for module in loaded]
            self.known &= bool(loaded)
        # What a text says as code is known when it runs, not before.
        self.known &= not any(name not in space and name in mentions.names for name in ("exec", "eval"))
        texts = mentions.texts | {value for value in used.values() if type(value) is str}
        if {"environ", "getenv", "environb"} & (mentions.names | mentions.attributes):
            parts += [f"{text}={os.environ[text]!r}" for text in sorted(texts) if text in os.environ]
        directory = Path(function.__code__.co_filename).parent
        parts += [f"{text!r} {content}" for text in sorted(texts) if (content := describe_file(text, directory))]
        return " ".join(parts)

    def _imported(self, name: str, package: str, mentions: Names) -> str:
        """Describe a module that a function imports."""
        try:
            module = sys.modules.get(importlib.util.resolve_name(name, package))
        except ImportError:
            return ""
        if module is not None:
            return self._namespace(module, mentions.names | mentions.attributes)
        self._unloaded(name, package)
        return ""

    def _unloaded(self, name: str, package: str) -> None:
        """Count the text of a module that has not been used yet, but may be, and of those that it imports."""
        located = find_source(name, package)
        if located is None or located[1] in self._sources or release_of(located[1]) is not None:
            return
        full, file = located
        self._sources.add(file)
        try:
            code = compile(file_text(file), file, "exec")
        except (SyntaxError, ValueError):
            return
        inside = full if file.endswith("__init__.py") else full.rpartition(".")[0]
        for other in sorted(names_in(code).imports):
            self._unloaded(other, inside)

    def _namespace(
        self,
        module: ModuleType,
        wanted: frozenset[str],
        above: frozenset[int] = frozenset(),
        whole: bool = False,
    ) -> str:
        """Describe a module by those of its names that are wanted. whole: by all of them."""
        above = above | {id(module)}
        file, space = getattr(module, "__file__", None), vars(module)
        release = release_of(file) if isinstance(file, str) else "python"
        if release is None and isinstance(file, str):
            if not file.endswith(".py"):  # compiled
                return describe_file(file)
            self._sources.add(file)
            self._spaces.setdefault(id(space), space)
        parts = []
        for name in sorted(space if whole else wanted & space.keys()):
            value = space[name]
            if isinstance(value, ModuleType):
                inside = self._namespace(value, wanted, above) if id(value) not in above else ""
                # An unchanged part of the same release says nothing, and may be imported only when it is used.
                if inside and (release is None or inside != f"{release} {{}}"):
                    parts.append(f"{name}: {inside}")
            elif not SPECIAL.fullmatch(name) and (release is None or is_users(value)):
                parts.append(f"{name}: {self.refer(value)}")
        return f"{release or ''} {{{', '.join(parts)}}}"

    def _object(self, value: Any) -> str:
        """Describe an object by its attributes, or by how it would be copied."""
        kind = f"{type(value).__qualname__} {self.refer(type(value))}"
        if callable(inner := getattr(value, "__wrapped__", None)):
            kind += f" {self.refer(inner)}"
        stored = stored_on(value)
        copied = copyreg.dispatch_table.get(type(value))
        plain = all(getattr(type(value), name) is getattr(object, name) for name in ("__reduce_ex__", "__reduce__"))
        if copied is None and plain and stored:
            return f"{kind} {self.refer_named(stored)}"
        try:
            reduced = copied(value) if copied else value.__reduce_ex__(2)
        except Exception:  # of whatever class: its author says that it cannot be copied
            if stored is None and not callable(inner):
                self.known = False
            return f"{kind} {self.refer_named(stored or {})} {ADDRESSES.sub('', repr(value))}"
        if isinstance(reduced, str):
            return f"{kind} {reduced}"
        make, arguments, state, *items = (*reduced, None, None, None)[:5]
        contents = [list(one) if isinstance(one, Iterator) else one for one in items]
        return f"{kind} {self.refer_all((arguments, state, *contents))} {self.refer(make)}"


@functools.cache
def _plain_names() -> frozenset[str]:
    """Name what PyTorch itself stores on every module."""
    import torch

    return frozenset(vars(torch.nn.Module()))
