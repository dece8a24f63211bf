"""`parity check`: artefacts that somebody already converted, against their model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import (
    AT_ONCE,
    BACKEND,
    IMAGES,
    NO_EXPLAIN,
    SCALE,
    STRICT,
    TIME_LIMIT,
    contract_options,
)
from parity.commands.outputs import begin_work
from parity.commands.reporting import Reports, report, report_options

if TYPE_CHECKING:
    from conversion.contract import Contract


def _size(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    height, _, width = (text or "").partition("x")
    if text is None:
        return None
    if not (height.isdecimal() and width.isdecimal() and int(height) * int(width) > 0):
        raise click.BadParameter(f"{text!r} is no size; give height and width as 96x128")
    return int(height), int(width)


@click.command("check")
@click.argument("model")
@click.argument("artifacts", type=click.Path(path_type=Path), nargs=-1, required=True)
@IMAGES
@BACKEND
@click.option("--tolerance", type=float, help="Largest |dp| allowed; the default depends on the precision.")
@SCALE
@TIME_LIMIT
@click.option("--batch", type=AT_ONCE, default=1, help="How many images go in at once.")
@click.option("--size", metavar="HxW", callback=_size, help="Stretch the images to this height and width.")
@click.option(
    "--record",
    "records",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Judge these predictions too, made elsewhere by `parity record`; repeatable.",
)
@click.option("--suite", type=click.Path(path_type=Path), help="Suite file that MODEL is a name of.")
@contract_options
@STRICT
@NO_EXPLAIN
@report_options
def check(
    model: str,
    artifacts: tuple[Path, ...],
    images: tuple[str, ...],
    backends: tuple[str, ...],
    tolerance: float | None,
    tolerance_scale: float,
    batch: int,
    size: tuple[int, int] | None,
    records: tuple[Path, ...],
    suite: Path | None,
    no_explain: bool,
    strict: bool,
    contract: Contract,
    reports: Reports,
) -> int:
    """Compare artefacts that somebody already converted with the model that they were made from.

    MODEL: a name in the suite file, `file.py:callable`, `package.module:callable`, `torchvision:name`, `timm:name`
    or `transformers:directory`.
    """
    from parity.core.tolerance import Tolerance
    from parity.report.progress import progress_bar

    allowed = None if tolerance is None else Tolerance(tolerance)
    with progress_bar() as progress:
        progress("loading PyTorch", None)
        from conversion.artifact import open_artifact
        from parity.backends.selection import check_backends
        from parity.pipeline import check
        from parity.suite.models import find_classifier

        opened = [open_artifact(path) for path in artifacts]
        check_backends(opened, backends, records)
        begin_work(*reports.files)
        classifier = find_classifier(model, suite)
        progress(f"{classifier.name}: comparing", None)
        chosen = list(backends) or None
        run = check(
            *(classifier, opened, list(images), chosen, allowed, tolerance_scale, batch, size, records),
            explain=not no_explain,
            contract=contract,
            strict=strict,
        )
    return report(run, reports)
