"""`parity upgrade`: what another version of a converter or of a runtime changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.commands.options import ARTIFACTS, MODEL, ROUTE, SUITE, TIME_LIMIT, Finite, open_suite
from parity.commands.outputs import begin_work, json_option, save

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.suite.suite import Suite


@click.command("upgrade")
@SUITE
@click.option("--with", "with_", multiple=True, metavar="PACKAGE==VERSION", help="Old versions, against installed.")
@click.option("--from", "from_", multiple=True, metavar="PACKAGE==VERSION", help="The old side; repeatable.")
@click.option("--to", "to", multiple=True, metavar="PACKAGE==VERSION", help="The new side; repeatable.")
@click.option("--bisect", "package", metavar="PACKAGE", help="Find the release that broke it, --from one --to one.")
@MODEL
@ROUTE
@TIME_LIMIT
@click.option("--timeout", type=Finite(min=1), default=900, show_default=True, help="Seconds for one conversion.")
@json_option(
    "all that was found, as JSON,",
    lambda options: "parity-bisection" if options["package"] else "parity-upgrade",
)
@ARTIFACTS
def upgrade(
    suite: Path | None,
    with_: tuple[str, ...],
    from_: tuple[str, ...],
    to: tuple[str, ...],
    package: str | None,
    json_file: Destination | None,
    models: tuple[str, ...],
    routes: tuple[str, ...],
    **options: Any,
) -> int:
    """Convert a suite by other versions of converters, in an environment of their own, and compare.

    A side is PACKAGE==VERSION, or several, or `installed`, or a tool chain by its name: the suite's, or `2020`.
    Exit codes: 0 nothing got worse, 1 something did or broke, 2 the input is bad, 3 nothing can be concluded.
    """
    if package and with_:
        raise click.UsageError(f"--bisect {package} goes from one release to another: give --from and --to")
    if not package and bool(with_) == bool(from_ or to):
        raise click.UsageError(
            "give either --with, or --from and --to (the one left out stands for what is installed)"
        )
    from parity.suite.suite import Selection

    with open_suite(suite, Selection(models, routes)) as (chosen, progress):
        begin_work(json_file)
        work = {"models": models, "routes": routes, "progress": progress, **options}
        if package:
            comparison, text = _bisect(chosen, package, from_, to, work)
        else:
            comparison, text = _upgrade(chosen, with_, from_, to, work)
    unwritten = save(json_file, lambda: text)
    from parity.report.terminal import make_console
    from parity.report.upgrade import print_bisection, print_upgrade

    (print_bisection if package else print_upgrade)(comparison, make_console())
    code: int = comparison.exit_code
    return code or unwritten


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


def _version(package: str, side: tuple[str, ...]) -> str | None:
    """Return the version in --from or --to: `onnx==1.17.0`, or `1.17.0` alone."""
    if not side:
        return None
    name, equals, version = side[0].partition("==")
    if len(side) > 1 or (equals and name.strip().lower() != package.lower()):
        raise click.UsageError(
            f"--bisect {package} takes one version of {package} on each side: {package}==VERSION"
        )
    return version.strip() if equals else name.strip()
