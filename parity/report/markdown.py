"""A run as Markdown for a pull request or a job's summary: short, with a bound, and a word on what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from parity.core.faults import Fault
from parity.core.results import Run
from parity.report.faults import named_faults
from parity.report.text import counted
from parity.report.view import Cause, RunView, SubjectView, make_view

# A comment on GitHub takes 65,536 characters, and whoever posts this adds a line or two.
MOST_CHARACTERS = 64_000
_SIGNS = {"pass": "✅", "fail": "❌", "error": "💥", "inconclusive": "❔", "skipped": "➖"}
_ANSWERS = {0: "✅", 1: "❌", 3: "❔"}
# What Markdown, or GitHub beyond it (mentions, issue numbers, emoji, formulas), could take for its own. An
# underscore inside a word is none of it, and names are full of them.
_SPECIAL = re.compile(r"[&<>|`*\[\]\\~$@#!:^{}\"'=]|(?<![^\W_])_|_(?![^\W_])|(?i:(?<=www)\.)")


def to_markdown(run: Run, most: int = MOST_CHARACTERS) -> str:
    """Write a run in at most `most` characters; what has no room is counted at the end."""
    view = make_view(run)
    head = f"### {_ANSWERS[view.exit_code]} coreml-parity: {view.told}\n"
    parts = (
        ("row", _rows(view)),
        ("pair of builds", _pairs(view)),
        ("explanation", _details(view)),
        ("remark", _remarks(view)),
        ("fault", [_described(fault) for fault in named_faults(view)]),
    )
    return bounded(head, parts, most, "results.json and the HTML report have all")


def data(text: str) -> str:
    """Show a name from outside: monospaced, and nothing in it is taken for Markdown, HTML, a mention or a link."""
    escaped = _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", text)
    return f"<code>{escaped}</code>" if escaped.strip() else "<code>&#32;</code>"


def block(lines: Iterable[str]) -> str:
    """Show lines from outside as they are.

    As HTML, for in a fence of Markdown a tag of theirs would stand as it is, and not everybody parses fences.
    """
    return f"<pre><code>{escape(chr(10).join(lines), quote=False)}\n</code></pre>\n"


def table(headings: Sequence[str], numeric: int = 0) -> str:
    """Write the head of a table; numeric: so many columns at the end hold numbers."""
    rules = ["---"] * (len(headings) - numeric) + ["--:"] * numeric
    return f"| {' | '.join(headings)} |\n| {' | '.join(rules)} |\n"


def row(cells: Iterable[str]) -> str:
    """Write a row of a table."""
    return f"| {' | '.join(cells)} |\n"


def bounded(head: str, parts: Iterable[tuple[str, Sequence[str]]], most: int, where: str) -> str:
    """Put pieces together until there is no more room, and say how many of each part are left out, and where.

    parts: what a piece of the part is called, and its pieces; one without a piece takes no room.
    """
    text, left_out = head, []
    room = most - len(head) - 400  # for the last line
    for name, pieces in parts:
        fitting = 0
        while fitting < len(pieces) and len(pieces[fitting]) <= room:
            room -= len(pieces[fitting])
            fitting += 1
        text += "".join(pieces[:fitting])
        if fitting < len(pieces):
            left_out.append(counted(len(pieces) - fitting, name))
    if left_out:
        text += f"\n*Left out for length: {', '.join(left_out)}; {where}.*\n"
    return text


def _rows(view: RunView) -> list[str]:
    """Write the table; of many subjects those that matter come first."""
    if not view.subjects:
        return []
    headings = (heading.replace("|", "\\|") for heading in view.headings)
    head = "\n" + table(("", "model", "route", "backend", "images", *headings, "allowed"), 4)
    # A row for each that is only skipped says less than the line below the table does.
    shown = [s for s in view.subjects if s.verdict != "skipped"]
    rows = [_row(s) for s in sorted(shown, key=lambda s: not s.attention)]
    return [head + rows[0], *rows[1:]] if rows else []


def _row(s: SubjectView) -> str:
    verdict = f"{_SIGNS[s.verdict]} {s.told}"
    names = (data(s.model), data(f"{s.way} ({s.precision})"), data(s.backend))
    numbers = (f"{s.images:,}" if s.images else "", s.top1, s.max_abs_diff_told, s.tolerance_told)
    return row((verdict, *names, *numbers))


def _pairs(view: RunView) -> list[str]:
    """Write the table of Core ML's and Core AI's builds."""
    if not view.migrations:
        return []
    headings = ("model", "one", "other", "images", view.headings[1].replace("|", "\\|"), "top-1 differs")
    head = f"\n**Core ML and Core AI: do the builds agree?**\n\n{table(headings, 3)}"
    rows = [
        row(
            (
                *(data(name) for name in (m.model, m.first, m.second)),
                *(f"{m.images:,}", m.max_abs_diff_told),
                f"{m.count:,} {data(m.changed)}" if m.changed else "0",
            )
        )
        for m in view.migrations
    ]
    return [head + rows[0], *rows[1:]]


def _details(view: RunView) -> list[str]:
    return [_detail(s) for s in sorted(view.subjects, key=lambda s: not s.matters) if s.explanation]


def _detail(s: SubjectView) -> str:
    where = f"{data(s.model)} by {data(s.way)} on {data(s.backend)}"
    text = f"\n<details><summary>{_SIGNS[s.verdict]} {where}: {s.told}</summary>\n\n{block(s.explanation)}"
    lines = [line for cause in s.causes for line in _cause(cause)]
    if s.divergence:
        lines.append(f"- First divergence: {data(s.divergence)}\n")
    if s.known:
        lines.append(f"- Known issue: {' '.join(data(part) for part in (s.known_reason, s.known_link) if part)}\n")
    return f"{text}{chr(10) if lines else ''}{''.join(lines)}\n</details>\n"


def _cause(cause: Cause) -> Iterator[str]:
    what, confirmation = ("Cause", f" ({data(cause.told)})") if cause.confirmed else ("Suspected", "")
    yield f"- {what}: {data(cause.fault)} {data(cause.message)}{confirmation}\n"
    if cause.fix:
        yield f"- Fix: {data(cause.fix)}\n"


def _described(fault: Fault) -> str:
    """Say what a fault is that was named above."""
    description = f"{data(fault.id)}: {escape(fault.title)}. {escape(fault.what)}"
    return f"\n{description} What to do: {data(fault.fix)}\n"


def _remarks(view: RunView) -> list[str]:
    return [f"\n{line}\n" for line in _lines(view)]


def _lines(view: RunView) -> Iterator[str]:
    for s in view.subjects:
        if s.gate:
            yield f"{_SIGNS[s.gate.verdict]} Accuracy of {data(s.title)}: {s.gate.verdict}: {escape(s.gate.told)}."
    if view.unreadable:
        yield view.unreadable + "."
    for s in view.subjects:
        if s.accuracy:
            first, second = (side[1] for side in s.accuracy.sides)
            yield f"{data(s.title)}: right on {first} of the images before, {second} after; {s.accuracy.change}."
            yield from (f"{data(s.title)}: {line}." for line in s.accuracy.selective)
    yield from (f"{data(s.title)}: {data(s.envelope)}" for s in view.subjects if s.envelope)
    yield from dict.fromkeys(
        f"{data(s.model)} by {data(s.way)}: {data(remark)}"
        for s in view.subjects
        if not s.explanation
        for remark in s.remarks
    )
    yield from (f"❌ Stale: {data(line)}" for line in view.stale)
    for group in view.skipped:
        yield f"➖ Skipped {len(group.legs)} × {data(group.backend)}: {data(group.reason)}"
    yield from (data(line) for line in view.recorded)
    if view.ties:
        yield f"{counted(view.ties, 'tie')}: another top-1, but the two labels are nearer than the tolerance."
