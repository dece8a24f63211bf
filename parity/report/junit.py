"""A run as JUnit XML, for what draws test results in a build server: a suite for each model and route."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from parity.core.results import Run
from parity.report.gate_view import GateView
from parity.report.matrix_view import MatrixRow
from parity.report.view import RunView, SubjectView, make_view

_NUMBERS = ("images", "top1", "max_abs_diff", "tolerance", "would_pass", "guilty_hop", "recorded_by", "artifact")


def to_junit(run: Run) -> str:
    """Write a run. A known issue and what was skipped are skipped tests; what is inconclusive is an error.

    Names carry no character that XML forbids: the view spells such characters out.
    """
    view = make_view(run)
    root = Element("testsuites", name="coreml-parity")
    for matrix_row in view.matrix:
        add_suite(root, f"{matrix_row.model} by {matrix_row.way} ({matrix_row.precision})", _cases(matrix_row))
        _add_properties(root[-1], view, matrix_row)
    if view.stale:
        stale = [test_case("known issues", f"entry {number}") for number in range(1, 1 + len(view.stale))]
        for case, line in zip(stale, view.stale, strict=True):
            SubElement(case, "failure", message=line, type="stale").text = line
        add_suite(root, "known issues of the suite file", stale)
    if view.unreadable:
        unread = test_case("images", "were read")
        if view.unreadable_fails:
            SubElement(unread, "failure", message=view.unreadable, type="unreadable").text = view.unreadable
        else:
            SubElement(unread, "system-out").text = view.unreadable
        add_suite(root, "images", [unread])
    if view.exit_code == 3 and not any(s.attention for s in view.subjects):
        # A server shows a file of skipped tests as green, known issues among them; nothing passes by not running.
        empty = test_case("run", "something passed")
        SubElement(empty, "error", message=view.told, type="inconclusive").text = view.told
        add_suite(root, "run", [empty])
    for attribute in ("tests", "failures", "errors"):
        root.set(attribute, str(sum(int(suite.attrib[attribute]) for suite in root)))
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def add_suite(root: Element, name: str, cases: Iterable[Element]) -> None:
    """Add a suite of test cases, with what of them failed."""
    suite = SubElement(root, "testsuite", name=name)
    suite.extend(cases)
    counts = {kind: sum(case.find(kind) is not None for case in suite) for kind in ("failure", "error", "skipped")}
    numbers = {"tests": len(suite), "failures": counts["failure"], "errors": counts["error"]}
    numbers |= {"skipped": counts["skipped"], "time": 0}
    suite.attrib.update({key: str(value) for key, value in numbers.items()})


def _add_properties(suite: Element, view: RunView, matrix_row: MatrixRow) -> None:
    """Put what was measured into the suite: in most schemas a test case has no properties, and they come first."""
    properties = Element("properties")
    values = {"python": view.python, "platform": view.platform, "shard": view.shard}
    for backend, cell in matrix_row.cells.items():
        for number, s in enumerate(cell):
            prefix = f"{backend}.{number}" if number else backend
            values.update({f"{prefix}.{name}": _text(getattr(s, name)) for name in _NUMBERS})
    for name, value in values.items():
        if value:
            SubElement(properties, "property", name=name, value=value)
    suite.insert(0, properties)


def _text(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _cases(matrix_row: MatrixRow) -> Iterable[Element]:
    for cell in matrix_row.cells.values():
        for number, s in enumerate(cell):
            suffix = f" ({number})" if number else ""
            yield _subject(s, suffix)
            if s.gate:
                yield _gate(s, s.gate, suffix)


def _gate(s: SubjectView, gate: GateView, suffix: str) -> Element:
    """Write whether accuracy is kept as a test of its own: it is another question than whether the two agree."""
    case = test_case(f"{s.model}.{s.way}", f"{s.backend}{suffix} keeps its accuracy")
    if gate.verdict == "pass":
        SubElement(case, "system-out").text = gate.told
    else:
        kind = ("failure" if gate.verdict == "fail" else "error") if gate.matters else "skipped"
        _add_trouble(case, kind, gate.verdict, gate.told)
    return case


def _add_trouble(case: Element, kind: str, verdict: str, message: str, text: str = "") -> None:
    """Say why a test does not pass; of a question that does not decide, that it was skipped."""
    if kind == "skipped":
        SubElement(case, "skipped", message=f"does not decide (--gate): {verdict}: {message}")
        return
    SubElement(case, kind, message=message, type=verdict).text = text or message


def _subject(s: SubjectView, suffix: str) -> Element:
    case = test_case(f"{s.model}.{s.way}", ("conversion" if s.backend == "-" else s.backend) + suffix)
    # The explanation has the causes, what to write instead and where the two part, as in the terminal.
    text = "\n".join(s.explanation)
    if s.known:
        SubElement(case, "skipped", message=f"known issue: {s.known_reason} {s.known_link}".rstrip())
        SubElement(case, "system-out").text = text
    elif s.verdict == "skipped":
        SubElement(case, "skipped", message=s.reason)
    elif s.verdict != "pass":
        kind = ("failure" if s.verdict == "fail" else "error") if s.matters else "skipped"
        _add_trouble(case, kind, s.verdict, s.reason, text)
    return case


def test_case(group: str, name: str) -> Element:
    """Make a test case; what becomes of it is put inside."""
    return Element("testcase", classname=group, name=name, time="0")
