"""`parity compare-runs`: what changed between two saved runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.outputs import Output, begin_work, output_options, save

if TYPE_CHECKING:
    from parity.core.destination import Destination


@click.command("compare-runs")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@output_options(
    Output("--json", "parity-run-diff", "Write everything that changed, as JSON, here."),
    Output("--markdown", "markdown of compare-runs", "Write a summary for a pull request here."),
)
def compare_runs(old: Path, new: Path, json_file: Destination | None, markdown_file: Destination | None) -> int:
    """Say what changed between two results.json: verdicts, subjects, images, distances, causes, environment.

    Exit codes: 0 nothing got worse, 1 something did, 2 the input is bad, 3 nothing was judged in both.
    """
    from parity.report.run_diff import diff_to_markdown, print_run_diff
    from parity.report.terminal import make_console
    from parity.stream.judge_saved import read_judged
    from parity.versions import run_diff

    differences = run_diff.compare_runs(read_judged(old), read_judged(new))
    begin_work(json_file, markdown_file)
    unwritten = save(json_file, lambda: run_diff.diff_to_json(differences))
    unwritten = save(markdown_file, lambda: diff_to_markdown(differences)) or unwritten
    print_run_diff(differences, make_console())
    return differences.exit_code or unwritten
