"""`parity record`: predictions to check on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import IMAGES, TIME_LIMIT, contract_options
from parity.commands.outputs import Output, begin_work, output_options, save

if TYPE_CHECKING:
    from conversion.contract import Contract
    from parity.core.destination import Destination


@click.command("record")
@click.argument("artifacts", type=click.Path(path_type=Path), nargs=-1, required=True)
@IMAGES
@TIME_LIMIT
@output_options(Output("--out", "parity-record", "File to write, JSON.", required=True))
@contract_options
@click.option("--backend", help="By default the first that runs here; on a Mac that is Apple's runtime.")
@click.option(
    "--compute-unit",
    type=click.Choice(["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL"]),
    help="For Apple's runtime: CPU_ONLY by default, which computes in the precision that the file declares.",
)
def record(
    artifacts: tuple[Path, ...],
    images: tuple[str, ...],
    out_file: Destination,
    backend: str | None,
    compute_unit: str | None,
    contract: Contract,
) -> int:
    """Run artefacts here and write their answers, to be checked anywhere with `parity check --record`."""
    from parity.report.progress import progress_bar

    with progress_bar() as progress:
        progress("running", None)
        from parity.artifacts.record_file import record as answers_of
        from parity.suite.records import to_json

        begin_work(out_file)
        recording = answers_of(artifacts, list(images), backend, compute_unit, contract)
    if unwritten := save(out_file, lambda: to_json(recording)):
        return unwritten
    for one in recording.records:
        unit = f" ({one.compute_unit})" if one.compute_unit else ""
        click.echo(
            f"{one.artifact.name} on {one.backend}{unit}: {len(one.predictions)} image(s), in {out_file.shown}"
        )
    return 0
