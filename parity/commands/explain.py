"""`parity explain`: why an artefact is not the model that it was made from, and where."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import ARTIFACTS, SOME_IMAGES, TIME_LIMIT, contract_options
from parity.commands.outputs import begin_work, json_option, save

if TYPE_CHECKING:
    from conversion.contract import Contract
    from parity.core.destination import Destination


@click.command("explain")
@click.argument("model")
@click.argument("artifact", type=click.Path(path_type=Path))
@SOME_IMAGES
@click.option("--backend", help="By default the first that runs here.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Explain these predictions, made elsewhere by `parity record`, instead of running the artefact.",
)
@click.option("--tolerance", type=float, help="Largest |dp| allowed; the default depends on the precision.")
@click.option("--suite", type=click.Path(path_type=Path), help="Suite file that MODEL is a name of.")
@click.option("--verbose", "-v", is_flag=True, help="Print too which parts of the search broke.")
@contract_options
@TIME_LIMIT
@ARTIFACTS
@json_option("results.json with all that was found", "parity-run")
def explain(
    model: str,
    artifact: Path,
    images: tuple[str, ...],
    backend: str | None,
    record: Path | None,
    tolerance: float | None,
    suite: Path | None,
    verbose: bool,
    contract: Contract,
    artifacts: Path,
    json_file: Destination | None,
) -> int:
    """Say why an artefact does not agree with the model it was made from, and where the two part.

    MODEL: a name in the suite file, `file.py:callable`, `package.module:callable`, `torchvision:name`, `timm:name`
    or `transformers:directory`.
    ARTIFACT: a file, or, of a model in the suite file, one of its routes.
    Exit codes: 0 parity holds, 1 it does not, explained or not, 2 the input is bad, 3 nothing can be concluded.
    """
    from parity.report.progress import progress_bar

    if backend and record:
        raise click.UsageError("--backend runs the artefact, --record does not: give one of the two")
    with progress_bar() as progress:
        progress("loading PyTorch", None)
        from parity.artifacts.causes import look_into
        from parity.artifacts.routed import Named, open_sides

        named = Named(model, artifact, images, suite, contract)
        sides = open_sides(named, artifacts, partial(begin_work, json_file))
        progress(f"{sides.classifier.name}: looking for causes", None)
        allowed = sides.tolerance if tolerance is None else tolerance
        explained = look_into(sides.classifier, sides.artifact, sides.images, backend, record, allowed)
        run = explained.run
    from parity.core.results import to_json
    from parity.report.explanation import print_explanation
    from parity.report.terminal import make_console

    unwritten = save(json_file, lambda: to_json(run))
    for subject in run.subjects:
        print_explanation(subject, make_console())
    for broken in explained.broken if verbose else ():
        make_console().print(f"  broke, which is a bug of coreml-parity: {broken}", soft_wrap=True)
    return run.exit_code or unwritten
