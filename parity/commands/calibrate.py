"""`parity calibrate`: tolerances proposed from the noise that is measured on the user's images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import ARTIFACTS, SUITE, TIME_LIMIT, Finite, open_suite, selection_options
from parity.commands.outputs import begin_work, json_option, save

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.suite.suite import Selection


@click.command("calibrate")
@SUITE
@click.option("--images", multiple=True, help="Image, directory or glob in the place of the suite's; repeatable.")
@click.option(
    "--quantile",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=0.999,
    show_default=True,
    help="Share of images whose noise the proposal covers.",
)
@selection_options
@TIME_LIMIT
@json_option("everything that was measured, as JSON,", "parity-calibration")
@ARTIFACTS
def calibrate(
    suite: Path | None,
    images: tuple[str, ...],
    quantile: float,
    selection: Selection,
    json_file: Destination | None,
    artifacts: Path,
) -> int:
    """Measure how far innocent computations lie apart on your images, and propose tolerances for the suite file.

    What an artefact differs from PyTorch by is shown, but does not enter: it would excuse its own faults. Nothing
    is written into the suite file. The backend onnx-reference takes long; --backend leaves it out.

    Exit codes: 0 something is proposed, 2 the input is bad, 3 nothing could be proposed.
    """
    with open_suite(suite, selection) as (chosen, progress):
        from parity.calibration import calibration, calibration_file

        begin_work(json_file)
        measured = calibration.calibrate(chosen, selection, images, quantile, artifacts, progress)
    unwritten = save(json_file, lambda: calibration_file.to_json(measured))
    from parity.report.calibration import print_calibration
    from parity.report.terminal import make_console

    print_calibration(measured, make_console())
    return measured.exit_code or unwritten
