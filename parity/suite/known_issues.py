"""Failures that the suite file expects: they do not fail the run, but they must still be there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from parity.core.results import KnownIssue, Subject
from parity.suite.suite import KnownIssueEntry


def installed_version(package: str) -> str:
    """Return the installed version of a package; empty where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def mark_known_issues(
    subjects: tuple[Subject, ...],
    entries: Sequence[KnownIssueEntry],
    *,
    partial: bool = False,
    version_of: Callable[[str], str] = installed_version,
) -> tuple[tuple[Subject, ...], tuple[str, ...]]:
    """Mark the failures that are expected, and name the entries that no longer are.

    partial: only a part of the suite was run: what an entry expects to fail may be in the other part, unless the
        entry names one model, route and backend.
    version_of: a package's version where the subjects ran; an entry for other versions says nothing.
    Returns the subjects and one line per stale entry. Where two entries match, the first counts.
    """
    marked = list(subjects)
    stale: list[str] = []
    for entry in (entry for entry in entries if _holds(entry, version_of)):
        matching = [i for i, subject in enumerate(subjects) if _matches(entry, subject)]
        ran = [i for i in matching if subjects[i].verdict != "skipped"]
        failed = [i for i in ran if subjects[i].verdict in ("fail", "error", "inconclusive")]
        named = f"known issue (model {entry.model}, route {entry.route}, backend {entry.backend}: {entry.reason})"
        if not matching:
            if not partial:
                stale.append(f"{named} matches nothing in this suite; correct or remove it")
        elif ran and not failed and not (partial and "*" in (entry.model, entry.route, entry.backend)):
            stale.append(f"{named} no longer fails; remove it from the suite file")
        for i in failed:
            if marked[i].known_issue is None:
                marked[i] = replace(marked[i], known_issue=KnownIssue(entry.reason, entry.link))
    return tuple(marked), tuple(stale)


def _holds(entry: KnownIssueEntry, version_of: Callable[[str], str]) -> bool:
    if entry.package is None:
        return True
    from parity.suite.toolchain import requirement

    wanted = requirement(entry.package)
    found = version_of(wanted.name)
    return bool(found) and wanted.specifier.contains(found, prereleases=True)


def _matches(entry: KnownIssueEntry, subject: Subject) -> bool:
    return (
        entry.model in ("*", subject.model)
        and entry.route in ("*", subject.route)
        and entry.backend in ("*", subject.backend)
    )
