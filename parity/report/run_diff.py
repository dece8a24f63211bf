"""What changed between two runs, in the terminal and as Markdown: a table, then the reasons and the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.report.markdown import MOST_CHARACTERS, bounded, data, row, table
from parity.report.text import counted, small, visible
from parity.versions.run_diff import ImageChange, RunDiff, SubjectDiff

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"worse": "red", "better": "green", "changed": "yellow", "same": "", "new": "", "gone": "yellow"}
_SIGNS = {"worse": "❌", "better": "✅", "changed": "🔸", "same": "➖", "new": "🆕", "gone": "🗑️"}
_HEADINGS = ("model", "route", "backend", "before", "now", "max |Δp| before", "now")
_LISTED = 8  # images of one subject; the JSON file has them all


def print_run_diff(diff: RunDiff, console: Console) -> None:
    """Print what changed; what did not is counted."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("", no_wrap=True)
    for heading in _HEADINGS[:5]:
        shown.add_column(heading, overflow="fold")
    for heading in _HEADINGS[5:]:
        shown.add_column(heading, justify="right", no_wrap=True)
    for s in _listed(diff):
        shown.add_row(Text(s.verdict, "red" if s.worse else _COLOURS[s.verdict]), *_cells(s))
    if shown.row_count:
        console.print(shown)
    for s in _listed(diff):
        for line in _details(s):
            console.print(line, soft_wrap=True)
    for line in (*_environment(diff), *(visible(stale) for stale in diff.stale), last_line(diff)):
        console.print(line, soft_wrap=True)


def diff_to_markdown(diff: RunDiff, most: int = MOST_CHARACTERS) -> str:
    """Write what changed in at most `most` characters."""
    sign = {0: "✅", 1: "❌", 3: "❔"}[diff.exit_code]
    rows = [_row(s) for s in _listed(diff)]
    if rows:
        rows[0] = "\n" + table(("", *(heading.replace("|", "\\|") for heading in _HEADINGS)), 2) + rows[0]
    details = [
        f"\n<details><summary>{_title(s)}</summary>\n\n{''.join(lines)}\n</details>\n"
        for s in _listed(diff)
        if (lines := [f"- {data(line.strip())}\n" for line in _details(s)][1:])
    ]
    remarks = [f"\n{data(line)}\n" for line in (*_environment(diff), *(visible(stale) for stale in diff.stale))]
    parts = (("row", rows), ("explanation", details), ("remark", remarks))
    return bounded(
        f"### {sign} coreml-parity compare-runs: {last_line(diff)}\n", parts, most, "the JSON file has all"
    )


def last_line(diff: RunDiff) -> str:
    """Say in a line whether anything got worse."""
    answers = {0: "nothing got worse", 1: "something got worse", 3: "nothing was judged in both runs"}
    counts = ", ".join(f"{count} {verdict}" for verdict, count in diff.summary.items() if count)
    return f"{answers[diff.exit_code]}: {counts or 'no subjects'}"


def _listed(diff: RunDiff) -> list[SubjectDiff]:
    return sorted((s for s in diff.subjects if s.verdict != "same"), key=lambda s: not s.worse)


def _cells(s: SubjectDiff) -> tuple[str, ...]:
    names = (visible(s.model), visible(s.way), visible(s.backend))
    return (*names, s.old_verdict or "", s.new_verdict or "", small(s.old_max_abs_diff), small(s.new_max_abs_diff))


def _row(s: SubjectDiff) -> str:
    cells = _cells(s)
    return row((f"{_SIGNS[s.verdict]} {s.verdict}", *(data(cell) for cell in cells[:3]), *cells[3:]))


def _title(s: SubjectDiff) -> str:
    return f"{_SIGNS[s.verdict]} {data(visible(s.model))} by {data(visible(s.way))} on {data(visible(s.backend))}"


def _details(s: SubjectDiff) -> Iterator[str]:
    """Give a line that names the subject, then what changed, where there is anything to tell."""
    lines = [f"  {visible(note)}" for note in s.notes]
    for image in sorted(s.images, key=lambda image: not image.worse)[:_LISTED]:
        lines.append(f"  {_image(image)}")
    if len(s.images) > _LISTED:
        lines.append(f"  and {counted(len(s.images) - _LISTED, 'other image')}")
    if lines:
        yield f"{visible(s.model)} by {visible(s.way)} on {visible(s.backend)}: {s.verdict}"
        yield from lines


def _image(change: ImageChange) -> str:
    if change.old is None:
        return f"new image {visible(change.image)}: {change.new}"
    if change.new is None:
        return f"image gone {visible(change.image)}: {change.old}"
    return f"{visible(change.image)}: {change.old} -> {change.new}"


def _environment(diff: RunDiff) -> Iterator[str]:
    for name, (was, is_) in diff.environment.items():
        yield f"{visible(name)}: {visible(was) or 'none'} -> {visible(is_) or 'none'}"
