"""What makes a run the same run: field by field of the header, and then by what is started again."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from conversion.provenance import code_hash
from parity import ParityError
from parity.core.gate import Gate
from parity.core.results import to_json
from parity.stream import running
from parity.stream.cases_file import read_header
from parity.stream.engines import stream
from parity.stream.identity import kept_cases, tell_difference
from parity.stream.job import Shard
from parity.stream.journal import open_journal
from parity.stream.lines import Header, HeadLeg, HeadModel
from parity.stream.merging import merge_cases
from parity.suite.models import load_classifier
from parity.suite.suite import KnownIssueEntry
from tests.parity.full_disk import small_files
from tests.parity.stream.jobs import BATCH, PICTURES, SUITE, job_over, picture, save_pictures, save_suite
from tests.parity.stream.test_journal import BATCHES, HEADER, LEG, write

MODEL = HEADER.models[0]
ISSUE = KnownIssueEntry("tiny", "onnx", "*", "because", "https://example.org/1")

# Every field of the header: another value of it, and what that is told as; empty where it is the same run.
TABLE: dict[tuple[type, str], tuple[Any, str]] = {
    (Header, "environment"): (replace(HEADER.environment, python="3.12.1"), "Python, the system or a package is"),
    (Header, "models"): ((), "the models are others"),
    (Header, "legs"): (HEADER.legs[:1], "the legs are others"),
    (Header, "images"): (12, "the names or sizes of the images changed"),
    (Header, "digest"): ("others", "the names or sizes of the images changed"),
    (Header, "truth"): ("renamed.csv", ""),
    (Header, "truth_digest"): ("d", "what the images show changed: .*; give the same --labels"),
    (Header, "batch"): (8, "the size of a batch is another: batch is 4 there and 8 here; give the same --batch"),
    (Header, "threads"): (2, "PyTorch has another number of threads"),
    (Header, "shard"): (Shard(1, 2), "the part of the images is another"),
    (Header, "known_issues"): ((ISSUE,), ""),
    (Header, "partial"): (True, ""),
    (Header, "gate"): (Gate(0.01), ""),
    (HeadModel, "name"): ("other", "the models are others"),
    (HeadModel, "weights"): ("others", "the weights of tiny changed"),
    (HeadModel, "labels"): (("käfer", "wasp"), "the labels of tiny changed"),
    (HeadModel, "at_once"): (2, "the models are others"),
    (HeadModel, "truth"): (True, "the models are others"),
    (HeadModel, "code"): ("other", "code or settings that tiny reaches changed"),
    (HeadModel, "preprocessing"): ({"resize": 9}, "the preprocessing of tiny changed"),
    (HeadModel, "output"): ("labelProbs", "what tiny answers is another: one label of an image"),
    (HeadModel, "kind"): ("probabilities of labels apart", "what tiny answers is another: one label of an image"),
    (HeadLeg, "model"): ("other", "the legs are others"),
    (HeadLeg, "route"): ("other", "the legs are others"),
    (HeadLeg, "backend"): ("other", "the legs are others"),
    (HeadLeg, "artifact"): ("other", "the legs are others"),
    (HeadLeg, "precision"): ("fp16", "the legs are others"),
    (HeadLeg, "digest"): ("other", "the artefact of tiny by onnx on onnxruntime is another"),
    (HeadLeg, "at_once"): (1, "the legs are others"),
    (HeadLeg, "tolerance"): (0.5, "the tolerance of tiny by onnx on onnxruntime changed.*parity judge"),
    (HeadLeg, "tolerance_reason"): ("in other words", ""),
    (HeadLeg, "verdict"): ("skipped", "tiny by onnx on onnxruntime ran there and does not here"),
    (HeadLeg, "reason"): ("in other words", ""),
    (HeadLeg, "cost"): (0.1, ""),
    (HeadLeg, "compressed"): ("int8 weights", ""),
    (HeadLeg, "remarks"): (("in other words",), ""),
    (HeadLeg, "contract"): ("x/255", "what tiny by onnx on onnxruntime is said to do itself changed"),
    (HeadLeg, "measured_on"): (64, "what rounding costs tiny by onnx on onnxruntime was measured on other images"),
    (HeadLeg, "spots"): (64, "tiny by onnx on onnxruntime sees other images; ask|sees other images"),
}


def test_of_every_field_it_is_settled_whether_it_belongs() -> None:
    listed = {(kind, one.name) for kind in (Header, HeadModel, HeadLeg) for one in fields(kind)}

    assert listed - {(Header, "schema")} == set(TABLE)


@pytest.mark.parametrize("place", TABLE, ids=lambda place: f"{place[0].__name__}.{place[1]}")
def test_what_belongs_is_refused_and_what_does_not_goes_on(place: tuple[type, str], tmp_path: Path) -> None:
    (kind, name), (value, told) = place, TABLE[place]
    change = {
        Header: lambda: replace(HEADER, **{name: value}),
        HeadModel: lambda: replace(HEADER, models=(replace(MODEL, **{name: value}),)),
        HeadLeg: lambda: replace(HEADER, legs=(replace(LEG, **{name: value}), HEADER.legs[1])),
    }
    other = change[kind]()
    path = tmp_path / "r.cases.jsonl"
    write(path)
    before = path.read_bytes()

    if told:
        with pytest.raises(ParityError, match=rf"is of another run: {told}") as raised:
            write(path, other)
        assert "\n" not in str(raised.value)
        assert str(raised.value).endswith("; --fresh starts it anew")
        assert path.read_bytes() == before
    else:
        assert write(path, other) == len(BATCHES)
        assert path.read_bytes() == other.to_json() + before.partition(b"\n")[2]
        assert [one.name for one in tmp_path.iterdir()] == [path.name]
    # A journal without a name is found by what it belongs to.
    job = job_over(tmp_path, tmp_path, cases=None)
    assert (kept_cases(job, other) == kept_cases(job, HEADER)) == (not told)


def test_a_new_header_keeps_a_journal_that_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"
    with open_journal(path, HEADER) as journal:
        journal.append(BATCHES[0])
    other = replace(HEADER, known_issues=(ISSUE,))

    assert write(path, other) == 1

    whole = tmp_path / "whole.cases.jsonl"
    write(whole, other)
    assert path.read_bytes() == whole.read_bytes()


def test_a_new_header_leaves_permissions_and_links_as_they_are(tmp_path: Path) -> None:
    path, link = tmp_path / "r.cases.jsonl", tmp_path / "link.cases.jsonl"
    write(path)
    path.chmod(0o640)
    link.symlink_to(path.name)

    write(link, replace(HEADER, known_issues=(ISSUE,)))

    assert link.readlink() == Path(path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read_header(path).known_issues == (ISSUE,)


def test_a_new_header_that_the_disk_does_not_take_leaves_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"
    write(path)
    before = path.read_bytes()

    with small_files(len(before) - 1), pytest.raises(ParityError, match="File too large.*what is done is kept"):
        write(path, replace(HEADER, known_issues=(ISSUE,)))

    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_while_another_run_writes_no_header_is_put_before_it(tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"
    other = replace(HEADER, known_issues=(ISSUE,))
    with open_journal(path, HEADER), pytest.raises(ParityError, match="another run writes it"):
        write(path, other)

    write(path)
    with open_journal(path, other), pytest.raises(ParityError, match="another run writes it"):
        write(path)


def test_shards_merge_though_the_texts_of_the_suite_changed(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.cases.jsonl" for number in (1, 2)]
    for number, path in enumerate(paths, start=1):
        issues = (replace(ISSUE, reason=str(number)),)
        write(path, replace(HEADER, shard=Shard(number, 2), known_issues=issues))

    merge_cases(paths, tmp_path / "whole.cases.jsonl")

    assert read_header(tmp_path / "whole.cases.jsonl").known_issues[0].reason == "1"


def test_equal_headers_do_not_differ() -> None:
    assert tell_difference(HEADER, replace(HEADER)) == ""


# A run that is started again

KNOWN = """
[[known_issues]]
model = "tiny"
route = "*"
backend = "*"
reason = "{reason}"
link = "https://example.org/1"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save_suite(tmp_path)
    save_pictures(tmp_path / "pictures")
    for number in range(PICTURES):  # uncompressed, all of one size
        picture(number).save(tmp_path / "pictures" / f"{number:03}.png", compress_level=0)
    return tmp_path


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List the batches that are computed."""
    numbers: list[int] = []
    lines_of = running.lines_of

    def counting(work: Any, ways: Any, number: int, decoded: Any) -> Any:
        numbers.append(number)
        return lines_of(work, ways, number, decoded)

    monkeypatch.setattr(running, "lines_of", counting)
    return numbers


def test_another_reason_of_a_known_issue_computes_nothing_again(place: Path, compared: list[int]) -> None:
    job = job_over(place / "pictures", place, models=("swapped",))
    issues = [SUITE + KNOWN.format(reason=reason).replace("tiny", "swapped") for reason in ("first", "second")]
    (place / "parity.toml").write_text(issues[0], encoding="utf-8")
    stream(job, explain=False)
    assert len(compared) == -(-PICTURES // BATCH)
    compared.clear()

    (place / "parity.toml").write_text(issues[1], encoding="utf-8")
    again = stream(job, explain=False)

    assert compared == []
    assert again.run.subjects[0].known_issue is not None
    assert again.run.subjects[0].known_issue.reason == "second"
    anew = stream(replace(job, cases=place / "anew.cases.jsonl"), explain=False)
    assert (place / "anew.cases.jsonl").read_bytes() == (place / "r.cases.jsonl").read_bytes()
    assert to_json(replace(again.run, cases_file="")) == to_json(replace(anew.run, cases_file=""))


def edit_image(file: Path) -> None:
    """Change a file's content, and neither its size nor the time of its last change."""
    status = file.stat()
    picture(int(file.stem) + 100).save(file, compress_level=0)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def half_done(place: Path) -> int:
    """Leave two batches of a journal; return the first image that is not compared."""
    path = place / "r.cases.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: 1 + 2 * BATCH]))
    return 2 * BATCH


