"""The mark beside results that are being made: who reads them refuses, and who writes them removes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity import ParityError
from parity.core.results import read_run
from parity.core.unfinished import mark_finished, mark_of, mark_unfinished, refuse_unfinished
from parity.stream.merging import merged_results
from parity.suite.records import read_records

TOLD = (
    "{}: the run that was to write it was stopped, or its process ended, before it did; run it again, or remove "
    "{}.unfinished beside it to take what is there as it is"
)


def test_results_are_refused_until_they_are_written(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text("old", encoding="utf-8")
    mark_unfinished([results, None])

    with pytest.raises(ParityError) as caught:
        refuse_unfinished(results)

    assert str(caught.value) == TOLD.format(results, "results.json")
    assert results.read_text(encoding="utf-8") == "old"
    assert "did not come to its end" in (tmp_path / "results.json.unfinished").read_text(encoding="utf-8")
    mark_finished([results, None])
    refuse_unfinished(results)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_who_reads_results_refuses_them(tmp_path: Path) -> None:
    mark_unfinished([tmp_path / "results.json"])

    for read in (read_run, read_records):
        with pytest.raises(ParityError, match=r"results.json: the run that was to write it"):
            read(tmp_path / "results.json")
    with pytest.raises(ParityError, match=r"results.json: the run that was to write it"):
        merged_results([tmp_path / "results.cases.jsonl"], None, 0.0)


def test_a_link_and_its_file_have_one_mark(tmp_path: Path) -> None:
    (tmp_path / "latest.json").symlink_to(tmp_path / "today.json")

    mark_unfinished([tmp_path / "latest.json"])

    assert mark_of(tmp_path / "latest.json") == mark_of(tmp_path / "today.json")
    with pytest.raises(ParityError):
        refuse_unfinished(tmp_path / "today.json")


def test_a_device_has_no_mark() -> None:
    mark_unfinished([Path("/dev/null")])

    assert not mark_of(Path("/dev/null")).exists()
