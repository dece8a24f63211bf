"""`parity record`: predictions to check on another machine."""

from __future__ import annotations

from pathlib import Path

import click

from parity.commands import IMAGES, TIME_LIMIT, begin_work, check_writable


@click.command("record")
@click.argument("artifacts", type=click.Path(path_type=Path), nargs=-1, required=True)
@IMAGES
@TIME_LIMIT
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write, JSON.")
@click.option("--backend", help="By default the first that runs here; on a Mac that is Apple's runtime.")
@click.option(
    "--compute-unit",
    type=click.Choice(["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL"]),
    help="For Apple's runtime: CPU_ONLY by default, which computes in the precision that the file declares.",
)
def record(
    artifacts: tuple[Path, ...], images: tuple[str, ...], out: Path, backend: str | None, compute_unit: str | None
) -> int:
    """Run artefacts here and write their answers, to be checked anywhere with `parity check --record`."""
    from parity.report.progress import progress_bar

    check_writable(out)
    with progress_bar() as progress:
        progress("running", None)
        from parity import recording
        from parity.records import write_records

        begin_work(out)
        found = recording.record(artifacts, list(images), backend, compute_unit)
        write_records(out, found)
    for one in found.records:
        unit = f" ({one.compute_unit})" if one.compute_unit else ""
        click.echo(f"{one.artifact.name} on {one.backend}{unit}: {len(one.predictions)} image(s), in {out}")
    return 0
