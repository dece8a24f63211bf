"""What the commands share: options that mean the same everywhere, and what is refused before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

SUITE = click.argument("suite", type=click.Path(path_type=Path), required=False)
MODEL = click.option("--model", "models", multiple=True, help="Only this model of the suite; repeatable.")
ROUTE = click.option("--route", "routes", multiple=True, help="Only this route; repeatable.")
BACKEND = click.option("--backend", "backends", multiple=True, help="Only this backend; repeatable.")
ARTIFACTS = click.option(
    "--artifacts",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".parity"),
    show_default=True,
    help="Where converted models are kept between runs.",
)
IMAGES = click.option("--images", multiple=True, required=True, help="Image, directory or glob; repeatable.")


def json_option(what: str) -> Callable[[_Command], _Command]:
    """Make the option --json of a command; what: that it writes."""
    return click.option("--json", "json_file", type=click.Path(path_type=Path), help=f"Write {what} here.")


def check_writable(path: Path | None) -> None:
    """Refuse a place that cannot be written to before the work, not after."""
    from parity.errors import ParityError

    if path is not None and not path.resolve().parent.is_dir():
        raise ParityError(f"{path}: the directory does not exist; create it first")
    if path is not None and path.is_dir():
        raise ParityError(f"{path}: is a directory; give the name of a file")
