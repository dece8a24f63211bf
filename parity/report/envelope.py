"""An envelope in words, for the terminal and for Markdown: the same lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.core.envelope import Advice, Envelope, EnvelopeCase, HeldRecord
from parity.report.text import compact, counted, percent, probability, visible

if TYPE_CHECKING:
    from rich.console import Console

# A verdict's meaning; docs/reference/verdicts.md has the definitions.
MEANING = {
    "safe": "no arithmetic moves a probability by more than is allowed, or gives another label",
    "sensitive": "a probability may move by more than is allowed, or a tie fall to the other side; no label flips",
    "unsafe": "hardware may answer another label, beyond a tie",
    "inconclusive": "nothing can be said of hardware",
}
RISK = "a model of risk: no record from a device has confirmed it so far"
# What is printed; the JSON file has all.
IMAGES = 5


def print_envelope(name: str, envelope: Envelope, console: Console) -> None:
    """Print the arithmetics as a table, then what follows from them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("arithmetic", "what it is"):
        table.add_column(heading, overflow="fold")
    table.add_column("source", no_wrap=True)
    for heading in ("max |Δp|", "other label"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in envelope.variants:
        table.add_row(one.name, one.title, one.basis, compact(one.max_abs_diff) or "–", str(one.other_labels))
    console.print(table)
    for line in (*lines(envelope), headline(name, envelope)):
        console.print(line, soft_wrap=True)


def told_envelope(envelope: Envelope | None) -> str:
    """Sum an envelope up beside a comparison; nothing where there is none."""
    if envelope is None:
        return ""
    named = ", ".join(visible(one.operation) for one in envelope.contributions)
    from_ = f"; most of it comes from {named}" if named else ""
    return f"on hardware {envelope.verdict}, by {RISK}: {summary(envelope)}{from_}"


def headline(name: str, envelope: Envelope) -> str:
    """Sum an envelope up in a line."""
    cost = f"; {envelope.cost:.1f} evaluations' time" if envelope.cost is not None else ""
    return f"{visible(name)}: {envelope.verdict}: {MEANING[envelope.verdict]}; {summary(envelope)}{cost} ({RISK})"


def summary(envelope: Envelope) -> str:
    """Say how far answers move, and how many images change their label."""
    other = round(envelope.unsafe_share * envelope.images)
    kept = f"{percent(1 - envelope.unsafe_share)} of {counted(envelope.images, 'image')} keep their label"
    largest = compact(envelope.max_abs_diff) or "not finite"
    return f"{kept}, {other} not; max |Δp| {largest} of {envelope.tolerance:g} allowed"


def lines(envelope: Envelope) -> Iterator[str]:
    """Say why, at which images, at which operations, what to do, and what records say."""
    if envelope.reason:
        yield visible(envelope.reason)
    moving = [case for case in envelope.cases if case.verdict != "match"]
    for case in sorted(moving, key=worst_first)[:IMAGES]:
        yield f"  {told_case(case)}"
    for one in envelope.contributions:
        where = f"operation {one.index + 1} of {one.of}, {visible(one.operation)} ({one.type})"
        changed = _change(one.before, one.after)
        yield f"  {where}: {changed} once it is computed as the file declares, under {envelope.worst}"
    yield from (f"  to do: {visible(_told_advice(advice))}" for advice in envelope.advice)
    for record in envelope.records:
        yield from _record(record)


def worst_first(case: EnvelopeCase) -> float:
    """Order images: without a finite answer first, then by how far they move."""
    return -1.0 - (len(case.labels) > 1) if case.max_abs_diff is None else -case.max_abs_diff


def told_case(case: EnvelopeCase) -> str:
    """Say what may become of an image."""
    band = next((band for band in case.bands if band.label == case.label), None)
    where = f" {probability(band.low)} to {probability(band.high)}" if band else ""
    others = f", or {', '.join(map(visible, case.labels[1:]))}" if len(case.labels) > 1 else ""
    return f"image {visible(case.image)} ({case.verdict}): {visible(case.label)}{where}{others}"


def _change(before: float | None, after: float | None) -> str:
    return f"|Δp| {compact(before) or 'not finite'} becomes {compact(after) or 'not finite'}"


def _told_advice(advice: Advice) -> str:
    flips = f", flips {advice.flips_before} to {advice.flips_after}" if advice.flips_before else ""
    return f"{advice.what} ({_change(advice.before, advice.after)}{flips})"


def _record(record: HeldRecord) -> Iterator[str]:
    nearest = ", ".join(f"{one.name} ({compact(one.max_abs_diff) or '–'})" for one in record.nearest[:3])
    where = f"record of {visible(record.recorded_by)}"
    if record.inside:
        yield f"{where}: inside, on all of {counted(record.images, 'image')}; nearest are {nearest}"
        return
    first = record.outside[0]
    at = f"{len(record.outside)} of {counted(record.images, 'image')}, {visible(first.image)} first"
    band = f"{probability(first.low)} to {probability(first.high)}"
    said = f"{visible(first.label)} at {probability(first.recorded)}"
    yield f"{where}: outside at {at}: {said}, and no arithmetic leaves {band}; nearest are {nearest}"
    yield "  an answer outside is the strongest sign of a fault in the app or in the runtime: look there first"