@pytest.mark.parametrize("forgotten", [False, True], ids=["", "without stamps"])
@pytest.mark.parametrize("whole", [False, True], ids=["stopped", "finished"])
def test_an_image_that_was_edited_after_it_was_compared_is_refused(
    place: Path, whole: bool, forgotten: bool, compared: list[int]
) -> None:
    job = job_over(place / "pictures", place)
    stream(job)
    if not whole:
        half_done(place)
    before = (place / "r.cases.jsonl").read_bytes()
    edit_image(place / "pictures" / "003.png")
    if forgotten:
        for file in (place / "artifacts" / "stamps").iterdir():
            file.unlink()

    for _ in range(2):  # refused once is not known from then on
        with pytest.raises(ParityError, match=r"r\.cases\.jsonl: 003\.png: changed since .*--fresh") as raised:
            stream(job)

    assert "\n" not in str(raised.value)
    assert (place / "r.cases.jsonl").read_bytes() == before
    compared.clear()
    stream(replace(job, fresh=True))
    assert len(compared) == -(-PICTURES // BATCH)


def rename_another_over(file: Path) -> None:
    other = file.with_name("other")
    shutil.copy2(file, other)
    edit_image(file)
    changed = file.read_bytes()
    other.replace(file)
    other.write_bytes(changed)
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)


