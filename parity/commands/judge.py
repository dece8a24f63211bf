"""`parity judge`: saved results by another tolerance, or as another report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import gate_options
from parity.commands.reporting import Reports, report, report_options

if TYPE_CHECKING:
    from parity.core.gate import GateChange


@click.command("judge")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--tolerance", type=float, help="Largest |dp| allowed; the default is what each was judged by.")
@gate_options
@report_options
def judge(results: Path, tolerance: float | None, gate: GateChange, reports: Reports) -> int:
    """Judge a saved results.json again, with nothing run; without --tolerance it becomes other reports."""
    from parity.stream.judge_saved import judge_file

    return report(judge_file(results, tolerance, gate), reports)
