"""A plan -> parity.toml, with a comment in plain words on every line that decides something."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from parity.core.errors import ParityError
from parity.starting.files import MARK

if TYPE_CHECKING:
    from conversion.contract import Contract
    from parity.starting.finished import Finished
    from parity.starting.plan import Plan


def suite_text(plan: Plan) -> str:
    """Write the suite file. Raises ParityError for a name that is not UTF-8, which no TOML file can hold."""
    return "\n".join(_lines(plan)) + "\n"


def quoted(text: str) -> str:
    """Write a text as a string of TOML. Raises ParityError for half a character (a lone surrogate)."""
    if lone := re.search("[\ud800-\udfff]", text):
        raise ParityError(f"{text!r}: {lone[0]!r} is not UTF-8, and a suite file can hold no such name: rename it")
    # JSON's strings are TOML's, but for one sign that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{MARK}; yours to change. `parity run` runs it, and so does pytest."
    yield ""
    yield "# What every file is shown: images, directories or globs, relative to this file. Photos of several"
    yield "# classes prove most; noise, or one class alone, proves nothing."
    yield f"images = {_list(plan.images)}"
    yield ""
    yield f"[models.{_key(plan.model.classifier.name)}]"
    yield "# The function that returns the PyTorch model. Every file is compared with its answers."
    yield f"factory = {quoted(plan.factory)}"
    if plan.routes:
        yield "# How it is converted, each way into a file of its own; `parity routes` lists all ways."
        yield f"routes = {_list(plan.routes)}"
    if plan.finished:
        yield "# Finished files. Without `routes` nothing is converted: these are compared as they are."
        yield "artifacts = ["
        for finished in plan.finished:
            yield from (f"    # {line}" for line in textwrap.wrap(finished.about, 96))
            yield f"    {_entry(finished)},"
        yield "]"


def _entry(finished: Finished) -> str:
    if finished.stated is None:
        return quoted(finished.path)
    return f"{{ {', '.join([f'path = {quoted(finished.path)}', *_statements(finished.stated)])} }}"


def _statements(contract: Contract) -> Iterator[str]:
    yield f"inside = {_list(contract.inside)}"
    if contract.range != "0..255":
        yield f"range = {quoted(contract.range)}"
    if contract.layout:
        yield f"layout = {quoted(contract.layout)}"
    if contract.output:
        yield f"output = {quoted(contract.output)}"


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)
