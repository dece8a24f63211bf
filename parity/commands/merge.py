"""`parity merge`: the cases files of a run's shards become the results of the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import gate_options
from parity.commands.reporting import Reports, report, report_options
from parity.commands.run import MAX_UNREADABLE

if TYPE_CHECKING:
    from parity.core.gate import GateChange


@click.command("merge")
@click.argument("cases", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--max-unreadable", type=MAX_UNREADABLE, default=0.01, show_default=True, help="As in `parity run`.")
@gate_options
@report_options
def merge(cases: tuple[Path, ...], max_unreadable: float, gate: GateChange, reports: Reports) -> int:
    """Put the shards of a run together: CASES are the files that `parity run --images --shard` left, all of them.

    The results are those of the run without shards, but for the causes of what fails, which `parity run` looks for;
    with --json, its cases are written too, beside that file.
    """
    from parity.stream.causes import remarks_on
    from parity.stream.merging import is_whole, merged_results

    json_file = reports.json.shown if reports.json else None
    if json_file and not is_whole(cases, json_file):
        reports.check_cases()
    run = merged_results(cases, json_file, max_unreadable, gate)
    for remark in remarks_on(run):
        click.echo(f"parity: {remark}", err=True)
    return report(run, reports)