def edit_through_another_name(file: Path) -> None:
    os.link(file, file.with_name("other"))
    content = picture(int(file.stem) + 100)
    with file.with_name("other").open("r+b") as other:
        content.save(other, "PNG", compress_level=0)
    file.with_name("other").unlink()


def retarget_link(file: Path) -> None:
    """Let the image, a link, lead to another one of the same size."""
    file.unlink()
    file.symlink_to(file.with_name("004.png"))


def retarget_directory(file: Path) -> None:
    others = shutil.copytree(file.parent, file.parents[1] / "others")
    picture(103).save(others / file.name, compress_level=0)
    file.parent.rename(file.parents[1] / "before")
    file.parent.symlink_to(others)


CHANGES = [edit_image, rename_another_over, edit_through_another_name, retarget_link, retarget_directory]


@pytest.mark.parametrize("change", CHANGES)
def test_however_an_image_is_changed_it_is_noticed(place: Path, change: Callable[[Path], None]) -> None:
    job = job_over(place / "pictures", place)
    file = place / "pictures" / "003.png"
    if change is retarget_link:
        file.rename(place / "003.png")
        file.symlink_to(place / "003.png")
    stream(job)
    before = (place / "r.cases.jsonl").read_bytes(), file.stat().st_size

    change(file)

    with pytest.raises(ParityError, match=r"r\.cases\.jsonl: 003\.png: changed since compared, by content"):
        stream(job)
    assert ((place / "r.cases.jsonl").read_bytes(), file.stat().st_size) == before


