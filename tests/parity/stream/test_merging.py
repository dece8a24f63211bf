"""Shards put together: the bytes of the whole run, or one clear line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity import ParityError
from parity.stream.cases_file import Header
from parity.stream.job import Shard
from parity.stream.journal import open_journal
from parity.stream.merging import merge_cases, merged_lines
from tests.parity.stream.test_journal import BATCHES, HEADER


def write(path: Path, header: Header) -> Path:
    with open_journal(path, header) as journal:
        for number in header.batches:
            journal.append(BATCHES[number])
    return path


def shards(directory: Path, of: int) -> list[Path]:
    return [write(directory / f"{n}.jsonl", replace(HEADER, shard=Shard(n, of))) for n in range(1, of + 1)]


@pytest.mark.parametrize("of", [1, 2, 3, 5])
def test_all_shards_together_are_the_whole_run(tmp_path: Path, of: int) -> None:
    whole = write(tmp_path / "whole.jsonl", HEADER)

    # In any order; with more shards than batches, some are empty.
    merge_cases(shards(tmp_path, of)[::-1], tmp_path / "merged.jsonl")

    assert (tmp_path / "merged.jsonl").read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def refused(paths: list[Path]) -> str:
    with pytest.raises(ParityError) as raised:
        list(merged_lines(paths))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    one, _, three = shards(tmp_path, 3)

    assert refused([one, three]).startswith("no cases of shard 2/3 are given, only of 2 of 3")
    assert "1/3 and 2/3 are given" in refused([three])


def test_a_shard_that_is_given_twice_is_named(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)

    assert f"{one} and {one}: both are shard 1/2" in refused([one, one, two])


def test_shards_of_different_runs_are_refused(tmp_path: Path) -> None:
    one, _ = shards(tmp_path, 2)
    other = write(tmp_path / "other.jsonl", replace(HEADER, shard=Shard(2, 2), digest="others"))

    told = refused([one, other])

    assert told.startswith(f"{one} and {other}: of different runs: the names or sizes of the images changed")
    assert 'digest is "images" there and "others" here' in told


def test_shards_of_different_numbers_are_refused(tmp_path: Path) -> None:
    one, _ = shards(tmp_path, 2)
    other = write(tmp_path / "other.jsonl", replace(HEADER, shard=Shard(2, 3)))

    assert "shard is 1/2 there and 2/3 here" in refused([one, other])


def test_a_shard_that_is_not_finished_is_told(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    two.write_bytes(two.read_bytes()[:-9])

    assert f"{two}: not finished: image 7 is not in it" in refused([one, two])


def test_a_shard_that_is_damaged_is_told(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    lines = two.read_bytes().splitlines(keepends=True)
    two.write_bytes(b"".join([lines[0], *lines[:0:-1]]))

    assert f"{two}: damaged: image 4 is not where it should be" in refused([one, two])


def test_no_shard_is_overwritten(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    before = one.read_bytes()

    with pytest.raises(ParityError, match="would be overwritten"):
        merge_cases([one, two], one)

    assert one.read_bytes() == before


def test_where_merging_fails_nothing_is_left(tmp_path: Path) -> None:
    one, _ = shards(tmp_path, 2)

    with pytest.raises(ParityError):
        merge_cases([one], tmp_path / "merged.jsonl")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.jsonl", "2.jsonl"]
