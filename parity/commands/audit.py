"""`parity audit`: which known faults a suite's images and tolerances would catch."""

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
    begin_work,
    json_option,
    save,
)

if TYPE_CHECKING:
    from parity.core.destination import Destination


@click.command("audit")
@SUITE
@MODEL
@ROUTE
@BACKEND
@TIME_LIMIT
@click.option("--faults", multiple=True, metavar="PATTERN", help="Only faults of such names, `pre-*`; repeatable.")
@json_option("what became of every fault, as JSON,", "parity-audit")
@ARTIFACTS
def audit(
    suite: Path | None,
    models: tuple[str, ...],
    routes: tuple[str, ...],
    backends: tuple[str, ...],
    faults: tuple[str, ...],
    json_file: Destination | None,
    artifacts: Path,
) -> int:
    """Put known faults into a suite's artefacts and say which its images and tolerances would catch.

    Every route runs on the first backend that runs here, unless --backend names others.
    Exit codes: 0 all that do anything are caught, 1 one is missed, 2 the input is bad, 3 nothing could be mutated.
    """
    from parity.report.progress import progress_bar
    from parity.suite.suite import find_suite, read_suite

    path = find_suite(suite)
    with progress_bar() as progress:
        progress("loading PyTorch", None)
        read = read_suite(path)
        from parity.audit.findings import to_json
        from parity.audit.run import audit_suite
        from parity.backends.selection import check_selection
        from parity.report.audit import print_audit
        from parity.report.terminal import make_console

        check_selection(read, models, routes, backends)
        begin_work(json_file)
        found = audit_suite(read, models, routes, backends, faults, artifacts, progress)
    unwritten = save(json_file, lambda: to_json(found))
    print_audit(found, make_console())
    return found.exit_code or unwritten
