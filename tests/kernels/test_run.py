"""The table of kernels: what is run, what is skipped and why, and that no failure is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.kernels.run import CHOICES, PART, ROOT, Kernels, Row, counts_of, exit_code, measure, processor_flags
from tests.kernels.run import table as table_of

NEW = Kernels("new", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, frozenset({"amx_tile", "amx_bf16"}))
OLD = Kernels("old", {"ATEN_CPU_CAPABILITY": "default"})


def test_the_part_exists() -> None:
    assert [name for name in PART if not (ROOT / name).exists()] == []


def test_every_choice_is_one_of_its_own() -> None:
    assert len({kernels.name for kernels in CHOICES}) == len({str(kernels.variables) for kernels in CHOICES})


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (frozenset({"avx2", "amx_tile", "amx_bf16"}), ""),
        (frozenset({"avx2", "amx_tile"}), "this processor has no amx_bf16"),
        (frozenset(), "this processor has no amx_bf16, amx_tile"),
        (None, "this system does not say what its processor has"),
    ],
)
def test_what_the_processor_lacks_is_skipped_with_its_reason(flags: frozenset[str] | None, reason: str) -> None:
    variables: list[Mapping[str, str]] = []

    def run(environment: Mapping[str, str], arguments: Sequence[str]) -> tuple[int, str]:
        variables.append(environment)
        return 0, "3 passed in 1.00s"

    rows = measure([OLD, NEW], flags, [], run)

    assert rows[1].reason == reason
    assert rows[1].exit_code == (None if reason else 0)
    assert variables == ([OLD.variables] if reason else [OLD.variables, NEW.variables])
    assert exit_code(rows) == 0


def test_a_failure_under_one_kind_fails_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    def run(environment: Mapping[str, str], arguments: Sequence[str]) -> tuple[int, str]:
        if environment is OLD.variables:
            return 1, "FAILED tests/a.py::b - 1.25e-06\n1 failed, 2 passed in 1.00s"
        return 0, "3 passed in 1.00s"

    rows = measure([NEW, OLD], NEW.needs, [], run)

    assert exit_code(rows) == 1
    assert capsys.readouterr().out == "old: FAILED tests/a.py::b - 1.25e-06\n"
    assert table_of(rows) == "new  passed  3 passed\nold  failed  1 failed, 2 passed"


def test_where_pytest_breaks_its_last_lines_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = measure([OLD], None, [], lambda environment, arguments: (4, "usage\nno such option"))

    assert exit_code(rows) == 1
    assert capsys.readouterr().out == "old: usage\nold: no such option\n"


def test_nothing_run_is_no_success() -> None:
    assert exit_code([Row("new", None, {}, "this processor has no amx_tile")]) == 3


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        ("...\n3 passed in 1.00s\n", {"passed": 3}),
        ("2 failed, 30 passed, 1 skipped, 1 error in 4.20s", {"failed": 2, "passed": 30, "skipped": 1, "error": 1}),
        ("the 3 passed tests\n", {}),
        ("", {}),
    ],
)
def test_counts_are_read_from_the_last_line(output: str, counts: dict[str, int]) -> None:
    assert counts_of(output) == counts


def test_flags_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_tile\nbugs\t\t: x\n", encoding="utf-8")

    assert processor_flags(cpuinfo) == {"fpu", "avx2", "amx_tile"}
    assert processor_flags(tmp_path / "none") is None


def test_processes_of_several_threads_are_fewer() -> None:
    arguments: list[list[str]] = []

    def run(environment: Mapping[str, str], words: Sequence[str]) -> tuple[int, str]:
        arguments.append(list(words))
        return 0, "3 passed in 1.00s"

    measure(
        [OLD, Kernels("threads", {}, threads=2), Kernels("more", {}, threads=8)], None, ["tests"], run, workers=4
    )

    assert arguments == [["-n", "4", "tests"], ["-n", "2", "tests"], ["-n", "1", "tests"]]
