"""What the evaluator runs, as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_coverage(
    operations: Mapping[str, Mapping[str, bool]], layers: Mapping[str, bool], console: Console
) -> None:
    """Print a row for each operation and layer, then how many run.

    operations: operation -> opset -> whether it runs; an opset that does not define it is absent.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    opsets = sorted({opset for coverage in operations.values() for opset in coverage})
    table = Table("ML Program operation", *opsets, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, coverage in operations.items():
        table.add_row(name, *("" if opset not in coverage else _word(coverage[opset]) for opset in opsets))
    console.print(table)
    table = Table("NeuralNetwork layer", "runs", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, runs in layers.items():
        table.add_row(name, _word(runs))
    console.print(table)
    for opset in opsets:
        defined = [coverage[opset] for coverage in operations.values() if opset in coverage]
        console.print(f"{opset}: {sum(defined)} of {len(defined)} operations", soft_wrap=True)
    console.print(f"layers: {sum(layers.values())} of {len(layers)}", soft_wrap=True)


def _word(runs: bool) -> str:
    return "yes" if runs else "no"
