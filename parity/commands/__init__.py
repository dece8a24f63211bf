"""What the commands share: options that mean the same everywhere, and what is refused before the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from parity.report import REPORTS

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.core.results import Run
    from parity.pipeline import Progress
    from parity.suite.suite import Selection, Suite

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


def selection_options(command: _Command) -> _Command:
    """Give a command --model, --route and --backend; it gets them as one `selection`."""

    @MODEL
    @ROUTE
    @BACKEND
    @wraps(command)
    def with_selection(
        models: tuple[str, ...], routes: tuple[str, ...], backends: tuple[str, ...], **options: Any
    ) -> Any:
        from parity.suite.suite import Selection

        return command(selection=Selection(models, routes, backends), **options)

    return with_selection  # type: ignore[return-value]


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


@contextmanager
def open_suite(path: Path | None, selection: Selection) -> Iterator[tuple[Suite, Progress]]:
    """Read the suite that was named, refuse a selection of nothing, and show the progress of what follows."""
    from parity.report.progress import progress_bar
    from parity.suite.suite import find_suite, read_suite

    place = find_suite(path)
    with progress_bar() as progress:
        progress("loading PyTorch", None)
        suite = read_suite(place)
        from parity.backends.selection import check_selection

        check_selection(suite, selection)
        yield suite, progress


def _scale(context: click.Context, parameter: click.Parameter, factor: float) -> float:
    """Refuse a factor before the work, also where nothing would have been multiplied by it."""
    from parity.core.tolerance import check_scale

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
# As parity.formats.feeding.MOST_AT_ONCE.
AT_ONCE = click.IntRange(1, 2**31 - 1)
# Where a command's context keeps the files that it began to make.
_BEGUN = "parity.commands.begun"
IMAGES = click.option("--images", multiple=True, required=True, help="Image, directory or glob; repeatable.")


@dataclass(frozen=True)
class Output:
    """Describe an option that names a file to write: `--json` gives the parameter `json_file`.

    kind: of the file, a name of parity.core.destination.KINDS, or how it follows from the other parameters.
    """

    option: str
    kind: str | Callable[[Mapping[str, Any]], str]
    help: str
    required: bool = False

    @property
    def parameter(self) -> str:
        """Name the parameter that a command gets."""
        return f"{self.option.removeprefix('--')}_file"


def output_options(*outputs: Output) -> Callable[[_Command], _Command]:
    """Give a command options that name files to write, and --force.

    It gets a Destination for each that was given, None for the others; all are checked before the work.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def with_destinations(force: bool, **options: Any) -> Any:
            paths = {output: options.pop(output.parameter) for output in outputs}
            destinations = _destinations(paths, options, force) if any(paths.values()) else {}
            return command(**options, **{output.parameter: destinations.get(output) for output in outputs})

        meaning = "Overwrite files that are no earlier outputs; what is read is never overwritten."
        decorated: Any = click.option("--force", is_flag=True, help=meaning)(with_destinations)
        for output in reversed(outputs):
            decorated = click.option(
                *(output.option, output.parameter),
                type=click.Path(path_type=Path),
                required=output.required,
                help=output.help,
            )(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def _destinations(
    paths: Mapping[Output, Path | None], options: Mapping[str, Any], force: bool
) -> dict[Output, Destination]:
    from parity.commands.reads import files_read
    from parity.core.destination import Destination, check_destinations

    reads = tuple(files_read(options))
    destinations = {
        output: Destination(
            path, path.absolute(), kind if isinstance(kind := output.kind, str) else kind(options), reads, force
        )
        for output, path in paths.items()
        if path is not None
    }
    check_destinations(list(destinations.values()))
    return destinations


def json_option(what: str, kind: str | Callable[[Mapping[str, Any]], str]) -> Callable[[_Command], _Command]:
    """Make the option --json of a command; what: that it writes."""
    return output_options(Output("--json", kind, f"Write {what} here."))


def save(destination: Destination | None, write: Callable[[], str]) -> int:
    """Write a file that was asked for; where that fails, say so and go on, for there is a verdict to tell.

    Return the exit code of a command whose verdict is 0: 2 where the file could not be written.
    """
    from parity.core.errors import ParityError

    if destination is None:
        return 0
    try:
        destination.write(write())
    except ParityError as error:
        click.echo(f"parity: {error}", err=True)
        return 2
    return 0


def begin_work(*files: Destination | None) -> None:
    """Mark the files that the command is to write as unfinished until it returns; None: not asked for."""
    from parity.core.unfinished import mark_unfinished

    paths = [file.path for file in files if file]
    mark_unfinished(paths)
    click.get_current_context().meta.setdefault(_BEGUN, []).extend(paths)


def end_work(context: click.Context) -> None:
    """Remove the marks of what a command wrote that has returned."""
    from parity.core.unfinished import mark_finished

    mark_finished(context.meta.get(_BEGUN, ()))


@dataclass(frozen=True)
class Reports:
    """Name the files that a run is to be written to, by the names of parity.report.REPORTS; None: not asked for."""

    destinations: Mapping[str, Destination | None]

    @property
    def json(self) -> Destination | None:
        """Return where the results go, which have a cases file beside them."""
        return self.destinations["json"]

    @property
    def files(self) -> tuple[Destination | None, ...]:
        """List all of them."""
        return tuple(self.destinations.values())

    @property
    def show_pictures(self) -> bool:
        """Say whether one of them shows the images themselves."""
        return any(REPORTS[name].shows_pictures for name, destination in self.destinations.items() if destination)

    @property
    def cases(self) -> Path | None:
        """Name the cases file that belongs to the results."""
        from parity.stream.job import cases_beside

        return cases_beside(self.json.shown) if self.json else None

    def check_cases(self) -> None:
        """Refuse a cases file that cannot be written, or is something else, or another report."""
        from parity.core.destination import check_destinations

        if self.json and self.cases:
            check_destinations([*filter(None, self.files), self.json.beside(self.cases, "parity-cases")])

    @property
    def overwrites_cases(self) -> bool:
        """Say whether something else lies in the place of the cases file, and --force gives it up."""
        from parity.core.destination import is_earlier

        cases = self.cases
        return cases is not None and cases.exists() and not is_earlier(cases, "parity-cases")

    def write(self, run: Run, thumbnails: Mapping[str, str] | None = None) -> int:
        """Write each report that was asked for, and return what `save` does.

        thumbnails: for the reports that show pictures, where the run has none.
        """
        pictured = run if thumbnails is None else replace(run, thumbnails=thumbnails)
        runs = {name: pictured if REPORTS[name].shows_pictures else run for name in self.destinations}
        return max(
            save(destination, partial(REPORTS[name].text, runs[name]))
            for name, destination in self.destinations.items()
        )


_REPORTS = tuple(Output(f"--{name}", report.kind, report.help) for name, report in REPORTS.items())


def report_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command an option for each report; it gets them as `reports`, checked before the work."""

    @wraps(command)
    def with_reports(**options: Any) -> int:
        destinations = {name: options.pop(f"{name}_file") for name in REPORTS}
        return command(reports=Reports(destinations), **options)

    return output_options(*_REPORTS)(with_reports)


def report(run: Run, reports: Reports, thumbnails: Mapping[str, str] | None = None) -> int:
    """Tell what a run found, in the files that were asked for and on the terminal; return the exit code."""
    from parity.report.terminal import make_console, print_run

    begin_work(*reports.files)
    unwritten = reports.write(run, thumbnails)
    print_run(run, make_console())
    return run.exit_code or unwritten
