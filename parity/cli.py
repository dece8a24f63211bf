"""The command `parity`: its commands lie in parity/commands/, a file each; here is what they have in common."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import click

from parity.commands.outputs import end_work
from parity.commands.process import (
    INTERRUPTED,
    Interrupts,
    end_interrupted,
    end_process,
    interrupts,
    standard_streams,
    tell,
)

# An environment variable; set to anything, it shows where an error comes from that nobody foresaw.
TRACEBACK = "PARITY_TRACEBACK"

# Name -> module:command. A module is imported when its command, or the help, is asked for.
COMMANDS: Mapping[str, str] = {
    "audit": "parity.commands.audit:audit",
    "baseline": "parity.commands.baseline:baseline",
    "calibrate": "parity.commands.calibrate:calibrate",
    "check": "parity.commands.check:check",
    "clean": "parity.commands.clean:clean",
    "compare-runs": "parity.commands.compare_runs:compare_runs",
    "contract": "parity.commands.contract:contract",
    "convert": "parity.commands.convert:convert",
    "doctor": "parity.commands.doctor:doctor",
    "envelope": "parity.commands.envelope:envelope",
    "explain": "parity.commands.explain:explain",
    "faults": "parity.commands.faults:faults",
    "init": "parity.commands.init:init",
    "judge": "parity.commands.judge:judge",
    "merge": "parity.commands.merge:merge",
    "ops": "parity.commands.ops:ops",
    "predict": "parity.commands.predict:predict",
    "record": "parity.commands.record:record",
    "routes": "parity.commands.routes:routes",
    "run": "parity.commands.run:run",
    "upgrade": "parity.commands.upgrade:upgrade",
}


class LazyGroup(click.Group):
    """Find the commands of COMMANDS, unless one of that name was added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of both."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command of COMMANDS."""
        added = super().get_command(ctx, cmd_name)
        if added or cmd_name not in COMMANDS:
            return added
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
