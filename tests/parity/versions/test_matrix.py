"""Models by combinations of versions: each once, against the first, and who made it worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.contract import ASSUMED, Contract
from parity.core.destination import is_earlier
from parity.core.errors import ParityError
from parity.core.results import Environment, Subject
from parity.report import MATRIX_REPORTS
from parity.report.matrix import reasons, told
from parity.suite.suite import KnownIssueEntry, Suite, read_suite
from parity.versions import matrix as module
from parity.versions.bench import Bench, Conversion
from parity.versions.matrix import Matrix, judge_cells, matrix, matrix_to_json
from parity.versions.matrix_record import Cell, Record, Tried
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchains import ToolChainFailure
from parity.versions.upgrade_verdicts import STATES, UPGRADE_VERDICTS, SideState
from tests.parity import tiny as tiny_module
from tests.parity.tiny import converted, save_pictures, shifted

AXES = {"onnx": ("1.16.0", "1.17.0"), "onnxscript": ("0.5.7", "0.7.2")}
UNLOADED = ToolChainFailure("load", ("ImportError: gone",))
BROKEN = ToolChainFailure("convert", ("RuntimeError: no such operation",))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    home = tmp_path_factory.mktemp("suite")
    (home / "models.py").write_text(Path(tiny_module.__file__).read_text())
    save_pictures(home / "images")
    (home / "parity.toml").write_text(
        'images = ["images/*.png"]\nroutes = ["onnx-torchscript"]\n[models.tiny]\nfactory = "models.py:tiny"\n'
    )
    return read_suite(home / "parity.toml")


Make = Callable[[str], Conversion]


def sides(monkeypatch: pytest.MonkeyPatch, make: Make) -> list[str]:
    """Open stand-ins that make what a side's name says, and note which."""
    names: list[str] = []

    class Making(Bench):
        def convert(self, tried: SuiteRoute, held: Contract = ASSUMED) -> Conversion:
            return make(self.side.name)

    def opened(side: Side, directory: Path, timeout: float) -> Any:
        names.append(side.name)
        return nullcontext(Making(side, directory, timeout))

    monkeypatch.setattr(module, "opened", opened)
    return names


def good(name: str) -> Conversion:
    return Conversion(converted("onnx-torchscript"))


def wrong(name: str) -> Conversion:
    return Conversion(converted("onnx-torchscript", shifted))


def wrong_with(*packages: str) -> Make:
    return lambda name: wrong(name) if all(package in name for package in packages) else good(name)


def verdicts(found: Matrix) -> list[str]:
    return [leg.verdict for leg in found.legs]