def test_a_shard_notices_changes_of_its_own_images_and_a_merged_run_of_all(place: Path) -> None:
    pictures = place / "pictures"
    shards = [
        job_over(pictures, place, shard=Shard(number, 2), cases=place / f"{number}.cases.jsonl")
        for number in (1, 2)
    ]
    for shard in shards:
        stream(shard)
    merge_cases([shard.cases for shard in shards if shard.cases], place / "r.cases.jsonl")
    whole = job_over(pictures, place)
    stream(whole)  # all is done
    (place / "artifacts" / "stamps").rename(place / "stamps")
    stream(whole)  # and nothing changed, though no status tells

    (place / "stamps").rename(place / "artifacts" / "stamps.before")
    edit_image(pictures / "006.png")  # of the second batch, and with that of the second shard

    stream(shards[0])
    for job in (shards[1], whole):
        with pytest.raises(ParityError, match=r"006\.png: changed since compared"):
            stream(job)


def test_many_edited_images_are_named_by_the_first(place: Path) -> None:
    stream(job_over(place / "pictures", place))
    for file in (place / "pictures").iterdir():
        edit_image(file)

    with pytest.raises(ParityError, match=r": 000\.png, 001\.png, 002\.png and others: changed since"):
        stream(job_over(place / "pictures", place))


def test_an_image_that_cannot_be_read_any_more_is_refused(place: Path) -> None:
    (place / "pictures" / "023.png").symlink_to(place / "elsewhere.png")
    stream(job_over(place / "pictures", place), allowed_unreadable=0.5)
    assert stream(job_over(place / "pictures", place), allowed_unreadable=0.5).run.unreadable is not None
    picture(99).save(place / "elsewhere.png")

    with pytest.raises(ParityError, match=r"the names or sizes of the images changed"):
        stream(job_over(place / "pictures", place))


def test_images_that_were_copied_or_touched_are_the_same(place: Path, compared: list[int]) -> None:
    job = job_over(place / "pictures", place)
    stream(job)
    compared.clear()
    for file in (place / "pictures").iterdir():
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))

    stream(job)

    assert compared == []


def test_an_image_that_was_not_compared_yet_may_change(place: Path) -> None:
    job = job_over(place / "pictures", place)
    stream(job)
    left = half_done(place)
    edit_image(place / "pictures" / f"{left:03}.png")

    stream(job)

    stream(replace(job, cases=place / "anew.cases.jsonl"))
    assert (place / "anew.cases.jsonl").read_bytes() == (place / "r.cases.jsonl").read_bytes()


def test_stamps_of_another_journal_of_that_name_prove_nothing(place: Path) -> None:
    job = job_over(place / "pictures", place)
    stream(replace(job, cases=place / "elsewhere.cases.jsonl"))
    edit_image(place / "pictures" / "003.png")
    stream(job)
    (place / "elsewhere.cases.jsonl").replace(place / "r.cases.jsonl")

    with pytest.raises(ParityError, match=r"003\.png: changed since"):
        stream(job)


def test_what_was_compared_is_not_read_again_where_its_status_tells(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_over(place / "pictures", place)
    stream(job)

    def explode(path: str) -> bytes:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr("parity.stream.stamps.content_digest", explode)

    stream(job)


Change = Callable[[Path], None]


def rewrite(name: str, old: str, new: str) -> Change:
    def change(place: Path) -> None:
        text = (place / name).read_text(encoding="utf-8")
        assert old in text
        (place / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


@pytest.mark.parametrize(("labelled", "told"), [("bee", "what the images show changed"), ("ant", "")])
def test_other_labels_are_another_run_and_another_name_of_the_file_is_not(
    place: Path, labelled: str, told: str, compared: list[int]
) -> None:
    for name, label in (("labels.csv", "ant"), ("renamed.csv", labelled)):
        (place / name).write_text(f"003.png,{label}\n", encoding="utf-8")
    job = job_over(place / "pictures", place, labels=place / "labels.csv")
    stream(job)
    compared.clear()

    if told:
        with pytest.raises(ParityError, match=told):
            stream(replace(job, labels=place / "renamed.csv"))
    else:
        stream(replace(job, labels=place / "renamed.csv"))
        assert compared == []


def test_code_that_a_model_reaches_is_part_of_the_run(tmp_path: Path) -> None:
    save_suite(tmp_path)
    change = rewrite("models.py", "def tiny", "# another\ndef tiny")
    one = code_hash(load_classifier("models.py:tiny", directory=tmp_path))
    change(tmp_path)

    assert code_hash(load_classifier("models.py:tiny", directory=tmp_path)) != one
