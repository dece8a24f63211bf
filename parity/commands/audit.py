"""`parity audit`: which known faults a suite's images and tolerances would catch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import ARTIFACTS, SUITE, TIME_LIMIT, open_suite, selection_options
from parity.commands.outputs import begin_work, json_option, save

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.suite.suite import Selection


@click.command("audit")
@SUITE
@selection_options
@TIME_LIMIT
@click.option("--faults", multiple=True, metavar="PATTERN", help="Only faults of such names, `pre-*`; repeatable.")
@json_option("what became of every fault, as JSON,", "parity-audit")
@ARTIFACTS
def audit(
    suite: Path | None,
    selection: Selection,
    faults: tuple[str, ...],
    json_file: Destination | None,
    artifacts: Path,
) -> int:
    """Put known faults into a suite's artefacts and say which its images and tolerances would catch.

    Every route runs on the first backend that runs here, unless --backend names others.
    Exit codes: 0 all that do anything are caught, 1 one is missed, 2 the input is bad, 3 nothing could be mutated.
    """
    with open_suite(suite, selection) as (chosen, progress):
        from parity.audit.findings import to_json
        from parity.audit.run import audit_suite
        from parity.report.audit import print_audit
        from parity.report.terminal import make_console

        begin_work(json_file)
        findings = audit_suite(chosen, selection, faults, artifacts, progress)
    unwritten = save(json_file, lambda: to_json(findings))
    print_audit(findings, make_console())
    return findings.exit_code or unwritten
