"""`parity envelope`: what hardware may answer, before a device is at hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import ARTIFACTS, SOME_IMAGES, contract_options
from parity.commands.outputs import Output, begin_work, output_options, save
from parity.report import ENVELOPE_REPORTS

if TYPE_CHECKING:
    from conversion.contract import Contract
    from parity.core.destination import Destination

_REPORTS = tuple(Output(f"--{name}", report.kind, report.help) for name, report in ENVELOPE_REPORTS.items())


@click.command("envelope")
@click.argument("model")
@click.argument("artifact", type=click.Path(path_type=Path))
@SOME_IMAGES
@click.option("--all", "every", is_flag=True, help="Compute in every arithmetic that is known, one by one too.")
@click.option(
    "--record",
    "records",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Hold these answers of a device against the envelope; repeatable.",
)
@click.option("--tolerance", type=float, help="Largest |dp| allowed between two arithmetics.  [default: 0.01]")
@click.option("--suite", type=click.Path(path_type=Path), help="Suite file that MODEL is a name of.")
@contract_options
@ARTIFACTS
@output_options(*_REPORTS)
def envelope(
    model: str,
    artifact: Path,
    images: tuple[str, ...],
    every: bool,
    records: tuple[Path, ...],
    tolerance: float | None,
    suite: Path | None,
    contract: Contract,
    artifacts: Path,
    **files: Destination | None,
) -> int:
    """Compute a Core ML file as hardware may, and say whether its answers are safe from that.

    It is a model of risk, not a measurement of any device.

    MODEL: a name in the suite file, `file.py:callable`, `package.module:callable`, `torchvision:name`, `timm:name`
    or `transformers:directory`.
    ARTIFACT: a Core ML file, or, of a model in the suite file, one of its routes.
    Exit codes: 0 safe, or sensitive, which is said; 1 unsafe, or a record lies outside; 2 the input is bad;
    3 nothing can be concluded.
    """
    from parity.report.progress import progress_bar

    with progress_bar() as progress:
        progress("loading PyTorch", None)
        from parity.artifacts.routed import Named, open_sides
        from parity.envelope.envelope import envelope_of

        named = Named(model, artifact, images, suite, contract)
        sides = open_sides(named, artifacts, partial(begin_work, *files.values()))
        progress(f"{sides.classifier.name}: computing", None)
        found = envelope_of(
            *(sides.classifier, sides.artifact, sides.images), every=every, tolerance=tolerance, records=records
        )
    from parity.envelope.envelope_file import file_of
    from parity.report.envelope import print_envelope
    from parity.report.terminal import make_console

    name, path = sides.classifier.name, sides.artifact.path.name
    written = file_of(name, path, sides.artifact.precision, found)
    reports = ENVELOPE_REPORTS.items()
    unwritten = max(save(files[f"{option}_file"], partial(report.text, written)) for option, report in reports)
    print_envelope(f"{name} as {path}", found, make_console())
    return found.exit_code or unwritten
