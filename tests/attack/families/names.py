"""Names that a page, a terminal or a pull request would take for something else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.attack.attack import ANY, Attack, Outcome
from tests.attack.place import SUITE

REPORTS = ("--html", "new.html", "--markdown", "new.md", "--junit", "new.xml", "--json", "new.json")
NAMES = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "entity": "&lt;b&gt; &amp;",
    "table": "a | b | c",
    "code": "`` ` ``` x",
    "link": "[x](javascript:alert(1))",
    "heading": "# x",
    "line": "two\nlines",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "right to left": "\u202egnp.exe",
    "quotes": "\"'><x y='",
    "CDATA": "]]></failure><x/>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "long": "x" * 100_000,
    "surrogate": "\\udc80",
}


def _label(place: Path, name: str) -> None:
    path = place / "models.py"
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace('"ant"', repr(name)), encoding="utf-8")


def _picture(place: Path, name: str) -> None:
    shutil.copy(place / "pictures/picture0.png", place / "pictures" / (name + ".png"))


def _model(place: Path, name: str) -> None:
    quoted = '"' + "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in name) + '"'
    (place / "parity.toml").write_text(SUITE.replace("[models.tiny]", f"[models.{quoted}]"), encoding="utf-8")


def _nothing_live(place: Path, outcome: Outcome) -> str:
    """Look for tags that a name brought, in what is shown as a page."""
    for report in ("new.html", "new.md"):
        path = place / report
        if path.exists():
            text = path.read_text(encoding="utf-8")
            for tag in ("<script>alert", "<img src=x", "<x y=", "</failure><x/>"):
                if tag in text:
                    return f"{report} holds {tag}"
            if report == "new.md" and "](javascript:" in text.replace("\\]", "").replace("\\(", ""):
                return "new.md holds a link of a name"
    for stream in (outcome.output, outcome.errors):
        if "\x1b]0;" in stream or "\x1b[31mred" in stream:
            return "the terminal is told what a name says"
    return ""


def attacks() -> Iterator[Attack]:
    """Give every name to a label, a picture and a model."""
    for what, name in NAMES.items():
        words = ("parity", "run", "--no-explain", *REPORTS)
        yield Attack(f"names/label {what}/run", words, partial(_label, name=name), ANY, ("new*",), _nothing_live)
        yield Attack(f"names/model {what}/run", words, partial(_model, name=name), ANY, ("new*",), _nothing_live)
        if len(name) < 200 and "/" not in name:
            trap = partial(_picture, name=name)
            yield Attack(f"names/picture {what}/run", words, trap, ANY, ("new*",), _nothing_live)
