"""How functions and classes are described: the user's by all that they name, installed ones by release."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from conversion.fingerprint.installed import file_of_class, is_users, release_of
from conversion.fingerprint.mentions import describe_file, names_in, sha256
from conversion.fingerprint.namespaces import describe_import, describe_namespace
from conversion.fingerprint.stored import home_name, is_a, loaded, namespace
from conversion.fingerprint.values import SPECIAL, decides, has_value
from conversion.fingerprint.walk import Walk


def describe_class(walk: Walk, value: type[Any]) -> str:
    """Describe a class by what it inherits and by those of its members that can decide what it computes."""
    file = file_of_class(value)
    release = release_of(file) if file else "python"
    members = {name: member for name, member in vars(value).items() if decides(name, member)}
    if release is None:
        assert file is not None
        home = loaded(home_name(value))
        walk.enter(file, namespace(home))
        return f"{value.__qualname__} {walk.refer_all(value.__mro__[1:])} {walk.refer_named(members)}"
    # A method of a library that the user put another in place of.
    changed = {name: member for name, member in members.items() if is_users(member)}
    bases = [base for base in value.__mro__[1:] if base is not object]
    return f"{value.__qualname__} of {release} {walk.refer_all(bases)} {walk.refer_named(changed)}"


def describe_builtin(walk: Walk, value: Any) -> str:
    """Describe a function that is not written in Python by its name and its module."""
    home = loaded(value.__module__)
    return f"{value.__qualname__} {describe_namespace(walk, home) if home is not None else ''}"


def describe_function(walk: Walk, value: Any) -> str:
    """Describe a function by its code, defaults and closure, and by what it names."""
    release = release_of(value.__code__.co_filename)
    if release is not None:
        # What the installed code was closed over may be the user's: a decorator, an activation.
        held = [cell.cell_contents for cell in value.__closure__ or () if has_value(cell)]
        return f"{value.__qualname__} of {release} {walk.refer_all(held)} {walk.refer(value.__defaults__)}"
    space = value.__globals__
    walk.enter(value.__code__.co_filename, space)
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    closed = {name: cell.cell_contents for name, cell in cells if has_value(cell)}
    return " ".join(
        [
            value.__qualname__,
            describe_code(walk, value.__code__),
            walk.refer_named(closed),
            walk.refer_all((value.__defaults__, value.__kwdefaults__)),
            walk.refer_named(vars(value)),
            _mentioned(walk, value, space, closed),
        ]
    )


def describe_code(walk: Walk, code: CodeType) -> str:
    """Describe compiled code, whatever the lines are that it stands on."""
    constants = [
        describe_code(walk, one) if isinstance(one, CodeType) else walk.refer(one) for one in code.co_consts
    ]
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    table = getattr(code, "co_exceptiontable", b"")
    return f"{sha256(code.co_code + table)} {shape} {names} {constants}"


def _mentioned(walk: Walk, function: Any, space: dict[str, Any], closed: Mapping[str, Any]) -> str:
    """Describe all that a user's function names outside of itself."""
    mentions = names_in(function.__code__)
    used = {name: space[name] for name in mentions.names if name in space and not SPECIAL.fullmatch(name)}
    # Names that are looked up by text may be any.
    by_text = mentions.names & {"getattr", "vars", "dir"} or "__dict__" in mentions.attributes
    modules = {name: one for name, one in {**used, **closed}.items() if is_a(one, ModuleType)}
    parts = [walk.refer_named({name: one for name, one in used.items() if name not in modules})]
    for name, module in sorted(modules.items()):
        whole = by_text and is_users(module)
        parts.append(f"{name}: {describe_namespace(walk, module, mentions.attributes, whole=whole)}")
    if "globals" in mentions.names:
        parts.append(walk.refer_named({k: v for k, v in space.items() if not SPECIAL.fullmatch(k)}))
    parts += [
        describe_import(walk, name, space.get("__package__") or "", mentions) for name in sorted(mentions.imports)
    ]
    if "import_module" in mentions.names | mentions.attributes or "__import__" in mentions.names:
        there = [module for text in sorted(mentions.texts) if (module := loaded(text)) is not None]
        parts += [describe_namespace(walk, module, mentions.attributes, whole=is_users(module)) for module in there]
        walk.known &= bool(there)
    # What a text says as code is known when it runs, not before.
    walk.known &= not any(name not in space and name in mentions.names for name in ("exec", "eval"))
    texts = mentions.texts | {value for value in used.values() if type(value) is str}
    if {"environ", "getenv", "environb"} & (mentions.names | mentions.attributes):
        parts += [f"{text}={os.environ[text]!r}" for text in sorted(texts) if text in os.environ]
    directory = Path(function.__code__.co_filename).parent
    parts += [f"{text!r} {content}" for text in sorted(texts) if (content := describe_file(text, directory))]
    return " ".join(parts)
