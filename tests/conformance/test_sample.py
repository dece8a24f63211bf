"""A sample of Apple's own tests: what `make conformance` runs whole."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.judgement import CORE, describe, judge, read_known
from tests.conformance.run import run_tests

SIZE = 300


def test_a_sample_of_apples_tests_passes(tmp_path: Path) -> None:
    records = run_tests(tmp_path / "records.json", workers=1, sample=SIZE, suites=CORE)
    found = judge(records, read_known(), whole=False, suites=CORE)

    assert found.exit_code == 0, "\n".join(describe(found))
    # Four in five ask for a prediction; were it hardly any, the sample would show nothing.
    assert sum(count["passed"] for count in found.counts.values()) > SIZE / 2
