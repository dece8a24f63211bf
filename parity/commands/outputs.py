"""Files that a command writes: options that name them, what is refused before the work, and how they are saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from parity.core.destination import Destination

_Command = TypeVar("_Command", bound=Callable[..., Any])

# Where a command's context keeps the files that it began to make.
_BEGUN = "parity.commands.begun"


@dataclass(frozen=True)
class Output:
    """Describe an option that names a file to write: `--json` gives the parameter `json_file`.

    kind: of the file, a name of parity.core.destination.KINDS, or how it follows from the other parameters.
    """

    option: str
    kind: str | Callable[[Mapping[str, Any]], str]
    help: str
    required: bool = False

    @property
    def parameter(self) -> str:
        """Name the parameter that a command gets."""
        return f"{self.option.removeprefix('--')}_file"


def output_options(*outputs: Output) -> Callable[[_Command], _Command]:
    """Give a command options that name files to write, and --force.

    It gets a Destination for each that was given, None for the others; all are checked before the work.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def with_destinations(force: bool, **options: Any) -> Any:
            paths = {output: options.pop(output.parameter) for output in outputs}
            destinations = _destinations(paths, options, force) if any(paths.values()) else {}
            return command(**options, **{output.parameter: destinations.get(output) for output in outputs})

        meaning = "Overwrite files that are no earlier outputs; what is read is never overwritten."
        decorated: Any = click.option("--force", is_flag=True, help=meaning)(with_destinations)
        for output in reversed(outputs):
            decorated = click.option(
                *(output.option, output.parameter),
                type=click.Path(path_type=Path),
                required=output.required,
                help=output.help,
            )(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def _destinations(
    paths: Mapping[Output, Path | None], options: Mapping[str, Any], force: bool
) -> dict[Output, Destination]:
    from parity.commands.reads import files_read
    from parity.core.destination import Destination, check_destinations

    reads = tuple(files_read(options))
    destinations = {
        output: Destination(
            path, path.absolute(), kind if isinstance(kind := output.kind, str) else kind(options), reads, force
        )
        for output, path in paths.items()
        if path is not None
    }
    check_destinations(list(destinations.values()))
    return destinations


def json_option(what: str, kind: str | Callable[[Mapping[str, Any]], str]) -> Callable[[_Command], _Command]:
    """Make the option --json of a command; what: that it writes."""
    return output_options(Output("--json", kind, f"Write {what} here."))


def save(destination: Destination | None, write: Callable[[], str]) -> int:
    """Write a file that was asked for; where that fails, say so and go on, for there is a verdict to tell.

    Return the exit code of a command whose verdict is 0: 2 where the file could not be written.
    """
    from parity.core.errors import ParityError

    if destination is None:
        return 0
    try:
        destination.write(write())
    except ParityError as error:
        click.echo(f"parity: {error}", err=True)
        return 2
    return 0


def begin_work(*files: Destination | None) -> None:
    """Mark the files that the command is to write as unfinished until it returns; None: not asked for."""
    from parity.core.unfinished import mark_unfinished

    paths = [file.path for file in files if file]
    mark_unfinished(paths)
    click.get_current_context().meta.setdefault(_BEGUN, []).extend(paths)


def end_work(context: click.Context) -> None:
    """Remove the marks of what a command wrote that has returned."""
    from parity.core.unfinished import mark_finished

    mark_finished(context.meta.get(_BEGUN, ()))
