"""`parity upgrade`: what another version of a converter or of a runtime changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.commands.options import (
    ARTIFACTS,
    MODEL,
    ROUTE,
    SUITE,
    TIME_LIMIT,
    Finite,
    open_suite,
)
from parity.commands.outputs import Output, begin_work, output_options, save
from parity.report import MATRIX_REPORTS

if TYPE_CHECKING:
    from parity.pipeline import Progress
    from parity.suite.suite import Suite


def _kind(options: Mapping[str, Any]) -> str:
    if options["matrix"]:
        return "parity-matrix"
    return "parity-bisection" if options["package"] else "parity-upgrade"


_REPORTS = tuple(
    Output(f"--{name}", _kind if name == "json" else report.kind, report.help)
    for name, report in MATRIX_REPORTS.items()
)


@click.command("upgrade")
@SUITE
@click.option("--with", "with_", multiple=True, metavar="PACKAGE==VERSION", help="Old versions, against installed.")
@click.option("--from", "from_", multiple=True, metavar="PACKAGE==VERSION", help="The old side; repeatable.")
@click.option("--to", "to", multiple=True, metavar="PACKAGE==VERSION", help="The new side; repeatable.")
@click.option("--bisect", "package", metavar="PACKAGE", help="Find the release that broke it, --from one --to one.")
@click.option(
    "--matrix",
    multiple=True,
    metavar="PACKAGE[==V1,V2]",
    help="Try these versions, or all releases --from one --to one, with those of every other --matrix; repeatable.",
)
@MODEL
@ROUTE
@click.option("--images", multiple=True, help="For a finished file: image, directory or glob; repeatable.")
@TIME_LIMIT
@click.option("--timeout", type=Finite(min=1), default=900, show_default=True, help="Seconds for one conversion.")
@output_options(*_REPORTS)
@ARTIFACTS
def upgrade(
    suite: Path | None,
    with_: tuple[str, ...],
    from_: tuple[str, ...],
    to: tuple[str, ...],
    package: str | None,
    matrix: tuple[str, ...],
    images: tuple[str, ...],
    models: tuple[str, ...],
    routes: tuple[str, ...],
    **options: Any,
) -> int:
    """Convert a suite by other versions of converters, in an environment of their own, and compare.

    A side is PACKAGE==VERSION, or several, or `installed`, or a tool chain by its name: the suite's, or `2020`.
    SUITE may be a finished file: runtimes are compared on it, and --model names the model that it was made from, as
    `parity check` takes it.
    Exit codes: 0 nothing got worse, 1 something did or broke, 2 the input is bad, 3 nothing can be concluded.
    """
    files = {name: options.pop(f"{name}_file") for name in MATRIX_REPORTS}
    _check_words(with_, from_, to, package, matrix)
    if not matrix and (only := [name for name, file in files.items() if file and name != "json"]):
        raise click.UsageError(f"--{only[0]} goes with --matrix; an upgrade is written with --json")
    with _opened(suite, models, routes, images) as (chosen, progress):
        begin_work(*files.values())
        work = {"models": models, "routes": routes, "progress": progress, **options}
        if chosen.finished:
            work |= {"models": (), "routes": ()}
        if matrix:
            comparison, text = _matrix(chosen.suite, matrix, from_, to, work), ""
        elif package:
            comparison, text = _bisect(chosen.suite, package, from_, to, work)
        else:
            comparison, text = _upgrade(chosen.suite, with_, from_, to, work)
    from parity.report.terminal import make_console

    if matrix:
        from parity.report.matrix import print_matrix

        reports = MATRIX_REPORTS.items()
        unwritten = max(save(files[name], partial(report.text, comparison)) for name, report in reports)
        print_matrix(comparison, make_console())
    else:
        from parity.report.upgrade import print_bisection, print_upgrade

        unwritten = save(files["json"], lambda: text)
        (print_bisection if package else print_upgrade)(comparison, make_console())
    code: int = comparison.exit_code
    return code or unwritten


def _check_words(
    with_: tuple[str, ...],
    from_: tuple[str, ...],
    to: tuple[str, ...],
    package: str | None,
    matrix: tuple[str, ...],
) -> None:
    if matrix and (with_ or package):
        raise click.UsageError("--matrix tries versions of its own; it goes with neither --with nor --bisect")
    if package and with_:
        raise click.UsageError(f"--bisect {package} goes from one release to another: give --from and --to")
    if not package and not matrix and bool(with_) == bool(from_ or to):
        raise click.UsageError(
            "give either --with, or --from and --to (the one left out stands for what is installed)"
        )


@dataclass(frozen=True)
class _Chosen:
    """Hold what is compared: a suite, or one made of a finished file."""

    suite: Suite
    finished: bool


@contextmanager
def _opened(
    path: Path | None, models: tuple[str, ...], routes: tuple[str, ...], images: tuple[str, ...]
) -> Iterator[tuple[_Chosen, Progress]]:
    """Open the suite, or make one of a finished file."""
    from parity.suite.one_file import is_finished, suite_of_file
    from parity.suite.suite import Selection

    if path is not None and is_finished(path):
        if routes:
            raise click.UsageError(f"{path} is a finished file, of no route; leave --route out")
        from parity.report.progress import progress_bar

        with progress_bar() as progress:
            progress("loading PyTorch", None)
            yield _Chosen(suite_of_file(path, models, images), True), progress
        return
    if images:
        raise click.UsageError("--images goes with a finished file; a suite names its own")
    with open_suite(path, Selection(models, routes)) as (suite, progress):
        yield _Chosen(suite, False), progress


def _matrix(
    suite: Suite, words: tuple[str, ...], from_: tuple[str, ...], to: tuple[str, ...], work: dict[str, Any]
) -> Any:
    from parity.versions.bisect import installed_version, list_releases
    from parity.versions.matrix import matrix as try_all

    axes: dict[str, tuple[str, ...]] = {}
    for word in words:
        package, equals, listed = (part.strip() for part in word.partition("=="))
        if package in axes:
            raise click.UsageError(f"--matrix {package}: named twice; give all of its versions at once")
        if equals:
            axes[package] = tuple(version.strip() for version in listed.split(",") if version.strip())
            continue
        if not from_:
            raise click.UsageError(f"--matrix {package}: give its versions, {package}==1.0,2.0, or --from and --to")
        first, last = (_version(package, side, "--matrix") for side in (from_, to))
        axes[package] = tuple(list_releases(package, first or "", last or installed_version(package, "--matrix")))
    if (from_ or to) and all("==" in word for word in words):
        raise click.UsageError("--from and --to go with a --matrix PACKAGE that names no versions")
    return try_all(suite, axes, **work)


def _upgrade(
    suite: Suite, with_: tuple[str, ...], from_: tuple[str, ...], to: tuple[str, ...], work: dict[str, Any]
) -> tuple[Any, str]:
    from parity.versions.side import find_side
    from parity.versions.upgrade import upgrade as compare_sides
    from parity.versions.upgrade import upgrade_to_json

    old, new = (find_side(side or ("installed",), suite.toolchains) for side in (with_ or from_, to))
    comparison = compare_sides(suite, old, new, **work)
    return comparison, upgrade_to_json(comparison)


def _bisect(
    suite: Suite, package: str, from_: tuple[str, ...], to: tuple[str, ...], work: dict[str, Any]
) -> tuple[Any, str]:
    from parity.versions.bisect import bisect, bisection_to_json, installed_version

    first, last = (_version(package, side) for side in (from_, to))
    if first is None:
        raise click.UsageError(f"--bisect {package} starts at a release that is good: --from {package}==VERSION")
    bisection = bisect(suite, package, first, last or installed_version(package), **work)
    return bisection, bisection_to_json(bisection)


def _version(package: str, side: tuple[str, ...], option: str = "--bisect") -> str | None:
    """Return the version in --from or --to: `onnx==1.17.0`, or `1.17.0` alone."""
    if not side:
        return None
    name, equals, version = side[0].partition("==")
    if len(side) > 1 or (equals and name.strip().lower() != package.lower()):
        raise click.UsageError(
            f"{option} {package} takes one version of {package} on each side: {package}==VERSION"
        )
    return version.strip() if equals else name.strip()
