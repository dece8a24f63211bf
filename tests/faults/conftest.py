"""With FAULTS=all every injection runs and the table is printed, as `make faults` does; else a sample runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.breaking import nothing_breaks
from tests.faults.measuring import Outcome, table
from tests.sampling import sample

__all__ = ["nothing_breaks"]

ALL = os.environ.get("FAULTS") == "all"
# How many of each test file's injections and controls; a control converts and compares many times.
SAMPLE = {"test_catalogue.py": 8}
OTHERS = 1
SAMPLED = ("test_catalogue", "test_controls", "faults/test_shipped")
# Half a minute for each control: `make faults` alone takes them.
LARGE = ("resnet18", "shufflenet_v2", "vision_transformer")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not in the sample."""
    ours = [item for item in items if any(name in item.nodeid for name in SAMPLED)]
    # A test that somebody names is run.
    if ALL or any("::" in argument for argument in config.args):
        return
    files = {path: [item.nodeid for item in ours if item.path == path] for path in {item.path for item in ours}}
    small = {path: [n for n in names if not any(large in n for large in LARGE)] for path, names in files.items()}
    chosen = set().union(*(sample(names, SAMPLE.get(path.name, OTHERS)) for path, names in small.items()))
    left_out = [item for item in ours if item.nodeid not in chosen]
    config.hook.pytest_deselected(items=left_out)
    dropped = set(map(id, left_out))
    items[:] = [item for item in items if id(item) not in dropped]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table."""
    if not ALL:
        return
    outcomes = [Outcome(**value) for value in _properties(terminalreporter.stats, "fault_outcome")]
    if outcomes:
        terminalreporter.section("faults")
        for line in table(outcomes):
            terminalreporter.line(line)
    comparisons = sum(_properties(terminalreporter.stats, "clean_comparisons"))
    alarms = sum("test_controls" in report.nodeid for report in terminalreporter.stats.get("failed", ()))
    terminalreporter.line(f"{comparisons} clean comparisons, {alarms} conversions with a false alarm")


def _properties(stats: dict[str, Sequence[Any]], wanted: str) -> Iterator[Any]:
    for reports in stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                yield from (value for name, value in report.user_properties if name == wanted)
