"""Class names in any script, as a classifier may have them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from parity.core.errors import ParityError

# Names that formats and reports get wrong first. Some tell classes apart by very little; those stand together.
_PECULIAR: Sequence[Sequence[str]] = (
    ("\u00e9t\u00e9", "e\u0301te\u0301"),  # one text in two normalisation forms: NFC and NFD
    ("\u212b", "\u00c5", "A\u030a"),  # the Angstrom sign is a third
    ("\ufb01n", "fin"),  # alike only by compatibility
    ("stra\u00dfe", "strasse", "STRASSE"),
    ("cat", " cat", "cat ", "\u00a0cat", "cat\n", "cat\t", "c\u200bat"),
    ("sea\nlion", "sea\r\nlion", "sea\rlion", "sea\u2028lion", "sea lion"),
    ("\u05db\u05dc\u05d1", "\u0643\u0644\u0628", "\u202egod", "\u200fdog"),  # right to left, and made so
    ("\U0001f431", "\U0001f431\ufe0f", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea"),
    ("\u732b", "\U00020bb7", "\U0010ffff", "\uffff", "\ufeffcat"),
    ("q\u0323\u0307", "q\u0307\u0323", "z\u0335\u0321\u031b\u0300\u0301\u0302"),  # stacks of combining marks
    ('a "tabby"', "cat's", "maillot, tank suit", "a\\b", "C:\\new", "<b>&amp;</b>", "]]>", "`x`"),
    ("[red]fox[/red]", ":cat:", "{0}", "%s", "$HOME", "\x1b[31mred", "\x07", "\x7f", "--", "#", "="),
    ("0", "00", "1", "-1", "1.0", "true", "null", "nan", "None", "[]", '["n1", "tench"]', "crane (1)"),
    ("classLabel", "classLabelProbs", "image", "class 0", "background"),
    ("x" * 300,),
)

# A file is UTF-8, which has no lone surrogates; NUL is what check_labels refuses.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


def labels(count: int | None = None) -> SearchStrategy[tuple[str, ...]]:
    """Draw lists of class names that conversion.labels.check_labels accepts: unique, not blank, in any Unicode.

    count: how many; None draws lists of 1 to 12.
    """
    if count is not None and count < 1:
        raise ParityError(f"labels: count is {count}; a classifier has at least one class")
    return _labels(1 if count is None else count, 12 if count is None else count)


@st.composite
def _labels(draw: DrawFn, least: int, most: int) -> tuple[str, ...]:
    # Few families per list, so that the names in it that hardly differ meet each other.
    families = draw(st.lists(st.sampled_from(_PECULIAR), max_size=3))
    peculiar = [name for family in families for name in family]
    name = st.one_of(_TEXT, st.sampled_from(peculiar)) if peculiar else _TEXT
    names = st.lists(name.filter(str.strip), min_size=least, max_size=most, unique=True)
    return tuple(draw(names))
