"""What became of the tests of suite files in a session: how many were selected, and which of them passed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from conversion.guards.user_code import place_of, told_error
from parity.core.destination import Destination
from parity.core.unfinished import mark_unfinished


@dataclass
class SuiteTests:
    """Count the tests of one suite file that were selected, by their ids; with pytest-xdist those that ran."""

    selected: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)


@dataclass
class Watch:
    """Follow a session. stopped: by Ctrl-C, by pytest.exit, or a worker's death: before all tests ran."""

    suites: dict[str, SuiteTests] = field(default_factory=dict)
    stopped: bool = False

    def select(self, items: Sequence[pytest.Item]) -> None:
        """Note the suite items that are to be run."""
        for item in items:
            if suite := getattr(item, "parity_suite", ""):
                self._of(suite).selected.add(item.nodeid)

    def hear(self, report: Any) -> None:
        """Note what became of a test."""
        if suite := getattr(report, "parity_suite", ""):
            tests = self._of(suite)
            tests.selected.add(report.nodeid)
            tests.reported.add(report.nodeid)
            if report.when == "call" and report.passed:
                tests.passed.add(report.nodeid)

    def idle(self) -> Iterator[str]:
        """Say why the session proves nothing: no test of a suite passed, or some were selected and not run."""
        nothing_passed = not any(tests.passed for tests in self.suites.values())
        for suite, tests in self.suites.items():
            count = len(tests.selected)
            if left := count - len(tests.reported):
                yield f"{suite}: {left} of the {count} selected tests were not run: the session ended before"
            elif nothing_passed:
                yield f"{suite}: none of the {count} selected tests passed: nothing can be concluded"

    def cut_short(self, session: pytest.Session) -> bool:
        """Say whether the session ended before all that was selected had run."""
        early = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)
        return self.stopped or bool(session.shouldfail or session.shouldstop) or session.exitstatus in early

    def _of(self, suite: str) -> SuiteTests:
        return self.suites.setdefault(suite, SuiteTests())


def begin(results: Destination) -> None:
    """Mark --parity-json as unfinished; workers of pytest-xdist do not."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        mark_unfinished([results.path])


def refused_end(error: BaseException) -> str:
    """Say that a conftest.py ended the session as if all were well."""
    return f"{place_of(error)} raises {told_error(error)}: no test of the suite was run"
