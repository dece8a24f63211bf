"""`parity baseline`: store the answers of a suite, and compare later ones with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.commands.options import ARTIFACTS, SUITE, TIME_LIMIT, open_suite, selection_options
from parity.commands.outputs import begin_work, json_option, save

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.suite.suite import Selection
    from parity.versions.drift import Drifts


@click.group("baseline")
def baseline() -> None:
    """Store the answers of a suite, or compare today's with them.

    Exit codes: 0 nothing moved, 1 something did, 2 the input is bad, 3 there was nothing to compare or to store.
    """


@baseline.command("record")
@SUITE
@selection_options
@TIME_LIMIT
@click.option("--reason", required=True, help="Why these answers are right from now on; kept in the files.")
@json_option("what was stored, as JSON,", "parity-drift")
@ARTIFACTS
def record_command(reason: str, json_file: Destination | None, **selected: Any) -> int:
    """Store the answers of a suite in baselines/ beside it; answers that are stored already keep their reason."""
    if not reason.strip():
        raise click.BadParameter("say why these answers are right from now on", param_hint="'--reason'")
    force: bool = click.get_current_context().params["force"]
    drifts, unwritten = _follow(json_file, reason=reason.strip(), force=force, **selected)
    from parity.report.drift import print_record
    from parity.report.terminal import make_console

    print_record(drifts, make_console())
    return drifts.exit_code or unwritten


@baseline.command("check")
@SUITE
@selection_options
@TIME_LIMIT
@json_option("every change, as JSON,", "parity-drift")
@ARTIFACTS
def check_command(json_file: Destination | None, **selected: Any) -> int:
    """Compare a suite's answers with those stored, and show what else has changed since where they moved."""
    drifts, unwritten = _follow(json_file, reason=None, **selected)
    from parity.report.drift import print_check
    from parity.report.terminal import make_console

    print_check(drifts, make_console())
    return drifts.exit_code or unwritten


def _follow(
    json_file: Destination | None,
    suite: Path | None,
    selection: Selection,
    artifacts: Path,
    reason: str | None,
    force: bool = False,
) -> tuple[Drifts, int]:
    """Run the selected part of a suite and follow its baselines, and return what `save` does; for both commands."""
    with open_suite(suite, selection) as (chosen, progress):
        from parity.versions.baselines import baseline_destination, baseline_files
        from parity.versions.drift import follow_suite, to_json

        begin_work(json_file)
        for file in baseline_files(chosen, selection) if reason is not None else ():
            baseline_destination(file, force).check()
        drifts = follow_suite(chosen, selection, artifacts, reason, progress, force)
    return drifts, save(json_file, lambda: to_json(drifts, chosen.directory))
