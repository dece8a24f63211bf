"""The reports of a run: an option for each, written when the verdict is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.commands.outputs import Output, begin_work, output_options, save
from parity.report import REPORTS

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.core.results import Run


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
