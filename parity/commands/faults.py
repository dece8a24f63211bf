"""`parity faults`: what the names of faults in reports mean."""

from __future__ import annotations

import click


@click.command("faults")
@click.argument("fault", required=False)
def faults(fault: str | None) -> int:
    """Say what a fault is that a report names, how it shows and what to do; without a name list all.

    FAULT: its name as reports have it, `pre-bgr-swap` say.
    """
    from parity.core.errors import ParityError
    from parity.core.faults import catalogue, nearest
    from parity.report.faults import print_fault, print_faults
    from parity.report.terminal import make_console

    if fault is None:
        print_faults(make_console())
        return 0
    entry = catalogue().get(fault.strip("[]"))
    if entry is None:
        alike = nearest(fault)
        hint = f"did you mean {' or '.join(alike)}?" if alike else "none is like it;"
        raise ParityError(f"no fault is called {fault!r}: {hint} `parity faults` lists all {len(catalogue())}")
    print_fault(entry, make_console())
    return 0
