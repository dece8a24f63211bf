"""`parity compare-runs`: what changed between two saved runs."""

from __future__ import annotations

from pathlib import Path

import click

from parity.commands import Reports, begin_work, json_option


@click.command("compare-runs")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@json_option("everything that changed, as JSON,")
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write a summary for a pull request here."
)
def compare_runs(old: Path, new: Path, json_file: Path | None, markdown_file: Path | None) -> int:
    """Say what changed between two results.json: verdicts, subjects, images, distances, causes, environment.

    Exit codes: 0 nothing got worse, 1 something did, 2 the input is bad, 3 nothing was judged in both.
    """
    Reports(json=json_file, markdown=markdown_file).check()
    from parity import run_diff
    from parity.judging import read_judged
    from parity.report.run_diff import diff_to_markdown, print_run_diff
    from parity.report.terminal import make_console

    found = run_diff.compare_runs(read_judged(old), read_judged(new))
    begin_work(json_file, markdown_file)
    if json_file:
        json_file.write_text(run_diff.diff_to_json(found), encoding="utf-8")
    if markdown_file:
        markdown_file.write_text(diff_to_markdown(found), encoding="utf-8")
    print_run_diff(found, make_console())
    return found.exit_code
