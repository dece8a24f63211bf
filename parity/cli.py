"""The command `parity`; every command is a few lines around the library.

The commands that are here come with the program; those of COMMANDS lie in parity/commands/, a file each.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from parity.commands import (
    AT_ONCE,
    BACKEND,
    IMAGES,
    NO_EXPLAIN,
    SCALE,
    TIME_LIMIT,
    Reports,
    begin_work,
    end_work,
    report,
    report_options,
)
from parity.commands.process import (
    INTERRUPTED,
    Interrupts,
    end_interrupted,
    end_process,
    interrupts,
    standard_streams,
    tell,
)


def _size(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    height, _, width = (text or "").partition("x")
    if text is None:
        return None
    if not (height.isdecimal() and width.isdecimal() and int(height) * int(width) > 0):
        raise click.BadParameter(f"{text!r} is no size; give height and width as 96x128")
    return int(height), int(width)


# An environment variable; set to anything, it shows where an error comes from that nobody foresaw.
TRACEBACK = "PARITY_TRACEBACK"

# Name -> module:command. A module that only one command needs is imported when that command, or the help, is asked.
COMMANDS: Mapping[str, str] = {
    "audit": "parity.commands.audit:audit",
    "baseline": "parity.commands.baseline:baseline",
    "calibrate": "parity.commands.calibrate:calibrate",
    "compare-runs": "parity.commands.compare_runs:compare_runs",
    "explain": "parity.commands.explain:explain",
    "faults": "parity.commands.faults:faults",
    "judge": "parity.commands.judge:judge",
    "merge": "parity.commands.merge:merge",
    "record": "parity.commands.record:record",
    "run": "parity.commands.run:run",
    "upgrade": "parity.commands.upgrade:upgrade",
}


class LazyGroup(click.Group):
    """Find the commands of COMMANDS beside those that were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of both."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command of COMMANDS."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; one that returns, whatever the verdict, has written what it was to write."""
        code = super().invoke(ctx)
        end_work(ctx)
        return code


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coreml-parity")
def cli() -> None:
    """Say whether a PyTorch image classifier is still the same model in ONNX and Core ML.

    Exit codes: 0 parity holds, 1 it does not, 2 the input is bad, 3 nothing can be concluded.
    """


@cli.command("check")
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
@NO_EXPLAIN
@report_options
def check_command(
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
    reports: Reports,
) -> int:
    """Compare artefacts that somebody already converted with the model that they were made from.

    MODEL: a name in the suite file, `file.py:callable`, `package.module:callable` or `torchvision:name`.
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
        )
    return report(run, reports)


@cli.command("convert")
@click.argument("model")
@click.option("--route", required=True, help="onnx, onnx-torchscript, mlprogram, mlprogram-fp32, onnx-coreml.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory for the result."
)
@click.option("--suite", type=click.Path(path_type=Path), help="Suite file that MODEL is a name of.")
def convert_command(model: str, route: str, out: Path, suite: Path | None) -> int:
    """Convert MODEL by a route and print where the result is."""
    from parity.report.progress import progress_bar

    with progress_bar() as progress:
        progress("loading PyTorch", None)
        from conversion.routes import convert, find_route
        from parity.suite.models import find_classifier

        find_route(route)
        classifier = find_classifier(model, suite)
        progress(f"{classifier.name}: converting by {route}", None)
        artifact = convert(classifier, route, out)
    if artifact.remark:
        click.echo(f"parity: {artifact.remark}", err=True)
    click.echo(artifact.path)
    return 0


@cli.command("predict")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to print.")
@click.option("--backend", help="By default the first that runs here.")
@TIME_LIMIT
def predict_command(artifact: Path, images: tuple[str, ...], top: int, backend: str | None) -> int:
    """Run any artefact on images, on any system, and print the most probable classes.

    Where the numbers are no probabilities, or the file has no labels, that is said: beside the image, and below.
    An image whose numbers are not finite has no answer: that is told, and exit code 1.
    """
    from parity.artifacts.answers import predict_top

    remarks: dict[str, None] = {}
    code = 0
    for answer in predict_top(artifact, images, top, backend):
        if answer.no_answer:
            tell(f"parity: {answer.image} on {answer.backend}: no answer: {answer.no_answer}")
            code = 1
            continue
        doubt = f": no probabilities: {answer.no_probabilities}" if answer.no_probabilities else ""
        click.echo(f"{answer.image}  ({answer.backend}){doubt}")
        for label, probability in answer.top:
            click.echo(f"  {probability:8.4f}  {label if label.isprintable() else repr(label)}")
        remarks.update(dict.fromkeys(answer.remarks))
    for remark in remarks:
        click.echo(f"note: {remark}")
    return code


