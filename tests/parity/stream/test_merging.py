"""Shards put together: the bytes of the whole run, or one clear line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity import ParityError
from parity.stream.aggregate import read_results
from parity.stream.job import Shard
from parity.stream.journal import open_journal
from parity.stream.lines import Header
from parity.stream.merging import merge_cases, merged_lines, merged_results
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

    assert f"{two}:2: damaged: image 4 is not where it should be" in refused([one, two])


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


JUNK = [b"junk\n", b"{}\n", b"\n", b"hello", b'{"index":0,"image":"a.png"}\n', b'{"explained":[{"leg":99}]}\n']
TORN = [b'{"expl', b'{"explained":[{"leg":0,"ima', b'{"explained":[]}', b"\0\0\0\0"]


def results_of(paths: list[Path], json_file: Path | None) -> str:
    try:
        merged_results(paths, json_file, 1.0)
    except ParityError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("to_file", [True, False], ids=["file", "screen"])
@pytest.mark.parametrize("junk", JUNK)
def test_a_line_behind_the_last_image_that_no_run_writes_is_refused(
    junk: bytes, to_file: bool, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "r.json" if to_file else None
    one, two = shards(tmp_path, 2)
    images = two.read_bytes().count(b"\n") - 1
    with two.open("ab") as file:
        file.write(junk)

    for paths in ([one, two], [two, one]):
        told = results_of(paths, target)
        assert told.startswith(f"{two}:{images + 2}: damaged: ")
        assert "\n" not in told
    assert not list((tmp_path / "out").iterdir())

    whole = write(tmp_path / "whole.jsonl", HEADER)
    images = whole.read_bytes().count(b"\n") - 1
    with whole.open("ab") as file:
        file.write(junk)
    assert results_of([whole], target).startswith(f"{whole}:{images + 2}: damaged: ")
    with pytest.raises(ParityError, match=f"whole.jsonl:{images + 2}: damaged: "):
        read_results(whole, 1.0)


@pytest.mark.parametrize("torn", TORN)
def test_a_last_line_that_is_torn_is_no_damage(torn: bytes, tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    whole = write(tmp_path / "whole.jsonl", HEADER)
    for path in (two, whole):
        with path.open("ab") as file:
            file.write(torn)

    assert results_of([one, two], None) == ""
    assert results_of([whole], None) == ""


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (b'"image"', b'"imago"', "damaged: Field required"),
        (b'"unreadable":""', b'"unreadable":', "damaged: Invalid JSON"),
        (b'"cases":[', b'"cases":[],"casus":[', "contradicts itself: "),
    ],
)
def test_a_line_of_an_image_that_cannot_be_read_is_named_in_its_own_file(
    was: bytes, becomes: bytes, told: str, tmp_path: Path
) -> None:
    one, two = shards(tmp_path, 2)
    lines = two.read_bytes().splitlines(keepends=True)
    assert was in lines[3]
    lines[3] = lines[3].replace(was, becomes, 1)
    two.write_bytes(b"".join(lines))

    assert refused([one, two]).startswith(f"{two}:4: {told}")
