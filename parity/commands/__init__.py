"""What the commands share: options that mean the same everywhere, and what is refused before the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from parity.results import Run

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
NO_EXPLAIN = click.option("--no-explain", is_flag=True, help="Do not look for the causes of what fails.")


class Finite(click.FloatRange):
    """Take a number of a range; click's own lets NaN pass, which is in none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no number, then what is outside."""
        number = click.FLOAT.convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is in no range; give a number in the range {self._describe_range()}.")
        return super().convert(value, param, ctx)


def _scale(context: click.Context, parameter: click.Parameter, factor: float) -> float:
    """Refuse a factor before the work, also where nothing would have been multiplied by it."""
    from parity.tolerance import check_scale

    check_scale(factor)
    return factor


SCALE = click.option(
    "--tolerance-scale",
    type=float,
    default=1.0,
    callback=_scale,
    help="Multiply every tolerance: 0.5 looks twice as close.",
)


def _limit_time(context: click.Context, parameter: click.Parameter, seconds: float | None) -> None:
    """Let the limit hold for as long as the command works."""
    from parity.backends import limited

    context.with_resource(limited.time_limit(limited.DEFAULT if seconds is None else seconds))


TIME_LIMIT = click.option(
    "--time-limit",
    type=float,
    metavar="SECONDS",
    expose_value=False,
    callback=_limit_time,
    help="What an artefact may take on a backend before it is ended, and an error: to be loaded and to answer, "
    "with `run --images` a batch at a time.  [default: 600, and 10 for each image]",
)
# As parity.backends.feeding.MOST_AT_ONCE.
AT_ONCE = click.IntRange(1, 2**31 - 1)
# Where a command's context keeps the files that it began to make.
_BEGUN = "parity.commands.begun"
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


def begin_work(*files: Path | None) -> None:
    """Mark the files that the command is to write as unfinished until it returns; None: not asked for."""
    from parity.unfinished import mark_unfinished

    mark_unfinished(files)
    click.get_current_context().meta.setdefault(_BEGUN, []).extend(files)


def end_work(context: click.Context) -> None:
    """Remove the marks of what a command wrote that has returned."""
    from parity.unfinished import mark_finished

    mark_finished(context.meta.get(_BEGUN, ()))


@dataclass(frozen=True)
class Reports:
    """Name the files that a run is to be written to; None: not asked for."""

    json: Path | None = None
    html: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None

    @property
    def files(self) -> list[Path]:
        """List those that were asked for."""
        return [path for path in (self.json, self.html, self.junit, self.markdown) if path is not None]

    def check(self) -> None:
        """Refuse what cannot be written, and one file for two reports, before the work."""
        from parity.errors import ParityError

        for path in self.files:
            check_writable(path)
        if len({path.resolve() for path in self.files}) < len(self.files):
            raise ParityError("two reports go to one file; give each a file of its own")

    def write(self, found: Run, thumbnails: Mapping[str, str] | None = None) -> None:
        """Write each report that was asked for. thumbnails: for the page, where the run has none."""
        if self.json:
            from parity.results import to_json

            self.json.write_text(to_json(found), encoding="utf-8")
        if self.html:
            from parity.report.html import to_html

            shown = found if thumbnails is None else replace(found, thumbnails=thumbnails)
            self.html.write_text(to_html(shown), encoding="utf-8")
        if self.junit:
            from parity.report.junit import to_junit

            self.junit.write_text(to_junit(found), encoding="utf-8")
        if self.markdown:
            from parity.report.markdown import to_markdown

            self.markdown.write_text(to_markdown(found), encoding="utf-8")


def report_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command --json, --html, --junit and --markdown; it gets them as `reports`, checked before the work."""

    @wraps(command)
    def with_reports(**given: Any) -> int:
        names = ("json", "html", "junit", "markdown")
        reports = Reports(**{name: given.pop(f"{name}_file") for name in names})
        reports.check()
        return command(reports=reports, **given)

    described = {
        "json": "results.json",
        "html": "a page to read, one file that needs nothing else,",
        "junit": "JUnit XML for a build server",
        "markdown": "a summary for a pull request",
    }
    for name, what in reversed(described.items()):
        path, told = click.Path(path_type=Path), f"Write {what} here."
        with_reports = click.option(f"--{name}", f"{name}_file", type=path, help=told)(with_reports)
    return with_reports


def report(found: Run, reports: Reports, thumbnails: Mapping[str, str] | None = None) -> int:
    """Tell what a run found, on the terminal and in the files that were asked for; return the exit code."""
    from parity.report.terminal import make_console, print_run

    begin_work(*reports.files)
    reports.write(found, thumbnails)
    print_run(found, make_console())
    return found.exit_code