@cli.command("doctor")
def doctor_command() -> int:
    """Print versions, what can run here, and why the rest cannot."""
    from parity.commands.doctor import examine

    findings = examine()
    for line in findings.lines:
        click.echo(line)
    for warning in findings.warnings:
        click.echo(f"warning: {warning}")
    return 0


@cli.command("ops")
def ops_command() -> int:
    """Print which operations, by opset, and which layers the evaluator of Core ML files runs."""
    from parity.coreml.coverage import layer_coverage, operation_coverage
    from parity.report.coverage import print_coverage
    from parity.report.terminal import make_console

    print_coverage(operation_coverage(), layer_coverage(), make_console())
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input is one clear line and exit code 2.

    arguments: None takes the process's own, and the process is to end with the command.
    """
    if not os.environ.get(TRACEBACK):
        # Where a subject breaks, its reason is in the reports; without a handler Python prints the traceback too.
        logging.getLogger("parity").addHandler(logging.NullHandler())
    try:
        with standard_streams() as voices, interrupts() as interrupted:
            output = sys.stdout
            code = _run(arguments, interrupted)
            (sys.stdout or output).flush()  # code of a model may leave None in its place
            for trouble in (voice.trouble for voice in voices if voice.trouble):
                tell(f"parity: not all of the answer could be written: {trouble.strerror}")
                code = code or 2
        if arguments is None:
            # What is still to be torn down would answer Ctrl-C with a traceback.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if code == INTERRUPTED:
                end_process(code)
    except KeyboardInterrupt:  # between two of the lines above
        end_interrupted()
    sys.exit(code)


def _run(arguments: list[str] | None, interrupted: Interrupts) -> int:
    """Run the command, tell why it ended early, and return its exit code."""
    try:
        code = _invoke(arguments)
    except BaseException as error:
        if not interrupted.heard:
            return _told(error)
    if interrupted.heard:  # whatever became of it
        tell("interrupted")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _invoke(arguments: list[str] | None) -> Any:
    # Not click's own main, which makes exit code 1 of a closed pipe, and an interruption of any EOFError.
    if os.environ.get("_PARITY_COMPLETE"):  # how click asks for the words that a shell offers
        cli.main(prog_name="parity")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any("\0" in argument for argument in words):
        raise click.UsageError("an argument holds the character NUL, which no name and no path can")
    with cli.make_context("parity", words) as context:
        return cli.invoke(context)


def _told(error: BaseException) -> int:
    """Tell what ended a command, in a line, and return the exit code; of what nobody foresaw, that it is that."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            _show(error)
        case KeyboardInterrupt() | click.Abort():
            tell("interrupted")
            return INTERRUPTED
        case _:
            _tell_failure(error)
    return 2


def _tell_failure(error: BaseException) -> None:
    # Imported here, because the help and what click refuses need nothing of it.
    from conversion.errors import ConversionError
    from conversion.guards.user_code import told_end
    from parity.core.errors import ParityError
    from parity.report.text import visible

    match error:
        case ConversionError() | ParityError() | OSError():
            for line in str(error).split("\n") if str(error) else [type(error).__name__]:
                tell(f"parity: {visible(line)}")
        case Exception() if os.environ.get(TRACEBACK):
            raise error
        case Exception():
            what = " ".join(f"{type(error).__name__}: {error}".split())
            tell(
                f"parity: {visible(what)} (unforeseen; code of the model that changes NumPy, PyTorch or Python "
                f"itself does that, or it is a mistake of parity: {TRACEBACK}=1 shows where it comes from)"
            )
        case _:  # what a user's code should not raise, where nobody expected to run any
            tell(f"parity: {told_end(error)}")


def _show(error: click.ClickException) -> None:
    # What click raises for a command without arguments is its help; older versions print that themselves.
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "parity"
    tell(f"parity: {' '.join(error.format_message().split())} (see `{command} --help`)")


if __name__ == "__main__":
    main()
