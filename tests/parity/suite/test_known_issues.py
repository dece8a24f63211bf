"""Expected failures: marked where they are, named where they are no longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parity.core.results import KnownIssue, Subject, Verdict
from parity.suite.known_issues import mark_known_issues
from parity.suite.suite import KnownIssueEntry


def subject(verdict: Verdict, model: str = "net", route: str = "onnx", backend: str = "onnxruntime") -> Subject:
    return Subject(model, route, f"{model}.onnx", backend, "fp32", verdict)


def entry(model: str = "*", route: str = "*", backend: str = "*", reason: str = "upstream") -> KnownIssueEntry:
    return KnownIssueEntry(model, route, backend, reason, "https://example.org/1")


@pytest.mark.parametrize("verdict", ["fail", "error", "inconclusive"])
@pytest.mark.parametrize(
    "matching",
    [
        entry(),
        entry(model="net"),
        entry(route="onnx"),
        entry(backend="onnxruntime"),
        entry("net", "onnx", "onnxruntime"),
    ],
)
def test_an_expected_failure_is_marked(verdict: Verdict, matching: KnownIssueEntry) -> None:
    (marked,), stale = mark_known_issues((subject(verdict),), [matching])

    assert marked.known_issue == KnownIssue("upstream", "https://example.org/1")
    assert marked.verdict == verdict
    assert stale == ()


@pytest.mark.parametrize("other", [entry(model="ne"), entry(route="mlprogram"), entry(backend="onnx-reference")])
def test_an_entry_for_something_else_marks_nothing_and_is_stale(other: KnownIssueEntry) -> None:
    found = (subject("fail"),)

    marked, stale = mark_known_issues(found, [other])

    assert marked == found
    assert stale == (
        f"known issue (model {other.model}, route {other.route}, backend {other.backend}: upstream) "
        "matches nothing in this suite; correct or remove it",
    )


@pytest.mark.parametrize(
    ("package", "version", "known"),
    [
        (None, "", True),
        ("onnxruntime>=1.21,<1.25", "1.21.0", True),
        ("onnxruntime>=1.21,<1.25", "1.24.4", True),
        ("onnxruntime>=1.21,<1.25", "1.24.0rc1", True),
        ("onnxruntime>=1.21,<1.25", "1.25.0", False),
        ("onnxruntime>=1.21,<1.25", "1.20.1", False),
        ("onnxruntime>=1.21,<1.25", "", False),  # it is not there
    ],
)
def test_an_entry_holds_with_its_versions_alone(package: str | None, version: str, known: bool) -> None:
    (marked,), stale = mark_known_issues(
        (subject("fail"),), [replace(entry(model="net"), package=package)], version_of=lambda name: version
    )

    assert (marked.known_issue is not None, stale) == (known, ())


def test_an_entry_for_other_versions_is_not_stale_where_nothing_fails() -> None:
    assert mark_known_issues((subject("pass"),), [replace(entry(model="net"), package="torch<1")])[1] == ()
    assert len(mark_known_issues((subject("pass"),), [replace(entry(model="net"), package="torch>1")])[1]) == 1
    assert mark_known_issues((subject("pass"),), [replace(entry(), package="no-such-package>1")])[1] == ()


def test_an_entry_that_no_longer_fails_is_stale() -> None:
    marked, stale = mark_known_issues((subject("pass"),), [entry(model="net")])

    assert marked[0].known_issue is None
    assert stale == (
        "known issue (model net, route *, backend *: upstream) no longer fails; remove it from the suite file",
    )


def test_an_entry_is_alive_while_one_of_its_subjects_fails() -> None:
    marked, stale = mark_known_issues((subject("pass"), subject("fail", backend="onnx-reference")), [entry()])

    assert [s.known_issue is not None for s in marked] == [False, True]
    assert stale == ()


def test_what_was_skipped_says_nothing_about_an_entry() -> None:
    # An issue of Apple's runtime is neither there nor gone where that runtime cannot run.
    marked, stale = mark_known_issues(
        (subject("skipped", backend="coreml-native"),), [entry(backend="coreml-native")]
    )

    assert marked[0].known_issue is None
    assert stale == ()


def test_of_two_entries_the_first_counts() -> None:
    (marked,), stale = mark_known_issues((subject("fail"),), [entry(reason="first"), entry(reason="second")])

    assert marked.known_issue is not None
    assert marked.known_issue.reason == "first"
    assert stale == ()


def test_a_failed_conversion_is_matched_by_its_route() -> None:
    (marked,), _ = mark_known_issues((subject("error", backend="-"),), [entry(route="onnx")])

    assert marked.known_issue is not None


@pytest.mark.parametrize("wide", [entry(model="net"), entry(model="net", route="onnx"), entry(model="other")])
def test_in_a_part_of_a_suite_a_wide_entry_is_never_stale(wide: KnownIssueEntry) -> None:
    # What it expects to fail may be in the part that was not run.
    assert mark_known_issues((subject("pass"),), [wide], partial=True)[1] == ()


def test_in_a_part_of_a_suite_an_entry_for_one_subject_can_be_stale() -> None:
    _, stale = mark_known_issues((subject("pass"),), [entry("net", "onnx", "onnxruntime")], partial=True)

    assert len(stale) == 1


def test_nothing_known_changes_nothing() -> None:
    found = (subject("fail"), subject("pass"))

    assert mark_known_issues(found, []) == (found, ())