def test_every_combination_is_tried_once_and_the_record_is_not_tried_again(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = sides(monkeypatch, good)

    found = matrix(suite, AXES, artifacts=tmp_path)

    assert names == [f"onnx=={one} onnxscript=={other}" for one, other in product(*AXES.values())]
    assert verdicts(found) == ["same"] * 4
    assert found.summary["same"] == 4
    assert found.exit_code == 0
    names.clear()
    again = matrix(suite, AXES, artifacts=tmp_path)
    assert names == []
    assert [leg.subject for leg in again.legs] == [leg.subject for leg in found.legs]


def test_a_matrix_that_was_stopped_goes_on(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(name: str) -> Conversion:
        if "onnx==1.17.0" in name:
            raise KeyboardInterrupt
        return good(name)

    sides(monkeypatch, stopped)
    with pytest.raises(KeyboardInterrupt):
        matrix(suite, AXES, artifacts=tmp_path)
    with (tmp_path / "matrix.jsonl").open("a") as file:
        file.write('{"identity": "half a li')
    names = sides(monkeypatch, good)

    assert verdicts(matrix(suite, AXES, artifacts=tmp_path)) == ["same"] * 4
    assert names == ["onnx==1.17.0 onnxscript==0.5.7", "onnx==1.17.0 onnxscript==0.7.2"]
    assert len((tmp_path / "matrix.jsonl").read_text().splitlines()) == 4


def test_more_versions_take_only_what_is_new(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = sides(monkeypatch, good)
    matrix(suite, AXES, artifacts=tmp_path)
    names.clear()

    matrix(suite, {**AXES, "onnx": ("1.16.0", "1.17.0", "1.18.0")}, artifacts=tmp_path)

    assert names == ["onnx==1.18.0 onnxscript==0.5.7", "onnx==1.18.0 onnxscript==0.7.2"]


def test_another_model_or_what_could_not_be_had_is_tried_again(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = sides(monkeypatch, lambda name: Conversion(failure=UNLOADED) if "1.17.0" in name else good(name))
    found = matrix(suite, AXES, artifacts=tmp_path)
    assert verdicts(found) == ["same", "same", "untried", "untried"]
    names.clear()
    matrix(suite, AXES, artifacts=tmp_path)
    assert names == ["onnx==1.17.0 onnxscript==0.5.7", "onnx==1.17.0 onnxscript==0.7.2"]

    (entry,) = suite.models
    other = replace(suite, models=(replace(entry, factory="models.py:shifted"),))
    names.clear()
    matrix(other, AXES, artifacts=tmp_path)
    assert len(names) == 4


@pytest.mark.parametrize(
    ("packages", "verdict", "culprits", "guilt"),
    [
        (("onnx==1.17.0",), ["same", "same", "worse", "worse"], ("onnx",), "onnx 1.17.0, alone"),
        (("onnxscript==0.7.2",), ["same", "worse", "same", "worse"], ("onnxscript",), "onnxscript 0.7.2, alone"),
        (
            ("onnx==1.17.0", "onnxscript==0.7.2"),
            ["same", "same", "same", "worse"],
            (),
            "onnx 1.17.0 and onnxscript 0.7.2 together, neither of them alone",
        ),
    ],
)
def test_where_both_packages_change_the_one_that_did_it_is_named(
    suite: Suite,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    packages: tuple[str, ...],
    verdict: list[str],
    culprits: tuple[str, ...],
    guilt: str,
) -> None:
    sides(monkeypatch, wrong_with(*packages))

    found = matrix(suite, AXES, artifacts=tmp_path)

    assert verdicts(found) == verdict
    assert (found.legs[-1].culprits, found.legs[-1].guilt) == (culprits, guilt)
    assert found.exit_code == 1
    assert any(line.endswith(f"[because of {guilt}]") for line in reasons(found))


def test_a_known_issue_holds_for_the_versions_of_a_cell(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, wrong_with("onnx==1.17.0"))
    issue = KnownIssueEntry("tiny", "*", "*", "upstream", "", "onnx==1.17.*")

    known = matrix(replace(suite, known_issues=(issue,)), AXES, artifacts=tmp_path)
    assert [leg.known_issue is not None for leg in known.legs] == [False, False, True, True]
    assert known.exit_code == 0
    assert any("worse (known)" in line and "known issue: upstream" in line for line in reasons(known))

    # The record holds what was seen, not what was known of it then.
    assert matrix(suite, AXES, artifacts=tmp_path).exit_code == 1


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "compares at least two versions"),
        ({"onnx": ("1.17.0",)}, "compares at least two versions"),
        ({"onnx": ("1.17.0", "1.17.0")}, "name each version once"),
        ({"onnx": ("1.17.0", "1.18.0"), "torch": ()}, "name each version once"),
    ],
)
def test_axes_that_compare_nothing_are_bad_input(axes: Any, message: str, suite: Suite, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=message):
        matrix(suite, axes, artifacts=tmp_path)


def synthetic(states: list[SideState]) -> Matrix:
    """Judge a matrix of 2 by 2 whose cells are in these states."""
    verdict = {"right": "pass", "wrong": "fail", "skipped": "skipped", "inconclusive": "inconclusive"}
    cells = [Cell("m", "onnx", versions) for versions in product(*AXES.values())]
    tried = {
        cell: Tried(Subject("m", "onnx", "", "onnxruntime", "fp32", verdict.get(state, "error"), state), state)  # type: ignore[arg-type]
        for cell, state in zip(cells, states, strict=True)
    }
    legs = judge_cells(AXES, tried, [("m", "onnx")])
    summary: dict[str, int] = {v: sum(leg.verdict == v for leg in legs) for v in UPGRADE_VERDICTS}
    return Matrix(AXES, legs, Environment("3.11", "here", {}), summary=summary)


@given(st.lists(st.sampled_from(STATES), min_size=4, max_size=4))
def test_guilt_is_of_what_is_worse_alone(states: list[SideState]) -> None:
    first, script, onnx, both = synthetic(states).legs

    assert not first.guilt
    for leg in (script, onnx, both):
        assert bool(leg.guilt) == (leg.verdict in ("worse", "broken"))
    if both.verdict in ("worse", "broken"):
        alone = {"onnx": onnx.verdict, "onnxscript": script.verdict}
        assert both.culprits == tuple(name for name, verdict in alone.items() if verdict in ("worse", "broken"))


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["right"] * 4, 0),
        (["right", "wrong", "right", "right"], 1),
        (["right", "refused", "right", "right"], 1),
        (["wrong", "right", "right", "right"], 0),
        (["right", "untried", "untried", "untried"], 3),
        (["skipped"] * 4, 3),
    ],
)
def test_exit_codes_and_reports(states: list[SideState], code: int, tmp_path: Path) -> None:
    found = synthetic(states)

    assert found.exit_code == code
    for name, report in MATRIX_REPORTS.items():
        path = tmp_path / f"report.{name}"
        path.write_text(report.text(found), encoding="utf-8")
        assert is_earlier(path, report.kind)
    root = ElementTree.fromstring((tmp_path / "report.junit").read_text())
    assert (int(root.attrib["failures"]) > 0) == (code == 1)
    assert (int(root.attrib["errors"]) > 0) == (code == 3)
    assert told(found) in (tmp_path / "report.html").read_text()
    assert told(found).partition(":")[0] in (tmp_path / "report.markdown").read_text()


def test_reports_show_nothing_of_a_name_as_their_own() -> None:
    found = synthetic(["right", "wrong", "right", "right"])
    evil = replace(found.legs[0], cell=replace(found.legs[0].cell, model="<script>alert(1)</script>"))
    told_evil = replace(found, legs=(evil, *found.legs[1:]))

    assert "<script>" not in MATRIX_REPORTS["html"].text(told_evil)
    assert "<script>" not in MATRIX_REPORTS["markdown"].text(told_evil)


def test_json_has_every_cell() -> None:
    written = json.loads(matrix_to_json(synthetic(["right", "wrong", "right", "wrong"])))

    assert written["schema"] == "parity-matrix/1"
    assert written["axes"] == {"onnx": ["1.16.0", "1.17.0"], "onnxscript": ["0.5.7", "0.7.2"]}
    assert [leg["cell"]["versions"] for leg in written["legs"]] == [list(v) for v in product(*AXES.values())]
    assert written["legs"][3]["culprits"] == ["onnxscript"]


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    record = Record(tmp_path / "file" / "matrix.jsonl", {"m": "1"})
    subject = Subject("m", "onnx", "", "onnxruntime", "fp32", "pass")

    with pytest.raises(ParityError, match="cannot be written .*; give another --artifacts"):
        record.add(Cell("m", "onnx", ("1",)), Tried(subject, "right"))
