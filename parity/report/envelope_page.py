"""An envelope as a page and as Markdown: verdict, arithmetics, what follows, and the range of each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from parity.core.envelope import Envelope, EnvelopeCase, EnvelopeVerdict
from parity.report.envelope import MEANING, RISK, headline, lines, summary, worst_first
from parity.report.html import content_policy, page, template
from parity.report.markdown import MOST_CHARACTERS, block, bounded, data, row, table
from parity.report.text import compact, counted, visible

if TYPE_CHECKING:
    from parity.envelope.envelope_file import EnvelopeFile

# Images whose ranges the page shows; the JSON file has all.
SHOWN = 60
_COLUMNS = ("arithmetic", "what it is", "source", "max |Δp|", "other label")
_MARKS: Mapping[EnvelopeVerdict, str] = {"safe": "✅", "sensitive": "⚠️", "unsafe": "❌", "inconclusive": "❔"}
# What a verdict looks like: the sign, and the colour of one of a run's verdicts.
_SEALS: Mapping[EnvelopeVerdict, tuple[str, int, str]] = {
    "safe": ("✓", 0, "pass"),
    "sensitive": ("≈", 3, "tie"),
    "unsafe": ("✗", 1, "fail"),
    "inconclusive": ("?", 3, "inconclusive"),
}


def to_html(file: EnvelopeFile) -> str:
    """Write an envelope as a page that needs nothing else."""
    envelope, style = file.envelope, template("run.css")
    cases = worst_cases(envelope)
    return page("envelope.html.j2").render(
        file=file,
        envelope=envelope,
        seal=_SEALS[envelope.verdict],
        meaning=MEANING[envelope.verdict],
        risk=RISK,
        summary=summary(envelope),
        columns=_COLUMNS,
        lines=[visible(line) for line in lines(envelope)],
        cases=cases[:SHOWN],
        left_out=counted(len(cases) - SHOWN, "other image") if len(cases) > SHOWN else "",
        style=style,
        policy=content_policy(style, ""),
    )


def to_markdown(file: EnvelopeFile, most: int = MOST_CHARACTERS) -> str:
    """Write an envelope in at most `most` characters; what has no room is counted at the end."""
    envelope = file.envelope
    told = headline(f"{file.model} as {file.artifact}", envelope)
    heads = [heading.replace("|", "\\|") for heading in _COLUMNS]
    rows = [
        row((data(one.name), one.title, one.basis, compact(one.max_abs_diff) or "–", f"{one.other_labels:,}"))
        for one in envelope.variants
    ]
    if rows:
        rows[0] = f"\n{table(heads, 2)}{rows[0]}"
    parts = (("arithmetic", rows), ("line", [f"\n{block(found)}"] if (found := list(lines(envelope))) else []))
    head = f"### {_MARKS[envelope.verdict]} coreml-parity: on hardware {envelope.verdict}\n\n{data(told)}\n"
    return bounded(head, parts, most, "the JSON file has all")


def worst_cases(envelope: Envelope) -> Sequence[EnvelopeCase]:
    """Order all images, the one that moves most first."""
    return sorted(envelope.cases, key=worst_first)
