"""`parity init`: a suite file for a model, a workflow that runs it, and its first verdict."""

from __future__ import annotations

from pathlib import Path

import click

from parity.commands.options import IMAGES, TIME_LIMIT

# Exit code of a run -> what it means for somebody who has just begun.
_TOLD = {
    0: "",
    1: "the suite is written, and parity does not hold: what is printed above says where and why",
    3: "the suite is written, and proves nothing yet: what is printed above says why",
}


@click.command("init")
@click.argument("model")
@click.argument("artifacts", nargs=-1)
@IMAGES
@click.option(
    "--directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="Where the files are written.  [default: here]",
)
@click.option("--no-run", is_flag=True, help="Do not run the suite.")
@click.option("--force", is_flag=True, help="Overwrite what `parity init` wrote; other files never are.")
@TIME_LIMIT
def init(
    model: str, artifacts: tuple[str, ...], images: tuple[str, ...], directory: Path, no_run: bool, force: bool
) -> int:
    """Write a suite for a model and run it: parity.toml, a workflow, and models.py where the model needs one.

    MODEL: `file.py:callable`, `package.module:callable`, `torchvision:name@weights`, `timm:name@checkpoint` or
    `transformers:directory`; a callable that returns a bare torch.nn.Module will do. ARTIFACT: files that were
    converted already; without them ours are.
    """
    from parity.report.progress import progress_bar

    with progress_bar() as progress:
        progress("loading PyTorch", None)
        from parity.starting.files import SUITE_FILE, WORKFLOW_FILE, check_free, write_all
        from parity.starting.models_text import models_text
        from parity.starting.network import load_model
        from parity.starting.plan import MODELS_FILE, finished_files, make_plan, reference_from_suite
        from parity.starting.suite_text import suite_text
        from parity.starting.workflow_text import workflow_text

        check_free(directory, (SUITE_FILE, WORKFLOW_FILE), force)
        progress(f"{model}: loading", None)
        finished = finished_files(artifacts)
        loaded = load_model(reference_from_suite(model, directory), directory, finished)
        if loaded.assumptions:
            check_free(directory, (MODELS_FILE,), force)
        progress(f"{model}: looking at files and images", None)
        plan = make_plan(loaded, finished, images, directory)
        # The suite comes last: it names the others.
        texts = {MODELS_FILE: models_text(loaded, loaded.assumptions)} if loaded.assumptions else {}
        texts |= {WORKFLOW_FILE: workflow_text(plan), SUITE_FILE: suite_text(plan)}
        paths = write_all(directory, texts)
    for path in paths:
        click.echo(f"wrote {path}")
    for assumption in plan.assumptions:
        click.echo(f"assumed, confirm it: {assumption}")
    for remark in plan.remarks:
        click.echo(f"note: {remark}")
    return 0 if no_run else _first_run(directory)


def _first_run(directory: Path) -> int:
    """Run the suite as `parity run` does in its directory; print the same report, and what follows from it."""
    from parity import pipeline
    from parity.report.progress import progress_bar
    from parity.report.terminal import make_console, print_run
    from parity.suite.suite import find_suite, read_suite

    with progress_bar() as progress:
        run = pipeline.run(read_suite(find_suite(directory)), artifacts=directory / ".parity", progress=progress)
    print_run(run, make_console())
    if told := _TOLD[run.exit_code]:
        click.echo(f"parity init: {told}")
    return run.exit_code
