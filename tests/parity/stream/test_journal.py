"""The journal: what is written reads back, what is not whole is cut off, and another run's is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import ParityError
from parity.core.results import Answer, Case, ClassPair, Diagnosis, Divergence, Environment
from parity.metrics.classification.variety import ClassVariety, variety_of
from parity.stream.aggregate import read_results
from parity.stream.cases_file import read_header, read_lines
from parity.stream.identity import first_difference
from parity.stream.job import Shard
from parity.stream.journal import open_journal
from parity.stream.lines import Explained, Header, HeadLeg, HeadModel, LegExplained, Line, pack, to_line, unpack
from tests.parity.full_disk import small_files

LEG = HeadLeg("tiny", "onnx", "onnxruntime", "tiny.onnx", "fp32", "digest", 4, 1e-5, "given")
HEADER = Header(
    Environment("3.11.7", "Linux", {"torch": "2.13.0"}),
    (HeadModel("tiny", "weights", ("käfer", "bee"), 4, False),),
    (LEG, replace(LEG, backend="coreml-native", verdict="skipped", reason="needs macOS")),
    images=11,
    digest="images",
    truth="",
    batch=4,
    threads=1,
    shard=Shard(),
)


def line(index: int) -> Line:
    """Make a line with signs of one, two, three and four bytes."""
    if index == 5:
        return Line(index, f"{index} ü€🐝.png", unreadable="is empty (0 bytes) – 🐝")
    distance = index / 7e6
    top = (ClassPair("käfer", 0.7, 0.7 - distance), ClassPair("bee", 0.3, 0.3))
    name = f"{index} ü€🐝.png"
    case = Case(
        name, "match", Answer("käfer", 0.7), Answer("käfer", 0.7 - distance), distance, top=top, truth="bee"
    )
    return Line(index, name, "bee", cases=(case,))


BATCHES = [[line(index) for index in range(start, min(start + 4, 11))] for start in (0, 4, 8)]


def write(path: Path, header: Header = HEADER, fresh: bool = False) -> int:
    """Write what is not there yet; return how many batches were."""
    with open_journal(path, header, fresh) as journal:
        done = journal.done
        for number in header.batches[done:]:
            journal.append(BATCHES[number])
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "r.cases.jsonl"
    assert write(path) == 0
    return path.read_bytes()


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"
    write(path)

    header = read_header(path)
    with path.open("rb") as file:
        file.readline()
        lines = list(read_lines(path, header, file))

    assert header == HEADER
    assert lines == [line(index) for index in range(11)]


def test_every_line_behind_the_header_is_an_image(whole: bytes) -> None:
    head, *rest = whole.decode().splitlines()

    assert json.loads(head)["schema"] == "parity-cases/1"
    assert [json.loads(one)["image"] for one in rest] == [f"{index} ü€🐝.png" for index in range(11)]


@settings(max_examples=100)
@given(st.data())
def test_a_journal_that_ends_anywhere_goes_on_to_the_same_bytes(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.cases.jsonl"
    # Ends of lines and the middle of a character are what is rare by chance.
    odd = [i for i, byte in enumerate(whole) if byte in b"\n" or byte >= 0x80]
    cut = data.draw(st.integers(0, len(whole)) | st.sampled_from(odd) | st.sampled_from([i + 1 for i in odd]))
    garbage = data.draw(st.sampled_from([b"", b"\0" * 40, b"\xff", b"{}\n", b'{"index":"x"}\n', b"[]\n"]))
    path.write_bytes(whole[:cut] + (garbage if cut > len(HEADER.to_json()) else b""))

    write(path)

    assert path.read_bytes() == whole


def test_what_is_whole_is_kept(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "r.cases.jsonl"
    lines = whole.splitlines(keepends=True)
    for images, batches in ((0, 0), (3, 0), (4, 1), (7, 1), (8, 2), (10, 2), (11, 3)):
        path.write_bytes(b"".join(lines[: 1 + images]))

        assert write(path) == batches
        assert path.read_bytes() == whole


@pytest.mark.parametrize("batches", [None, 1, 2])  # that there is room for, and a little; None: not for the header
def test_on_a_full_disk_the_file_is_named_and_what_is_done_is_kept(
    tmp_path: Path, whole: bytes, batches: int | None
) -> None:
    lines = whole.splitlines(keepends=True)
    size = 100 if batches is None else len(b"".join(lines[: 1 + 4 * batches])) + 50
    path = tmp_path / "r.cases.jsonl"

    with small_files(size), pytest.raises(ParityError) as told:
        write(path)

    assert str(told.value) == (
        f"{path}: cannot be written (File too large); what is done is kept: start the same again once it can be"
    )
    assert path.stat().st_size == size < len(whole)
    assert write(path) == (batches or 0)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b'{"precious": 1}', b"notes", b"\xff", b"[" * 100_000])
def test_what_is_no_journal_is_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(content)

    with pytest.raises(ParityError, match="not a cases file, and not the beginning of one; give another --json"):
        write(path)

    assert path.read_bytes() == content


def test_what_is_behind_the_last_batch_is_cut_off(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1])

    assert write(path) == 3
    assert path.read_bytes() == whole


EXPLAINED = (
    Explained((LegExplained(0, 16, "torch -> onnx", (Diagnosis("pre-bgr-swap", "ü🐝", True),), ("torch: pass",)),)),
    Explained((LegExplained(1, 3, first_divergence=Divergence("c", "conv", 1, 2), unexplained="chance"),)),
)


@settings(max_examples=60)
@given(st.data())
def test_explanations_stand_behind_all_batches_and_what_is_not_whole_is_cut_off(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "explained.cases.jsonl"
    path.write_bytes(whole)
    with open_journal(path, HEADER) as journal:
        for found in EXPLAINED:
            journal.explain(found)
    full = path.read_bytes()
    first, second = full[len(whole) :].splitlines(keepends=True)
    cut = data.draw(st.integers(0, len(full)) | st.integers(len(whole), len(full)))
    garbage = data.draw(
        st.sampled_from([b"", b"\0" * 40, b"{}\n", b"[]\n", b'{"explained":[{"leg":9,"images":1}]}\n'])
    )
    path.write_bytes(full[:cut] + (garbage if cut > len(HEADER.to_json()) else b""))

    write(path)
    with open_journal(path, HEADER) as journal:
        kept = tuple(journal.explained)

    # Garbage behind a line that is not whole makes it no better.
    expected = sum(cut >= len(whole) + end for end in (len(first), len(first) + len(second)))
    assert kept == EXPLAINED[:expected]
    assert path.read_bytes() == whole + b"".join([first, second][:expected])


def test_a_leg_that_holds_takes_no_explanation(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(whole)
    with open_journal(path, HEADER) as journal:
        for found in EXPLAINED:
            journal.explain(found)

    one, other = read_results(path, 0.5).subjects

    assert (one.verdict, one.guilty_hop, one.explained_on) == ("inconclusive", "", 0)
    assert (other.verdict, other.explained_on) == ("skipped", 0)


def test_a_shard_has_every_nth_batch(tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"
    header = replace(HEADER, shard=Shard(1, 2))
    write(path, header)

    with path.open("rb") as file:
        file.readline()
        assert [one.index for one in read_lines(path, header, file)] == [0, 1, 2, 3, 8, 9, 10]


OTHERS: list[tuple[Callable[[Header], Header], str]] = [
    (lambda h: replace(h, digest="others"), 'digest is "images" there and "others" here'),
    (lambda h: replace(h, batch=8), "batch is 4 there and 8 here"),
    (lambda h: replace(h, threads=2), "threads is 1 there and 2 here"),
    (lambda h: replace(h, shard=Shard(1, 2)), "shard.of is 1 there and 2 here"),
    (
        lambda h: replace(h, legs=(replace(LEG, digest="x"), h.legs[1])),
        'legs.0.digest is "digest" there and "x" here',
    ),
    (lambda h: replace(h, legs=h.legs[:1]), "legs is "),
    (
        lambda h: replace(h, environment=Environment("3.11.7", "Linux", {"torch": "3"})),
        "environment.packages.torch",
    ),
]


@pytest.mark.parametrize(("change", "told"), OTHERS)
def test_the_journal_of_another_run_is_refused_and_kept(
    tmp_path: Path, whole: bytes, change: Callable[[Header], Header], told: str
) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(whole)

    with pytest.raises(
        ParityError, match=r"r\.cases\.jsonl: is of another run: .*--fresh starts it anew"
    ) as raised:
        write(path, change(HEADER))

    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == whole


def test_fresh_starts_anew(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(whole)

    assert write(path, fresh=True) == 0
    assert path.read_bytes() == whole


def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(b"my notes\n")

    with pytest.raises(ParityError, match="not a cases file of schema parity-cases/1"):
        write(path)

    assert path.read_bytes() == b"my notes\n"


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"

    with open_journal(path, HEADER), pytest.raises(ParityError, match="another run writes it"):
        write(path)

    assert write(path) == 0


def test_two_names_of_one_journal_have_one_lock(tmp_path: Path) -> None:
    path, link = tmp_path / "r.cases.jsonl", tmp_path / "link.cases.jsonl"
    link.symlink_to(path.name)

    with open_journal(path, HEADER), pytest.raises(ParityError) as raised:
        write(link)

    assert str(raised.value) == f"{link}: another run writes it; wait for its end, or give another --json"


def test_the_lock_lies_beside_a_journal_while_it_is_written(tmp_path: Path) -> None:
    path, lock = tmp_path / "r.cases.jsonl", tmp_path / "r.cases.jsonl.lock"

    with open_journal(path, HEADER):
        assert lock.is_file()
    assert not lock.exists()

    with pytest.raises(KeyboardInterrupt), open_journal(path, HEADER):
        raise KeyboardInterrupt
    assert not lock.exists()


def test_a_lock_that_a_killed_run_left_stops_nobody(tmp_path: Path, whole: bytes) -> None:
    path, lock = tmp_path / "r.cases.jsonl", tmp_path / "r.cases.jsonl.lock"
    lock.touch()

    assert write(path) == 0

    assert path.read_bytes() == whole
    assert not lock.exists()


def test_where_no_lock_can_lie_the_journal_is_named_and_kept(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(whole)
    (tmp_path / "r.cases.jsonl.lock").mkdir()

    with pytest.raises(ParityError, match=rf"^{path}: cannot be written \(.*\); what is done is kept"):
        write(path)

    assert path.read_bytes() == whole


# Read by those who judge


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda lines: lines[:-1], r":12: not finished: 10 images are done"),
        (lambda lines: [*lines[:-1], lines[-1][:-5]], r":12: not finished"),
        (lambda lines: [*lines[:3], b"{}\n", *lines[4:]], r":4: damaged: "),
        (lambda lines: [*lines[:3], lines[4], *lines[4:]], r":4: image 3 stands where 2 should"),
    ],
)
def test_a_file_that_is_not_whole_is_not_judged(
    tmp_path: Path, whole: bytes, damage: Callable[[list[bytes]], list[bytes]], told: str
) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(b"".join(damage(whole.splitlines(keepends=True))))

    with path.open("rb") as file:
        file.readline()
        with pytest.raises(ParityError, match=told):
            list(read_lines(path, HEADER, file))


def test_a_header_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"gone\.jsonl: cannot be read"):
        read_header(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variety_is_written_exactly(dtype: Any) -> None:
    answers = np.random.default_rng(3).dirichlet(np.ones(7), 5).astype(dtype)
    variety = variety_of(answers.astype(np.float64))

    again = unpack(pack(variety, np.dtype(dtype)), HeadModel("m", "", tuple("abcdefg"), 1, False))
    assert isinstance(again, ClassVariety)

    np.testing.assert_array_equal(again.low, variety.low)
    np.testing.assert_array_equal(again.high, variety.high)
    assert (again.images, again.flat, again.classes) == (variety.images, variety.flat, variety.classes)


def test_lines_are_valid_json_whatever_is_in_them() -> None:
    strange = Line(0, 'a"\n\u2028\0', unreadable="\\")

    written = to_line(strange)

    assert written.count(b"\n") == 1
    assert json.loads(written)["image"] == strange.image


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a.1.b is 2 there and 3 here"),
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"b": 1}, ' is {"a": 1} there and {"b": 1} here'),
        ({"a": 1}, {"a": True}, ""),
    ],
)
def test_the_first_difference_is_named(there: Any, here: Any, told: str) -> None:
    assert first_difference(there, here) == told
