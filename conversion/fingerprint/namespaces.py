"""How modules of code are described: by those of their names that some code mentions, as they are loaded now."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from conversion.fingerprint.installed import file_of_module, is_users, release_of, release_of_module
from conversion.fingerprint.mentions import Names, describe_file, find_source, names_in
from conversion.fingerprint.stored import is_a, loaded, namespace
from conversion.fingerprint.values import SPECIAL, file_text
from conversion.fingerprint.walk import Walk


def describe_namespace(
    walk: Walk,
    module: ModuleType,
    wanted: frozenset[str] = frozenset(),
    whole: bool = False,
    above: frozenset[int] = frozenset(),
) -> str:
    """Describe a module by those of its names that are wanted.

    whole: by all of its names. above: ids of the modules that it is held by.
    """
    above = above | {id(module)}
    file, release, space = file_of_module(module), release_of_module(module), namespace(module) or {}
    if release is None:
        if file is not None and not file.endswith(".py"):  # compiled
            return describe_file(file)
        walk.enter(file, space)
    parts = []
    for name in sorted(space if whole else wanted & space.keys()):
        value = space[name]
        if is_a(value, ModuleType):
            inside = describe_namespace(walk, value, wanted, False, above) if id(value) not in above else ""
            # An unchanged part of the same release says nothing, and may be imported only when it is used.
            if inside and (release is None or inside != f"{release} {{}}"):
                parts.append(f"{name}: {inside}")
        elif not SPECIAL.fullmatch(name) and (release is None or is_users(value)):
            parts.append(f"{name}: {walk.refer(value)}")
    return f"{release or ''} {{{', '.join(parts)}}}"


def describe_import(walk: Walk, name: str, package: str, mentions: Names) -> str:
    """Describe a module that a function imports."""
    try:
        module = loaded(importlib.util.resolve_name(name, package))
    except ImportError:
        return ""
    if module is not None:
        return describe_namespace(walk, module, mentions.names | mentions.attributes)
    _count_unloaded(walk, name, package)
    return ""


def _count_unloaded(walk: Walk, name: str, package: str) -> None:
    """Count the text of a module that has not been used yet, but may be, and of those that it imports."""
    located = find_source(name, package)
    if located is None or located[1] in walk.sources or release_of(located[1]) is not None:
        return
    full, file = located
    walk.enter(file, None)
    try:
        code = compile(file_text(file), file, "exec")
    except (SyntaxError, ValueError):
        return
    inside = full if file.endswith("__init__.py") else full.rpartition(".")[0]
    for other in sorted(names_in(code).imports):
        _count_unloaded(walk, other, inside)
