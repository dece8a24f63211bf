"""[converters.NAME] of a suite file -> routes of a team's own, and variants of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.errors import ConversionError
from conversion.own import Callback, Command, finished_route, own_route
from conversion.variants import OPTIONS, variant_route
from parity.core.errors import ParityError
from parity.suite.models import load_callable
from parity.suite.patterns import matching

if TYPE_CHECKING:
    from conversion.recipe import Route
    from parity.suite.suite_file import ArtifactTable, ConverterTable, SuiteFile


def read_converters(parsed: SuiteFile, directory: Path) -> Mapping[str, Route]:
    """Make a route of each converter of a suite file in a directory, by name; nothing is imported yet."""
    return {name: _route(name, table, directory) for name, table in parsed.converters.items()}


def finished_files(entries: Iterable[ArtifactTable], directory: Path) -> Mapping[str, Route]:
    """Make a route of each finished file, by its path as the suite file would name it.

    That a file is not there is an error of the run. One that several entries name is as the last says.
    """
    routes: dict[str, Route] = {}
    for entry in entries:
        for name in matching([entry.path], directory):
            routes[name] = finished_route(name, directory / name, entry.contract())
    return routes


def _route(name: str, table: ConverterTable, directory: Path) -> Route:
    if table.base is not None:
        options = {option: getattr(table, option) for option in OPTIONS}
        return variant_route(name, table.base, **options, directory=directory)
    assert table.suffix is not None  # the table's own check
    if table.convert is not None:
        conversion: Callback | Command = Callback(table.convert, partial(_load, table.convert, directory))
    else:
        conversion = Command(tuple(table.command or ()), directory.absolute(), table.timeout)
    return own_route(
        *(name, conversion, table.suffix, table.precision, table.depends, directory), contract=table.contract()
    )


def _load(reference: str, directory: Path) -> Callable[..., Any]:
    try:
        return load_callable(reference, directory)
    except ParityError as error:  # a conversion that fails is a subject of the run
        raise ConversionError(str(error)) from error
