"""`parity clean`: what converted models and environments of tool chains take, and how to be rid of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.commands.options import ARTIFACTS, Finite

if TYPE_CHECKING:
    from parity.versions.cache import Kept

# As parity.versions.cache.CHOICES, which the help need not load.
_CHOICES = ("all", "environments", "artifacts", "older-than")


@click.command("clean")
@click.option(
    "--free",
    "choice",
    type=click.Choice(_CHOICES),
    help="Remove these; without it they are listed, and nothing is removed.",
)
@click.argument("days", type=Finite(min=0), required=False)
@ARTIFACTS
def clean(choice: Any, days: float | None, artifacts: Path) -> int:
    """List what converted models and environments of tool chains take, and free it.

    DAYS: of `--free older-than DAYS`. Only what this command lists is ever removed: what `parity` made itself,
    below the directory of artefacts. Whatever is missed is made again. Exit codes: 0 done, 2 something could not
    go, or the input is bad.
    """
    if (choice == "older-than") != (days is not None):
        raise click.UsageError("DAYS goes with --free older-than, and that with DAYS: --free older-than 30")
    from parity.report.text import visible
    from parity.versions.cache import free, kept, to_free

    listed = kept(artifacts)
    if choice is None:
        for line in _listing(listed, artifacts):
            click.echo(visible(line))
        return 0
    gone, left = free(to_free(listed, choice, days, time.time()))
    click.echo(visible(f"{artifacts}: removed {_told(gone)}; {_told(kept(artifacts))} left"))
    for line in left:
        click.echo(f"parity: {visible(line)}", err=True)
    return 2 if left else 0


def _listing(listed: Sequence[Kept], artifacts: Path) -> Iterator[str]:
    yield f"{artifacts}: {_told(listed)}"
    for kind, title in (("environment", "environments of tool chains"), ("artifact", "converted models")):
        if own := [one for one in listed if one.kind == kind]:
            yield f"{title}: {_told(own)}"
            for one in own:
                made = datetime.fromtimestamp(one.made).strftime("%Y-%m-%d")
                yield f"  {_size(one.size):>8}  {made}  {one.path.relative_to(artifacts)}"
    if listed:
        yield "parity clean --free all, environments, artifacts or older-than DAYS removes them"


def _told(listed: Sequence[Kept]) -> str:
    return f"{len(listed)} of {_size(sum(one.size for one in listed))}" if listed else "nothing"


def _size(size: int) -> str:
    """Write a size with a unit that gives it at most three digits before the point."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.95:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
