"""A calibration in the terminal: the noise, the proposals, then TOML to paste into the suite file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from parity.calibration.calibration import Calibration
from parity.calibration.proposals import FACTOR, Proposal, coverage
from parity.report.text import percent, small, visible

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"proposed": "green", "withheld": "yellow", "unmeasured": "dim"}
# Beyond, the labels of too many images are excused to be called judged.
_MANY_TIES = 0.1


def print_calibration(calibration: Calibration, console: Console) -> None:
    """Print what every source measured, what follows for every leg, what has to be said of it, and the TOML."""
    _print_noise(calibration, console)
    _print_proposals(calibration, console)
    for line in (*_remarks(calibration), _last_line(calibration)):
        console.print(visible(line), soft_wrap=True)
    if lines := list(toml_lines(calibration)):
        console.print()
    for line in lines:
        console.print(line, soft_wrap=True)


def _print_noise(calibration: Calibration, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("model", "noise: the largest |Δp| of an image"):
        table.add_column(heading, overflow="fold")
    for heading in ("images", "median", "largest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in calibration.models:
        for source in model.noises:
            sorted_ = sorted(source.differences)
            table.add_row(
                visible(model.name),
                f"{source.name}{' (does not enter)' if source.trouble else ''}",
                str(len(sorted_)) if sorted_ else "",
                small(sorted_[(len(sorted_) - 1) // 2]) if sorted_ else "",
                small(source.largest) if sorted_ else "",
            )
    console.print(table)


def _print_proposals(calibration: Calibration, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("model", "route", "backend"):
        table.add_column(heading, overflow="fold")
    for heading in ("noise", "proposal", "allowed today", "own distance", "ties"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("decided by", overflow="fold")
    for leg in calibration.proposals:
        proposal = small(leg.tolerance) if leg.tolerance is not None else leg.state
        table.add_row(
            visible(leg.model),
            f"{leg.route} ({leg.precision})",
            leg.backend,
            small(leg.noise),
            Text(proposal, _COLOURS[leg.state]),
            f"{small(leg.allowed_today)}{' (given)' if leg.given else ''}",
            small(leg.distance),
            "" if leg.ties is None else percent(leg.ties),
            leg.decided_by,
        )
    console.print(table)


def _remarks(calibration: Calibration) -> Iterator[str]:
    """Say how sure the numbers are, and what somebody has to look at."""
    proposed = [leg for leg in calibration.proposals if leg.noise is not None]
    yield from (f"{line}" for line in dict.fromkeys(coverage(leg.images, calibration.quantile) for leg in proposed))
    if proposed:
        yield (
            f"a proposal is {FACTOR:g} times the noise, for its sources may add up and other kernels round in "
            "another order; own distance: the artefact from PyTorch, which does not enter"
        )
    for model in calibration.models:
        yield from (
            f"{model.name}: does not enter: {one.name}: {one.trouble}" for one in model.noises if one.trouble
        )
    reasons: dict[str, list[str]] = {}
    for leg in calibration.proposals:
        if leg.state != "proposed":
            reasons.setdefault(f"{leg.state}: {leg.reason}", []).append(_where(leg))
        if leg.distance_reason:
            reasons.setdefault(f"no own distance: {leg.distance_reason}", []).append(_where(leg))
    yield from (f"{reason} ({', '.join(legs)})" for reason, legs in reasons.items())
    for leg in calibration.proposals:
        if leg.tolerance is None:
            continue
        if leg.distance is not None and leg.distance > leg.tolerance:
            yield (
                f"{_where(leg)}: its own distance, {small(leg.distance)}, is above the proposal, and `parity run` "
                "would fail with it: something other than this noise moves the answers"
            )
        if leg.ties is not None and leg.ties > _MANY_TIES:
            yield (
                f"{_where(leg)}: on {percent(leg.ties)} of the images the two most probable classes are within "
                "twice the proposal: another label there would count as a tie"
            )


def _where(leg: Proposal) -> str:
    return f"{leg.model} by {leg.route}{f' on {leg.backend}' if leg.backend != '-' else ''}"


def _last_line(calibration: Calibration) -> str:
    states = [leg.state for leg in calibration.proposals]
    counts = ", ".join(f"{states.count(state)} {state}" for state in _COLOURS if state in states)
    return f"{'proposals made' if calibration.exit_code == 0 else 'nothing can be proposed'}: {counts or 'no legs'}"


def toml_lines(calibration: Calibration) -> Iterator[str]:
    """Write the proposals as tables of the suite file: one for each model and route, the widest of its backends.

    A route whose noise on one backend is too large to be allowed gets none.
    """
    routes: dict[tuple[str, str], list[Proposal]] = {}
    for leg in calibration.proposals:
        routes.setdefault((leg.model, leg.route), []).append(leg)
    for (model, route), legs in routes.items():
        proposed = [leg for leg in legs if leg.tolerance is not None]
        if proposed and not any(leg.state == "withheld" for leg in legs):
            widest = max(proposed, key=lambda leg: leg.tolerance or 0)
            yield from _comments(widest, legs, calibration.quantile)
            yield f"[models.{_key(model)}.tolerance.{_key(route)}]"
            yield f"probability = {widest.tolerance:g}"
            yield ""


def _comments(widest: Proposal, legs: Sequence[Proposal], quantile: float) -> Iterator[str]:
    noise = f"{small(widest.noise)}, {widest.decided_by}"
    yield f"# {widest.precision}: {FACTOR:g} times the noise ({noise}), rounded up."
    yield f"# {coverage(widest.images, quantile)}."
    yield f"# Measured: {'; '.join(widest.sources)}."
    absent = [leg.backend for leg in legs if leg.state == "unmeasured"]
    if absent:
        yield f"# Not measured: {', '.join(absent)}. The tolerance holds for them all the same."
    if widest.given:
        yield f"# In the place of the {widest.allowed_today:g} that stands in the file."


def _key(name: str) -> str:
    """Quote what is no bare key of TOML."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    shown = (f"\\{c}" if c in '"\\' else c if c.isprintable() else rf"\U{ord(c):08x}" for c in name)
    return f'"{"".join(shown)}"'
