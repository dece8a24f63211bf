"""Old against new: who is nearer to PyTorch, and what changed in the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion import Artifact, Classifier
from conversion.contract import ASSUMED, Contract
from parity.backends.bound import bind
from parity.core.errors import ParityError
from parity.core.results import Environment, KnownIssue, Prediction, Subject
from parity.judging import judge_with_prediction
from parity.suite.suite import KnownIssueEntry, Suite, read_suite
from parity.versions import upgrade as module
from parity.versions.bench import Bench, Conversion, Outcome
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchains import ToolChain, ToolChainFailure
from parity.versions.upgrade import Upgrade, UpgradeLeg, changed_files, upgrade, upgrade_to_json
from tests.parity import tiny as tiny_module
from tests.parity.tiny import converted, save_pictures, shifted

OLD, NEW = Side("old", ToolChain("old", ("onnx==1.17.0",))), Side("installed")


PASS = Subject("m", "onnx", "m.onnx", "onnxruntime", "fp32", "pass")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    home = tmp_path_factory.mktemp("suite")
    (home / "models.py").write_text(Path(tiny_module.__file__).read_text())
    save_pictures(home / "images")
    (home / "parity.toml").write_text(
        'images = ["images/*.png"]\nroutes = ["onnx-torchscript"]\n'
        '[models.tiny]\nfactory = "models.py:tiny"\n[models.other]\nfactory = "models.py:tiny"\n'
        'routes = ["onnx-torchscript", "mlprogram-fp32"]\n'
    )
    return read_suite(home / "parity.toml")


class Making(Bench):
    """A side that makes what a test says."""

    made: Callable[[str], Conversion]

    def convert(self, tried: SuiteRoute, held: Contract = ASSUMED) -> Conversion:
        return type(self).made(tried.route)


def sides(
    monkeypatch: pytest.MonkeyPatch, old: Callable[[str], Conversion], new: Callable[[str], Conversion]
) -> None:
    """Open benches that make what the two functions give for a route."""
    made = {OLD.name: old, NEW.name: new}

    def opened(side: Side, directory: Path, timeout: float) -> Any:
        kind = type("Maker", (Making,), {"made": staticmethod(made[side.name])})
        return nullcontext(kind(side, directory, timeout))

    monkeypatch.setattr(module, "opened", opened)


def good(route: str) -> Conversion:
    return Conversion(converted(route))


def wrong(route: str) -> Conversion:
    return Conversion(converted(route, shifted))


def test_the_same_from_both_is_the_same(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sides(monkeypatch, good, good)
    said: list[str] = []

    found = upgrade(suite, OLD, NEW, artifacts=tmp_path, progress=lambda message, share: said.append(message))

    assert [(leg.model, leg.route, leg.backend) for leg in found.legs] == [
        ("tiny", "onnx-torchscript", "onnxruntime"),
        ("other", "onnx-torchscript", "onnxruntime"),
        ("other", "mlprogram-fp32", "coreml-evaluator"),
    ]
    assert {(leg.verdict, leg.changes, leg.max_abs_diff, leg.flips) for leg in found.legs} == {("same", (), 0.0, 0)}
    assert found.summary == {
        "better": 0,
        "same": 3,
        "worse": 0,
        "broken": 0,
        "inconclusive": 0,
        "untried": 0,
        "skipped": 0,
    }
    assert found.exit_code == 0
    assert said[:2] == ["preparing tool chains", "tiny: PyTorch"]


def apart() -> Classifier:
    return replace(tiny_module.tiny(), sigmoid="added")


def moved() -> Classifier:
    return replace(shifted(), sigmoid="added")


@pytest.mark.parametrize("route", ["onnx-torchscript", "onnx-coreml"])
def test_labels_that_are_judged_apart_are_compared_by_their_own_metric(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, route: str
) -> None:
    entry = replace(suite.models[0], routes=(route,), head={"sigmoid": "added"})
    before, after = (bind(converted(route, make), make().task) for make in (apart, moved))
    sides(monkeypatch, lambda route: Conversion(before), lambda route: Conversion(after))

    (leg,) = upgrade(replace(suite, models=(entry,)), OLD, NEW, artifacts=tmp_path).legs

    assert (leg.old.verdict, leg.new.verdict, leg.verdict) == ("pass", "fail", "worse")
    assert leg.max_abs_diff == pytest.approx(leg.new.max_abs_diff, abs=1e-4)
    assert leg.flips == sum(case.verdict == "flip" for case in leg.new.cases) > 0


def test_what_got_worse_is_told_with_what_changed_in_the_file(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, good, wrong)

    found = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path)

    (leg,) = found.legs
    assert (leg.verdict, leg.reason) == ("worse", leg.new.reason)
    assert (leg.old.verdict, leg.new.verdict) == ("pass", "fail")
    assert [line.partition(" (")[0] for line in leg.changes] == [
        "Gemm input[1]: other numbers",
        "Gemm input[2]: other numbers",
    ]
    assert leg.flips == sum(case.verdict == "flip" for case in leg.new.cases) > 0
    assert leg.max_abs_diff == pytest.approx(leg.new.max_abs_diff, abs=1e-4)
    assert found.exit_code == 1


@pytest.mark.parametrize(
    ("package", "known", "code"),
    [("onnx==1.17.0", False, 1), ("onnx>1.17.0", True, 3), ("onnx>1.17.0,<1.18.0", False, 1)],
)
def test_a_known_issue_holds_for_the_versions_of_its_side(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, known: bool, code: int
) -> None:
    sides(monkeypatch, good, wrong)
    issue = KnownIssueEntry("tiny", "*", "*", "upstream", "https://example.org/1", package)

    found = upgrade(replace(suite, known_issues=(issue,)), OLD, NEW, models=["tiny"], artifacts=tmp_path)

    (leg,) = found.legs
    assert (leg.verdict, leg.known_issue is not None, found.exit_code) == ("worse", known, code)
    assert leg.old.known_issue is None
    assert found.remarks == ()


def test_a_known_issue_does_not_hide_what_else_got_worse(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, good, wrong)
    known = replace(suite, known_issues=(KnownIssueEntry("tiny", "*", "*", "upstream", ""),))

    found = upgrade(known, OLD, NEW, artifacts=tmp_path, routes=["onnx-torchscript"])

    assert [leg.known_issue is not None for leg in found.legs] == [True, False]
    assert found.exit_code == 1


def test_a_known_issue_that_the_new_side_mends_is_told(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, wrong, good)
    issue = KnownIssueEntry("tiny", "onnx-torchscript", "onnxruntime", "upstream", "")

    found = upgrade(replace(suite, known_issues=(issue,)), OLD, NEW, models=["tiny"], artifacts=tmp_path)

    assert found.legs[0].old.known_issue == KnownIssue("upstream", "")
    assert found.remarks == (
        "installed: known issue (model tiny, route onnx-torchscript, backend onnxruntime: upstream) no longer fails"
        "; remove it from the suite file",
    )
    assert found.exit_code == 0


def test_what_got_better_is_no_failure(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sides(monkeypatch, wrong, good)

    found = upgrade(suite, OLD, NEW, models=["other"], routes=["mlprogram-fp32"], artifacts=tmp_path)

    assert [(leg.model, leg.route, leg.verdict) for leg in found.legs] == [("other", "mlprogram-fp32", "better")]
    assert found.legs[0].reason.startswith("the old side fails: ")
    assert found.exit_code == 0


def test_a_conversion_that_crashes_is_a_result_with_its_last_lines(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crash = ToolChainFailure("convert", ("Segmentation fault", "the process was killed by SIGSEGV"))
    sides(monkeypatch, good, lambda route: Conversion(failure=crash))

    found = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path)

    (leg,) = found.legs
    assert (leg.verdict, leg.reason) == ("broken", "convert: the process was killed by SIGSEGV")
    assert leg.said == ("installed: Segmentation fault", "installed: the process was killed by SIGSEGV")
    assert (leg.max_abs_diff, leg.flips, leg.changes) == (None, None, ())
    assert found.exit_code == 1


REFUSED = ToolChainFailure("convert", ("RuntimeError: no such operation",))
CRASHED = ToolChainFailure("convert", ("the process was killed by SIGSEGV",), died=True)
NONSENSE = ToolChainFailure("open", ("no model",))
UNLOADED = ToolChainFailure("load", ("ImportError: cannot import name 'runtime_version'",))


@pytest.mark.parametrize("failure", [REFUSED, CRASHED, NONSENSE])
def test_wrong_numbers_where_an_error_was_are_worse_and_their_cause_is_looked_for(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: ToolChainFailure
) -> None:
    sides(monkeypatch, lambda route: Conversion(failure=failure), wrong)

    found = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path)

    (leg,) = found.legs
    assert (leg.verdict, leg.after) == ("worse", "wrong")
    assert leg.reason == f"wrong without an error: {leg.new.reason}; the old side raised one: {failure}"
    assert [d.fault for d in leg.new.diagnoses] == ["wt-stale-artifact"]
    assert found.exit_code == 1


@pytest.mark.parametrize(
    ("old", "new", "verdict", "code"),
    [
        (REFUSED, None, "better", 0),
        (CRASHED, None, "better", 0),
        (REFUSED, REFUSED, "same", 0),
        (CRASHED, CRASHED, "same", 0),
        (REFUSED, CRASHED, "worse", 1),
        (CRASHED, REFUSED, "better", 0),
        (None, REFUSED, "broken", 1),
        (None, NONSENSE, "broken", 1),
        (UNLOADED, None, "untried", 3),
        (None, UNLOADED, "untried", 3),
        (UNLOADED, CRASHED, "untried", 3),
    ],
)
def test_errors_on_either_side(
    suite: Suite,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    old: ToolChainFailure | None,
    new: ToolChainFailure | None,
    verdict: str,
    code: int,
) -> None:
    old_made, new_made = (
        (lambda route, failure=failure: Conversion(failure=failure)) if failure else good for failure in (old, new)
    )
    sides(monkeypatch, old_made, new_made)

    found = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path)

    assert ([leg.verdict for leg in found.legs], found.exit_code) == ([verdict], code)


def test_two_sides_that_are_wrong_alike_got_no_worse(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, wrong, wrong)

    found = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path)

    (leg,) = found.legs
    assert (leg.verdict, leg.reason) == ("same", f"both sides fail: {leg.new.reason}")
    assert found.exit_code == 0


def test_a_side_that_cannot_be_tried_does_not_hide_that_the_other_is_wrong(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, lambda route: Conversion(failure=UNLOADED), wrong)

    (leg,) = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path).legs

    assert leg.reason == f"{UNLOADED}; the new side by itself fails: {leg.new.reason}"


def test_what_was_skipped_on_both_sides_proves_nothing(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, lambda route: Conversion(skipped="no Python 3.7 here"), good)

    found = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path)

    assert [(leg.verdict, leg.reason) for leg in found.legs] == [("skipped", "no Python 3.7 here")]
    assert found.exit_code == 3


def test_versions_that_are_not_to_be_had_are_bad_input(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def opened(side: Side, directory: Path, timeout: float) -> Any:
        return nullcontext(Bench(side, directory, timeout, failure=ToolChainFailure("resolve", ("  no onnx 99",))))

    monkeypatch.setattr(module, "opened", opened)

    with pytest.raises(ParityError, match="^tool chain old: resolve: no onnx 99$"):
        upgrade(suite, OLD, NEW, artifacts=tmp_path)


def test_an_environment_that_cannot_be_built_is_a_result(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def opened(side: Side, directory: Path, timeout: float) -> Any:
        failure = ToolChainFailure("install", ("disk full",)) if side == OLD else None
        return nullcontext(Bench(side, directory, timeout, failure=failure))

    monkeypatch.setattr(module, "opened", opened)
    (leg,) = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path).legs

    assert (leg.verdict, leg.reason) == ("untried", "install: disk full")
    assert (leg.before, leg.after) == ("untried", "right")
    assert leg.said == ("old: disk full",)


def test_two_of_the_same_side_are_bad_input(suite: Suite) -> None:
    with pytest.raises(ParityError, match="both sides are installed; name another with --with, --from or --to"):
        upgrade(suite, NEW, Side("installed"))


def leg(verdict: str) -> UpgradeLeg:
    return UpgradeLeg("m", "onnx", "onnxruntime", verdict, "", PASS, PASS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["same", "better"], 0),
        (["same", "skipped"], 0),
        (["better", "worse"], 1),
        (["broken"], 1),
        (["inconclusive", "worse"], 1),
        (["same", "inconclusive"], 3),
        (["same", "untried"], 3),
        (["untried", "worse"], 1),
        (["skipped"], 3),
        ([], 3),
    ],
)
def test_exit_codes(verdicts: list[str], code: int) -> None:
    found = Upgrade("old", "new", tuple(map(leg, verdicts)), Environment("3.11", "here", {}))

    assert found.exit_code == code


def test_files_that_differ_in_notes_alone_are_the_same(tmp_path: Path) -> None:
    import onnx

    before = converted("onnx-torchscript")
    model = onnx.load(str(before.path))
    model.producer_version = "another"
    onnx.save(model, str(tmp_path / "tiny.onnx"))

    assert changed_files(before, before) == ()
    assert changed_files(before, Artifact(tmp_path / "tiny.onnx", "onnx", "fp32")) == ()


def test_facts_come_before_attributes(tmp_path: Path) -> None:
    lines = changed_files(converted("onnx"), replace(converted("onnx-torchscript"), precision="fp16"))

    assert lines[0].startswith("operations: ")
    assert "precision: fp32 -> fp16" in lines


def test_sides_that_answer_in_other_shapes_are_not_compared_with_each_other(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides(monkeypatch, good, good)

    def narrow(self: Bench, tried: SuiteRoute, made: Conversion, backend: str) -> Outcome:
        assert made.artifact is not None
        judged, _ = judge_with_prediction(tried.reference, made.artifact, "onnxruntime")
        return Outcome(judged, Prediction(np.zeros((6, 3))), "right")

    monkeypatch.setattr(Bench, "judge", narrow)
    (leg,) = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path).legs

    assert (leg.max_abs_diff, leg.flips) == (None, None)


def test_json_has_all_of_it(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sides(monkeypatch, good, wrong)
    found = upgrade(suite, OLD, NEW, models=["tiny"], artifacts=tmp_path)

    written: Mapping[str, Any] = json.loads(upgrade_to_json(found))

    assert written["schema"] == "parity-upgrade/1"
    assert (written["old"], written["new"]) == ("old", "installed")
    assert written["packages"]["installed"]["torch"]
    assert [d["fault"] for d in written["legs"][0]["new"]["diagnoses"]] == ["wt-stale-artifact"]
    assert written["legs"][0]["old"]["diagnoses"] == []
    assert written["legs"][0]["verdict"] == "worse"
    assert len(written["legs"][0]["changes"]) == 2
