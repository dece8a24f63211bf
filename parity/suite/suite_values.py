"""Single values of a suite file: each function gives a value back, or a ValueError that says what is wrong."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

from pydantic import (
    ValidationInfo,
)

from conversion.errors import ConversionError
from conversion.own import FORMATS, PLACEHOLDERS
from conversion.routes import ROUTES, tell_unknown
from conversion.sources import KINDS
from conversion.variants import OPTIONS

# A directory is called after it.
CONVERTER_NAME = r"[A-Za-z][\w.-]*"


def known_route(name: str, info: ValidationInfo) -> str:
    known = [*ROUTES, *(info.context or ())]
    if name not in known:
        raise ValueError(tell_unknown(name, known))
    return name


def is_new_route(name: str) -> str:
    if name in ROUTES:
        raise ValueError(f"`{name}` is a route already; give the converter another name")
    if not re.fullmatch(CONVERTER_NAME, name):
        raise ValueError(
            f"a converter's name is of letters, digits, `_`, `-` and `.`, a letter first; not {name!r}"
        )
    return name


def has_colon(text: str) -> str:
    if ":" not in text:
        raise ValueError(f"a factory is {KINDS}")
    return text


def is_callable(text: str | None) -> str | None:
    if text is not None and not all(text.rpartition(":")[::2]):
        raise ValueError("a conversion is `file.py:callable` or `package.module:callable`")
    return text


def is_command(words: list[str] | None) -> list[str] | None:
    if words is None:
        return None
    try:
        names = [name for word in words for _, name, _, _ in string.Formatter().parse(word) if name is not None]
    except ValueError as error:
        raise ValueError(f"{error}; write {{{{ and }}}} for braces that are meant") from error
    if unknown := [name for name in names if name not in PLACEHOLDERS]:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise ValueError(f"{{{unknown[0]}}} stands for nothing; there are {known}")
    if "output" not in names:
        raise ValueError("{output}, the file that it is to write, stands in none of its words")
    return words


def is_model_file(pattern: str) -> str:
    if Path(pattern).suffix not in FORMATS:
        raise ValueError(f"{pattern} names no converted model; it ends in {', '.join(FORMATS)}")
    return pattern


def two_ends(bounds: list[Any] | None) -> list[Any] | None:
    ends = bounds if bounds is not None else [1, 1]
    pairs = all(isinstance(end, list) and len(end) == 2 and all(isinstance(n, int) for n in end) for end in ends)
    if len(ends) != 2 or not (pairs or all(isinstance(end, int) for end in ends)):
        raise ValueError(
            f"bounds are [fewest, most] images, or [[height, width], [height, width]] of sizes, not {bounds}"
        )
    return bounds


def is_range(text: str | None) -> str | None:
    if text is not None:
        from parity.suite.toolchain import requirement

        try:
            wanted = requirement(text)
        except ConversionError:
            wanted = None
        if wanted is None or not wanted.specifier or wanted.extras or wanted.marker or wanted.url:
            raise ValueError(f"`{text}` is no package with versions; give them as onnxruntime>=1.21,<1.25")
    return text


def says_something(text: str) -> str:
    # Spaces are no reason, nor are signs that nobody sees.
    if not any(sign.isprintable() and not sign.isspace() for sign in text):
        raise ValueError(f"{text!r} says nothing to a reader of the report; write what does")
    return text


def about(option: str) -> str:
    about = OPTIONS[option].about
    return f"{about[0].upper()}{about[1:]}."
