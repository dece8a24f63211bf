"""How data from outside is shown: what a reader cannot see is spelt out, what is endless is cut."""

from __future__ import annotations

import math
import re

# Control characters, what turns the direction of writing, what has no width, halves of surrogate pairs, and what is
# no character. The joiner U+200D stays: families and flags among the emoji need it.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Spell out what would be invisible, break the line or turn it around: `\\n`, `\\u202e`."""
    return _HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def visible_lines(text: str) -> tuple[str, ...]:
    """Split at line ends, and spell out the rest."""
    return tuple(visible(line) for line in text.split("\n"))


def clipped(text: str, most: int) -> str:
    """Leave out the middle of what is longer than `most` characters."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[len(text) - half :]}"


def percent(share: float) -> str:
    """Round down: 100% is said of all images alone. The millionth keeps 29 of 100 from becoming 28%."""
    return f"{math.floor(100 * share + 1e-6)}%"


def small(number: float | None) -> str:
    """Write a difference or a tolerance in a column; nothing where there is none."""
    return "" if number is None else f"{number:.1e}"


def compact(number: float | None) -> str:
    """Write a difference in running text: 0.91, 0.0085, 1.9e-06; nothing where there is none."""
    return "" if number is None else f"{number:.2g}"


def probability(number: float | None) -> str:
    """Write a probability with four digits behind the point; a dash where it is not finite."""
    return "–" if number is None else f"{number:.4f}"


def counted(number: int, singular: str, plural: str = "") -> str:
    """Write a number with its noun: `1 image`, `12,000 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
