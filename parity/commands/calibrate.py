"""`parity calibrate`: tolerances proposed from the noise that is measured on the user's images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands import (
    ARTIFACTS,
    BACKEND,
    MODEL,
    ROUTE,
    SUITE,
    TIME_LIMIT,
    Finite,
    begin_work,
    json_option,
    save,
)

if TYPE_CHECKING:
    from parity.core.destination import Destination


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
@MODEL
@ROUTE
@BACKEND
@TIME_LIMIT
@json_option("everything that was measured, as JSON,", "parity-calibration")
@ARTIFACTS
def calibrate(
    suite: Path | None,
    images: tuple[str, ...],
    quantile: float,
    models: tuple[str, ...],
    routes: tuple[str, ...],
    backends: tuple[str, ...],
    json_file: Destination | None,
    artifacts: Path,
) -> int:
    """Measure how far innocent computations lie apart on your images, and propose tolerances for the suite file.

    What an artefact differs from PyTorch by is shown, but does not enter: it would excuse its own faults. Nothing
    is written into the suite file. The backend onnx-reference takes long; --backend leaves it out.

    Exit codes: 0 something is proposed, 2 the input is bad, 3 nothing could be proposed.
    """
    from parity.report.progress import progress_bar
    from parity.suite.suite import find_suite, read_suite

    path = find_suite(suite)
    with progress_bar() as progress:
        progress("loading PyTorch", None)
        read = read_suite(path)
        from parity.backends.selection import check_selection
        from parity.calibration import calibration

        check_selection(read, models, routes, backends)
        begin_work(json_file)
        found = calibration.calibrate(read, models, routes, backends, images, quantile, artifacts, progress)
    unwritten = save(json_file, lambda: calibration.to_json(found))
    from parity.report.calibration import print_calibration
    from parity.report.terminal import make_console

    print_calibration(found, make_console())
    return found.exit_code or unwritten
