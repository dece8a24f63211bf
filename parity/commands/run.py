"""`parity run`: a suite's models by their routes, on its own images or on a directory of any number of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.commands.options import (
    ARTIFACTS,
    AT_ONCE,
    NO_EXPLAIN,
    SCALE,
    STRICT,
    SUITE,
    TIME_LIMIT,
    Finite,
    gate_options,
    open_suite,
    selection_options,
)
from parity.commands.outputs import begin_work
from parity.commands.reporting import Reports, report, report_options

if TYPE_CHECKING:
    from parity.core.gate import GateChange
    from parity.suite.suite import Selection

MAX_UNREADABLE = Finite(0, 1)
# Option -> what it stands for where it is not given; None: decided when it is needed.
STREAMED: dict[str, Any] = {
    "labels": None,
    "batch": 32,
    "workers": None,
    "shard": "1/1",
    "max_unreadable": 0.01,
    "engine": "local",
    "fresh": False,
}


@click.command("run")
@SUITE
@selection_options
@SCALE
@TIME_LIMIT
@STRICT
@NO_EXPLAIN
@click.option("--envelope", is_flag=True, help="Say too what hardware may answer, where the evaluator answers.")
@click.option("--images", type=click.Path(path_type=Path), help="Run on all images below this directory instead.")
@click.option("--labels", type=click.Path(path_type=Path), help="What they show: CSV file,label or JSON.")
@click.option("--batch", type=AT_ONCE, help="How many images go in at once.  [default: 32]")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that decode.  [default: half the CPUs]")
@click.option("--shard", metavar="K/N", help="Run the K-th of N parts; `parity merge` puts them together.")
@click.option("--max-unreadable", type=MAX_UNREADABLE, help="Fail above this share.  [default: 0.01]")
@click.option("--engine", type=click.Choice(["local", "ray"]), help="Where to run: here, or on a cluster.")
@click.option("--fresh", is_flag=True, default=None, help="Start anew instead of going on with a run that stopped.")
@gate_options
@report_options
@ARTIFACTS
def run(
    suite: Path | None,
    selection: Selection,
    tolerance_scale: float,
    no_explain: bool,
    strict: bool,
    envelope: bool,
    images: Path | None,
    gate: GateChange,
    reports: Reports,
    artifacts: Path,
    **streamed: Any,
) -> int:
    """Convert a suite's models by their routes and compare every artefact with PyTorch.

    With --images, on a directory of any number of images: its cases go to a file beside --json as they come, and a
    run that was stopped goes on where it was. Why legs fail is looked for at the end, on a few of the images.
    onnx-reference, which is slow, sees 64 of them, evenly spaced, unless --backend asks for it.

    A gate on accuracy, of the suite file or by --accuracy-loss, needs images that are labelled.
    """
    chosen_options = {name: value for name, value in streamed.items() if value is not None}
    if images is not None and envelope:
        raise click.UsageError("--envelope goes without --images: on a few images `parity envelope` has one")
    if images is not None:
        options = STREAMED | chosen_options | vars(selection)
        options |= {"tolerance_scale": tolerance_scale, "artifacts": artifacts, "strict": strict, "gate": gate}
        return _run_streamed(suite, images, reports, options, not no_explain)
    if chosen_options:
        raise click.UsageError(f"--{next(iter(chosen_options)).replace('_', '-')} goes with --images")
    with open_suite(suite, selection) as (chosen, progress):
        # Before PyTorch is loaded, which reads it then: the processes of the artefacts compute meanwhile.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from parity import pipeline

        begin_work(*reports.files)
        judged = pipeline.run(
            chosen,
            **vars(selection),
            artifacts=artifacts,
            progress=progress,
            tolerance_scale=tolerance_scale,
            explain=not no_explain,
            strict=strict,
            envelope=envelope,
            gate=gate,
        )
    return report(judged, reports)


def _run_streamed(
    suite: Path | None, images: Path, reports: Reports, options: dict[str, Any], explain: bool
) -> int:
    from parity.report.progress import counting_bar
    from parity.stream.job import Job, default_workers, parse_shard
    from parity.suite.suite import find_suite

    reports.check_cases()
    # What --force overwrites is no journal, and nothing to go on with.
    options["fresh"] |= reports.overwrites_cases
    engine, max_unreadable = options.pop("engine"), options.pop("max_unreadable")
    options["shard"] = parse_shard(options["shard"])
    if options["workers"] is None:
        options["workers"] = default_workers()
    job = Job(find_suite(suite), images, cases=reports.cases, **options)
    with counting_bar("images") as progress:
        progress("loading PyTorch", 0, None)
        begin_work(*reports.files)
        from parity.stream.engines import stream
        from parity.stream.pictures import worst_pictures

        streamed = stream(job, engine, max_unreadable, progress, explain)
        pictures = worst_pictures(job, streamed.run) if reports.show_pictures else None
    for remark in streamed.remarks:
        click.echo(f"parity: {remark}", err=True)
    return report(streamed.run, reports, pictures)
