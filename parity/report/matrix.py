"""A matrix of versions, models by combinations: on the terminal, as a page, as Markdown and as JUnit XML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from parity.report.html import content_policy, page, template
from parity.report.junit import add_suite, test_case
from parity.report.markdown import MOST_CHARACTERS, block, bounded, data, row
from parity.report.markdown import table as markdown_table
from parity.report.text import visible
from parity.versions.matrix import Matrix, MatrixLeg, told_versions
from parity.versions.upgrade_verdicts import REGRESSIONS

if TYPE_CHECKING:
    from rich.console import Console

SIGNS: Mapping[str, str] = {
    "better": "+",
    "same": "=",
    "worse": "✗",
    "broken": "!",
    "inconclusive": "?",
    "untried": "·",
    "skipped": "–",
}
_COLOURS = {"better": "green", "worse": "red", "broken": "red", "inconclusive": "yellow", "untried": "yellow"}
_ANSWERS = {0: "nothing got worse", 1: "something got worse", 3: "nothing can be concluded"}
_MARKS = {0: "✅", 1: "❌", 3: "❔"}


def rows(matrix: Matrix) -> Mapping[tuple[str, str], tuple[MatrixLeg, ...]]:
    """Group the cells: model and route -> a cell for each combination, in their order."""
    grouped: dict[tuple[str, str], list[MatrixLeg]] = {}
    for leg in matrix.legs:
        grouped.setdefault((leg.cell.model, leg.cell.route), []).append(leg)
    return {way: tuple(legs) for way, legs in grouped.items()}


def told(matrix: Matrix) -> str:
    """Say in a line what came of it."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in matrix.summary.items() if count)
    packages = " by ".join(f"{len(versions)} of {package}" for package, versions in matrix.axes.items())
    return f"matrix of {packages}: {_ANSWERS[matrix.exit_code]}: {counts or 'nothing was compared'}"


def sign(leg: MatrixLeg, matrix: Matrix) -> str:
    """Show a cell by one character; that of the first combination says how it is itself."""
    if leg.cell.versions == matrix.combinations[0]:
        return {"right": "✓", "wrong": "✗"}.get(leg.state, SIGNS.get(leg.state, "!"))
    return SIGNS[leg.verdict]


def reasons(matrix: Matrix) -> Iterator[str]:
    """Say of each cell that is not as the first one why, and which package did it; the same of several once."""
    shared: dict[tuple[str, str, str], list[str]] = {}
    for leg in matrix.legs:
        first = leg.cell.versions == matrix.combinations[0]
        if leg.verdict != "same" or (first and leg.reason):
            verdict = f"{leg.verdict} (known)" if leg.known_issue else leg.verdict
            said = f"{leg.state} at first" if first else f"{verdict}: {leg.reason}"
            said = f"{said}; known issue: {leg.known_issue.reason}" if leg.known_issue else said
            shared.setdefault((f"{leg.cell.model} by {leg.cell.route}", said, leg.guilt), []).append(
                told_versions(matrix.axes, leg.cell.versions)
            )
    for (way, said, guilt), combinations in shared.items():
        yield f"{way}: {said}" + (f" [because of {guilt}]" if guilt else "")
        yield from (f"  with {combination}" for combination in combinations)


def print_matrix(matrix: Matrix, console: Console) -> None:
    """Print the combinations by number, a line of signs for each model and route, and what got worse by what."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for number, versions in enumerate(matrix.combinations, 1):
        console.print(f"{number:>4}  {told_versions(matrix.axes, versions)}", soft_wrap=True)
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("model", "route", "runtime"):
        shown.add_column(heading, overflow="fold")
    for number in range(1, 1 + len(matrix.combinations)):
        shown.add_column(str(number), justify="center", no_wrap=True)
    for (model, route), legs in rows(matrix).items():
        signs = [Text(sign(leg, matrix), _COLOURS.get(leg.verdict, "")) for leg in legs]
        shown.add_row(visible(model), visible(route), legs[0].backend, *signs)
    console.print(shown)
    legend = ", ".join(f"{mark} {verdict}" for verdict, mark in SIGNS.items() if matrix.summary.get(verdict))
    console.print(f"against 1: {legend}", soft_wrap=True)
    for line in (*reasons(matrix), *matrix.remarks, told(matrix)):
        console.print(visible(line), soft_wrap=True)


def to_html(matrix: Matrix) -> str:
    """Write a matrix as a page that needs nothing else."""
    style = template("matrix.css")
    return page("matrix.html.j2").render(
        told=told(matrix),
        combinations=[told_versions(matrix.axes, versions) for versions in matrix.combinations],
        rows=[(*way, [(leg, sign(leg, matrix)) for leg in legs]) for way, legs in rows(matrix).items()],
        reasons=[visible(line) for line in reasons(matrix)],
        remarks=[visible(line) for line in matrix.remarks],
        style=style,
        policy=content_policy(style, ""),
        environment=matrix.environment,
    )


def to_markdown(matrix: Matrix, most: int = MOST_CHARACTERS) -> str:
    """Write a matrix in at most `most` characters; what has no room is counted at the end."""
    head = f"### {_MARKS[matrix.exit_code]} coreml-parity: {told(matrix)}\n"
    numbered = [
        f"{n}. {data(told_versions(matrix.axes, versions))}" for n, versions in enumerate(matrix.combinations, 1)
    ]
    columns = ("model", "route", *(str(n) for n in range(1, 1 + len(numbered))))
    cells = [
        row((data(model), data(route), *(sign(leg, matrix) for leg in legs)))
        for (model, route), legs in rows(matrix).items()
    ]
    lines = [block([line]) for line in reasons(matrix)]
    parts = (
        ("combination", [f"{line}\n" for line in numbered]),
        ("row", [f"\n{markdown_table(columns)}", *cells, "\n"]),
        ("reason", lines),
    )
    return bounded(head, parts, most, "the JSON and the HTML report have all")


def to_junit(matrix: Matrix) -> str:
    """Write a matrix: a suite for each model and route, a test for each combination."""
    root = Element("testsuites", name="coreml-parity")
    for (model, route), legs in rows(matrix).items():
        add_suite(root, visible(f"{model} by {route}"), (_case(matrix, leg) for leg in legs))
    if matrix.exit_code == 3:
        empty = test_case("matrix", "something was compared")
        SubElement(empty, "error", message=told(matrix), type="inconclusive").text = told(matrix)
        add_suite(root, "matrix", [empty])
    for attribute in ("tests", "failures", "errors"):
        root.set(attribute, str(sum(int(suite.attrib[attribute]) for suite in root)))
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _case(matrix: Matrix, leg: MatrixLeg) -> Element:
    case = test_case(
        visible(f"{leg.cell.model} by {leg.cell.route}"), told_versions(matrix.axes, leg.cell.versions)
    )
    said = visible("; ".join(filter(None, (leg.reason, leg.guilt and f"because of {leg.guilt}"))))
    if leg.verdict in REGRESSIONS and leg.known_issue is None:
        SubElement(case, "failure", message=said, type=leg.verdict).text = said
    elif leg.verdict == "inconclusive":
        SubElement(case, "error", message=said, type=leg.verdict).text = said
    elif leg.verdict in ("untried", "skipped", *REGRESSIONS):
        SubElement(case, "skipped", message=said)
    return case
