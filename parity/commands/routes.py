"""`parity routes`: the ways to convert, ours and a suite's own, and what a variant of ours may say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from conversion.recipe import Route
    from parity.suite.suite import Suite


@click.command("routes")
@click.argument("suite", type=click.Path(path_type=Path), required=False)
def routes(suite: Path | None) -> int:
    """List our routes, the routes of a suite file, and the options of a variant with their valid values.

    SUITE: a suite file, or a directory with parity.toml; by default the one that is here, if there is one.
    """
    from parity.core.errors import ParityError
    from parity.report.text import visible
    from parity.suite.suite import find_suite, read_suite

    try:
        path: Path | None = find_suite(suite)
    except ParityError:  # nobody named one, and none is here
        path = None
    for line in list_routes(read_suite(path) if path else None):
        click.echo(visible(line))
    return 0


def list_routes(suite: Suite | None) -> Iterator[str]:
    """List what `parity routes` prints, a line each."""
    from conversion.routes import ROUTES

    yield "our routes:"
    yield from _table(ROUTES.values())
    if suite:
        own = {route.name: route for entry in suite.models for route in entry.converters.values()}
        yield f"routes of {suite.path}:" if own else f"routes of {suite.path}: none of its own"
        yield from _table(own.values())
    yield from _options()


def _table(listed: Iterable[Route]) -> Iterator[str]:
    rows = [(route.name, route.format, route.precision or "", route.about) for route in listed]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _options() -> Iterator[str]:
    from conversion.variants import OPTIONS, bases

    yield "a variant of a route of ours, in a suite file:"
    yield "  [converters.small]"
    yield f'  base = "{bases("keep_fp32")[0]}"'
    for name, option in OPTIONS.items():
        yield f"  {option.example}"
        yield f"      {option.about}; of {', '.join(bases(name))}"
        yield from (f"      {values}" for values in option.values)
