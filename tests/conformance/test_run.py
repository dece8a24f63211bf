"""The judgement over records, the table of known failures, and the table of differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.judgement import (
    CORE,
    KNOWN_FAILURES,
    SUITES,
    Suite,
    describe,
    judge,
    kind_of,
    read_known,
    suite_of,
)
from tests.conformance.run import compare_outcomes, tell_differences

OPERATIONS, LAYERS = CORE


def record(outcome: str = "passed", predictions: int = 1, **others: Any) -> dict[str, Any]:
    plain = {"raised": "", "reason": "", "differences": [], "rounding": False, "loose": ""}
    return {"outcome": outcome, "predictions": predictions} | plain | others


def some(path: str, passed: int, failed: int = 0) -> dict[str, Any]:
    found = {f"{path}::test_{n}": record() for n in range(passed)}
    return found | {f"{path}::test_fails_{n}": record("failed", reason="Error: no") for n in range(failed)}


GOOD = some(OPERATIONS.path, 1000) | some(LAYERS.path, 100)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (record("passed", 1), "passed"),
        (record("failed", 2), "failed"),
        (record("passed", 0), "structural"),
        (record("failed", 0), "broken"),
        (record("skipped", 1), "skipped"),
        (record("skipped", 0), "skipped"),
        (record("failed", 0, reason="worker 'gw0' crashed while running"), "failed"),
        (record("passed", 1, raised="RuntimeError: a.mlmodel: the evaluator lacks 1 operation(s)"), "failed"),
        (record("passed", 1, raised="RuntimeError: an index out of bounds"), "passed"),
        (record("failed", 0, reason="RuntimeError: a compiled model needs what runs on macOS alone"), "mac"),
        (
            record("failed", 1, reason="RuntimeError: m: a model of type svm; the evaluator runs mlProgram"),
            "no network",
        ),
        (record("failed", 1, reason="RuntimeError: m: a model of type svm is refused"), "failed"),
        (record("failed", 1, reason="AssertionError: Not equal", rounding=True), "rounding"),
        (record("passed", 1, rounding=True), "passed"),
    ],
)
def test_kinds(found: dict[str, Any], kind: str) -> None:
    assert kind_of(found) == kind


def test_all_passing_is_zero() -> None:
    assert judge(GOOD, {}, whole=True, suites=CORE).exit_code == 0


@pytest.mark.parametrize(("suite", "allowed", "too_many"), [(OPERATIONS, 5, 6), (LAYERS, 1, 2)])
def test_the_bar_counts_known_failures_as_failures(suite: Any, allowed: int, too_many: int) -> None:
    size = 1000 if suite is OPERATIONS else 100
    for failed, code in ((allowed, 0), (too_many, 1)):
        records = GOOD | some(suite.path, 0, failed)
        for n in range(failed):
            del records[f"{suite.path}::test_{size - 1 - n}"]
        known = {f"{suite.path}::test_fails_{n}": "Apple's tolerance" for n in range(failed)}
        found = judge(records, known, whole=True, suites=CORE)

        assert found.exit_code == code
        assert found.below == ((suite.name,) if code else ())
        assert not found.unknown


def test_structural_and_skipped_tests_do_not_count() -> None:
    extra = {f"{LAYERS.path}::x{n}": record("passed", 0) for n in range(900)}
    found = judge(GOOD | extra | some(LAYERS.path, 0, 2), {}, whole=True, suites=CORE)

    assert found.shares[LAYERS.name] == pytest.approx(100 / 102)
    assert found.below == (LAYERS.name,)


def test_nothing_passes_by_not_running() -> None:
    found = judge({f"{OPERATIONS.path}::a": record("skipped", 0)}, {}, whole=True, suites=CORE)

    assert found.below == (OPERATIONS.name, LAYERS.name)


@pytest.mark.parametrize("predictions", [0, 1])
def test_a_failure_outside_the_table_fails(predictions: int) -> None:
    bad = {f"{OPERATIONS.path}::new": record("failed", predictions, reason="ValueError: no")}
    found = judge(GOOD | bad, {}, whole=True, suites=CORE)

    assert found.exit_code == 1
    assert found.unknown == {f"{OPERATIONS.path}::new": "ValueError: no"}


OTHER = Suite("other", "coremltools/other")


def test_what_breaks_outside_of_the_core_is_counted_by_its_reason() -> None:
    bad = {f"{OTHER.path}::{n}": record("failed", 0, reason="ImportError: no boston") for n in range(3)}
    records = GOOD | some(OTHER.path, 200) | bad
    judgement = judge(records, {}, whole=True, suites=(*CORE, OTHER))

    assert judgement.exit_code == 0
    assert judgement.broken == {"ImportError: no boston": 3}
    assert "     3 times ImportError: no boston" in "\n".join(describe(judgement))


def test_a_wrong_answer_outside_of_the_core_fails() -> None:
    judgement = judge(GOOD | some(OTHER.path, 200, 1), {}, whole=True, suites=(*CORE, OTHER))

    assert judgement.exit_code == 1
    assert judgement.unknown == {f"{OTHER.path}::test_fails_0": "Error: no"}


def test_what_fp16_costs_counts_neither_way() -> None:
    rounded = {f"{LAYERS.path}::r{n}": record("failed", rounding=True) for n in range(50)}
    judgement = judge(GOOD | rounded, {}, whole=True, suites=CORE)

    assert judgement.exit_code == 0
    assert judgement.counts[LAYERS.name]["rounding"] == 50


def test_a_test_belongs_to_the_innermost_part() -> None:
    names = {nodeid: suite_of(nodeid) for nodeid in (f"{LAYERS.path}::T::test_a", "coremltools/elsewhere::test_a")}

    assert names == {f"{LAYERS.path}::T::test_a": LAYERS, "coremltools/elsewhere::test_a": None}
    outer = suite_of("coremltools/test/neural_network/test_model.py::test_a")
    assert getattr(outer, "name", "") == "networks"


def test_a_known_failure_that_passes_is_stale() -> None:
    nodeid = f"{OPERATIONS.path}::test_0"
    found = judge(GOOD, {nodeid: "rounding"}, whole=True, suites=CORE)

    assert found.stale == (nodeid,)
    assert found.exit_code == 1
    assert any("delete them" in line for line in describe(found))


def test_a_known_failure_that_no_longer_exists_is_stale_in_a_whole_run_only() -> None:
    known = {f"{OPERATIONS.path}::gone": "rounding"}

    assert judge(GOOD, known, whole=True, suites=CORE).stale == (f"{OPERATIONS.path}::gone",)
    assert judge(GOOD, known, whole=False, suites=CORE).stale == ()


def test_a_known_failure_in_fp32_is_no_stale_one_where_fp32_was_not_asked_for() -> None:
    named = "backend='mlprogram', precision='fp32'"
    known = {f"{OPERATIONS.path}::gone[{named}]": "typed in"}
    asked = {**GOOD, f"{OPERATIONS.path}::other[{named}]": next(iter(GOOD.values()))}

    assert judge(GOOD, known, whole=True, suites=CORE).stale == ()
    assert judge(asked, known, whole=True, suites=CORE).stale == tuple(known)


def test_a_sample_is_not_held_against_the_bars() -> None:
    records = some(LAYERS.path, 3, 1)
    known = {f"{LAYERS.path}::test_fails_0": "rounding"}

    assert judge(records, known, whole=False, suites=CORE).exit_code == 0


def test_what_is_printed() -> None:
    bad = {f"{LAYERS.path}::new": record("failed", reason="ValueError: no")}
    skipped = {f"{LAYERS.path}::odd": record("skipped", 0, reason="rdar://1")}
    text = "\n".join(describe(judge(GOOD | bad | skipped, {}, whole=True, suites=CORE)))

    assert "99.01%" in text  # 100 of 101
    assert f"{LAYERS.path}::new\n      ValueError: no" in text
    assert "     1 times rdar://1" in text


def test_the_table_of_known_failures_is_readable() -> None:
    known = read_known()

    assert all(suite_of(nodeid, SUITES) for nodeid in known)
    assert KNOWN_FAILURES.is_file()


def test_a_test_is_listed_once(tmp_path: Path) -> None:
    entry = '[[failure]]\ntests = ["a"]\nreason = "rounding"\nright = "apple"\n'
    (tmp_path / "known.toml").write_text(entry * 2, encoding="utf-8")

    with pytest.raises(ValueError, match="a is listed twice"):
        read_known(tmp_path / "known.toml")


def test_outcomes_are_compared() -> None:
    apart = [{"output": "y", "what": "value", "native": "1.0", "evaluator": "2.0"}]
    native = {"a": record(), "b": record(), "c": record(differences=apart), "d": record()}
    ours = {"a": record(), "b": record("failed", reason="Error: no"), "c": record()}

    table = compare_outcomes(native, ours)

    assert [(row["test"], row["native"], row["evaluator"]) for row in table] == [
        ("b", "passed", "failed"), ("c", "passed", "passed"), ("d", "passed", "absent"),
    ]  # fmt: skip
    assert table[0]["evaluator_reason"] == "Error: no"
    assert table[1]["differences"] == apart


def test_the_table_of_differences_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = compare_outcomes({"a": record()}, {"a": record("failed", reason="Error: no")})

    assert tell_differences(table, 7, tmp_path / "table.json") == 0
    assert json.loads((tmp_path / "table.json").read_text(encoding="utf-8")) == {"tests": 7, "differing": table}
    assert "1 of 7 tests differ" in capsys.readouterr().out
