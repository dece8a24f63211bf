"""`parity ops`: which operations and layers the evaluator of Core ML files runs."""

from __future__ import annotations

import click


@click.command("ops")
def ops() -> int:
    """Print which operations, by opset, and which layers the evaluator of Core ML files runs."""
    from parity.coreml.coverage import layer_coverage, operation_coverage
    from parity.report.coverage import print_coverage
    from parity.report.terminal import make_console

    print_coverage(operation_coverage(), layer_coverage(), make_console())
    return 0
