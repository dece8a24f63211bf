"""The whole session: one Run of all that its tests compared, for --parity-json, the table and the known issues."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from parity.backends import backends_for
from parity.core.destination import Destination
from parity.core.environment import environment
from parity.core.errors import ParityError
from parity.core.results import Run, Subject, from_json, to_json
from parity.core.results import summarise as count
from parity.core.unfinished import mark_finished
from parity.suite.known_issues import mark_known_issues
from parity.suite.suite import Suite, read_suite
from parity.suite.thumbnails import add_thumbnails
from parity.testing.session import Watch
from parity.versions.baselines import unused_baselines

Leg = tuple[str, str, str]  # model, route, backend


@dataclass(frozen=True)
class Findings:
    """Hold the session's run, and what is said below its table."""

    run: Run
    remarks: tuple[str, ...]


def finish(session: pytest.Session, reported: Iterable[Sequence[Any]], watch: Watch) -> Findings:
    """Make one run of what the tests reported; stale known issues fail the session, and suites that prove nothing.

    reported: the fields of each Found.
    """
    subjects: list[Subject] = []  # of tests in Python; two of them may well compare the same in different ways
    suites: dict[str, dict[Leg, Subject]] = {}
    pictures: dict[tuple[str, Leg], Mapping[str, str]] = {}
    thumbnails: dict[str, str] = {}
    remarks: dict[str, None] = {}
    for home, text, remark in reported:
        remarks.update(dict.fromkeys(remark))
        part = from_json(text)
        for s in part.subjects:
            if home:  # without --dist loadgroup several workers ran one leg
                leg = s.model, s.route, s.backend
                suites.setdefault(home, {})[leg], pictures[home, leg] = s, part.thumbnails
            else:
                subjects.append(s)
                add_thumbnails(thumbnails, s.model, part.thumbnails)
    stale: list[str] = []
    for path in sorted(suites):
        suite, found = read_suite(Path(path)), suites[path]
        legs = [_found(leg, found) for leg in _all_legs(suite)]
        partial = None in legs
        # In the order of the suite file, whoever was the first to finish.
        done = [leg for leg in dict.fromkeys(legs) if leg]
        ordered = tuple(found[leg] for leg in done)
        for leg in done:
            add_thumbnails(thumbnails, leg[0], pictures[path, leg])
        marked, lines = mark_known_issues(ordered, suite.known_issues, partial=partial)
        subjects += marked
        stale += [f"{path}: {line}" for line in lines]
        if not partial:
            remarks.update(
                {f"{file}: nothing in the suite uses this baseline": None for file in unused_baselines(suite)}
            )
    run = Run(environment(), tuple(subjects), tuple(stale), count(tuple(subjects)), thumbnails)
    # A suite of which nothing passed, only failed as expected or was skipped, is no success.
    idle = bool(suites) and all(s.verdict == "skipped" or s.known_issue for s in subjects)
    unproven = () if session.config.getoption("collectonly") else tuple(watch.idle())
    remarks.update(dict.fromkeys(unproven))
    if (stale or idle or unproven) and session.exitstatus in (
        pytest.ExitCode.OK,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    target: Destination | None = session.config.getoption("parity_json")
    if target is not None:
        try:
            replace(target, reads=tuple(Path(path) for path in suites)).write(to_json(run))
        except ParityError as error:
            remarks[f"--parity-json {error}"] = None
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        else:
            if not watch.cut_short(session):
                mark_finished([target.path])
    return Findings(run, tuple(remarks))


def summarise(findings: Findings, reporter: pytest.TerminalReporter) -> None:
    """Print the table of what was compared, what failed for whom, and what is skipped why."""
    import io

    from parity.report.terminal import make_console, print_run

    text = io.StringIO()
    print_run(findings.run, make_console(text), explain=False)
    reporter.section("parity")
    for line in (*text.getvalue().rstrip().splitlines(), *findings.remarks):
        reporter.write_line(line)


def _all_legs(suite: Suite) -> list[Leg]:
    return [
        (entry.name, route, backend)
        for entry in suite.models
        for route in entry.routes
        for backend in backends_for(entry.recipe(route).format, entry.records)
    ]


def _found(leg: Leg, found: Container[Leg]) -> Leg | None:
    """Look for a leg; where no artefact came about, one finding stands for all backends."""
    model, route, _ = leg
    return next((one for one in (leg, (model, route, "-")) if one in found), None)
