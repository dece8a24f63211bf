"""No command writes over what it reads, or over what is no earlier output of it; and a full disk loses nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from parity.core.results import read_run
from tests.parity.commands.command import Parity, lay_out, run_in

SUITE = (
    'images = ["photos/*.png"]\nrecords = ["mac.json"]\n'
    '[models.tiny]\nfactory = "nets.py:tiny"\nroutes = ["onnx-torchscript"]\n'
)
CHECK = (
    "check",
    "nets.py:tiny",
    "tiny.onnx",
    "--images",
    "photos",
    "--backend",
    "onnxruntime",
    "--no-explain",
)
RUN = ("run", "--backend", "onnxruntime")
STREAM = (*RUN, "--images", "photos", "--workers", "0", "--no-explain")
RECORD = ("record", "tiny.onnx", "--images", "photos")
BASELINE = ("baseline", "record", "--backend", "onnxruntime", "--reason", "first")
REPORTING = (RUN, STREAM, CHECK, ("judge", "old.json"), ("merge", "s.cases.jsonl"))
# Every option that names a file to write.
WRITES = [
    *((command, f"--{option}") for command in REPORTING for option in ("json", "html", "junit", "markdown")),
    (RECORD, "--out"),
    *((("compare-runs", "old.json", "old.json"), option) for option in ("--json", "--markdown")),
    (BASELINE, "--json"),
    (("baseline", "check"), "--json"),
    (("calibrate",), "--json"),
    (("audit",), "--json"),
    (("explain", "nets.py:tiny", "tiny.onnx", "--images", "photos"), "--json"),
    (("upgrade", "--with", "onnx==1.17.0"), "--json"),
    (("upgrade", "--bisect", "onnx", "--from", "1.17.0"), "--json"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite, a file of factories, photos, a converted model, and a file of each kind that is read."""
    place = lay_out(tmp_path_factory.mktemp("destinations"), SUITE, "onnx-torchscript", factories="nets.py")
    (place / "empty.py").touch()
    (place / "notes.md").write_text("# Mine\n", encoding="utf-8")
    (place / "baselines" / "tiny").mkdir(parents=True)
    (place / "baselines" / "tiny" / "b.json").write_text("{}", encoding="utf-8")
    run_in(place, (*CHECK, "--json", "old.json"), (*RECORD, "--out", "mac.json"), (*STREAM, "--json", "s.json"))
    return place


def contents(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and ".parity" not in path.parts}


@pytest.mark.parametrize(("command", "option"), WRITES)
def test_what_is_no_earlier_output_is_kept(
    place: Path, parity: Parity, command: tuple[str, ...], option: str
) -> None:
    before = contents(place)

    for name in ("parity.toml", "nets.py", "empty.py", "notes.md", "photos/picture0.png", "tiny.onnx"):
        done = parity(*command, option, name)
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert line.startswith(f"parity: {name}: ")
        assert line.endswith(("another name", "to overwrite it"))
    assert contents(place) == before


@pytest.mark.parametrize(
    "arguments",
    [
        # Of the same kind, or forced.
        ("judge", "old.json", "--json", "old.json"),
        ("judge", "old.json", "--html", "old.json", "--force"),
        ("compare-runs", "old.json", "s.json", "--json", "s.json", "--force"),
        ("judge", "s.json", "--html", "s.cases.jsonl", "--force"),
        ("merge", "s.cases.jsonl", "--html", "s.cases.jsonl", "--force"),
        ("baseline", "check", "--json", "baselines/tiny/b.json", "--force"),
        (*RUN, "--json", "parity.toml", "--force"),
        (*RUN, "--json", "mac.json", "--force"),
        (*RUN, "--json", "nets.py", "--force"),
        (*RUN, "--html", "photos/picture0.png", "--force"),
        (*RUN, "--html", "photos/new.png", "--images", "photos", "--force"),
        (*CHECK, "--json", "tiny.onnx", "--force"),
        (*CHECK, "--json", "nets.py", "--force"),
        (*CHECK, "--record", "mac.json", "--json", "mac.json", "--force"),
        (*RECORD, "--out", "photos/picture1.png", "--force"),
    ],
)
def test_what_is_read_is_kept_even_if_forced(place: Path, parity: Parity, arguments: tuple[str, ...]) -> None:
    before = contents(place)

    done = parity(*arguments)

    assert (done.code, done.out) == (2, "")
    assert "this run reads it" in done.err or "which this run reads" in done.err
    assert contents(place) == before


def test_reports_are_written_over_reports_and_by_force_over_anything(place: Path, parity: Parity) -> None:
    files = ("--json", "r.json", "--html", "r.html", "--junit", "r.xml", "--markdown", "r.md")
    diff = ("compare-runs", "old.json", "old.json", "--json", "diff.json", "--markdown", "diff.md")
    for command in ((*CHECK, *files), ("judge", "old.json", *files), diff, (*RECORD, "--out", "again.json")):
        for _ in range(2):
            assert parity(*command).code == 0

    crossed = parity("judge", "old.json", "--markdown", "diff.md")
    assert crossed.code == 2
    assert "diff.md: holds something else and no earlier output of this kind" in crossed.err
    assert "a run, which" in parity(*RECORD, "--out", "r.json").err
    assert parity("judge", "old.json", "--markdown", "diff.md", "--force").code == 0
    assert (place / "diff.md").read_text(encoding="utf-8") == (place / "r.md").read_text(encoding="utf-8")


def test_a_file_in_the_place_of_the_cases_is_kept(place: Path, parity: Parity) -> None:
    cases = place / "many.cases.jsonl"
    for content in ('{"id": 1}\n{"id": 2}\n', '{"precious": 1}'):
        cases.write_text(content, encoding="utf-8")
        for more in ((), ("--fresh",)):
            done = parity(*STREAM, *more, "--json", "many.json")
            assert (done.code, done.out) == (2, "")
            assert done.err.startswith("parity: many.cases.jsonl: holds something else")
        assert cases.read_text(encoding="utf-8") == content
    assert parity("merge", "s.cases.jsonl", "--json", "many.json").code == 2
    assert "two reports go to one file" in parity(*STREAM, "--json", "n.json", "--html", "n.cases.jsonl").err

    assert parity(*STREAM, "--json", "many.json", "--force").code == 0
    assert parity(*STREAM, "--json", "many.json").code == 0  # finished: nothing is left to do
    assert cases.read_bytes() == (place / "s.cases.jsonl").read_bytes()


def test_a_file_in_the_place_of_a_baseline_is_kept(place: Path, parity: Parity) -> None:
    file = place / "baselines" / "tiny" / "onnx-torchscript.onnxruntime.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("my notes\n", encoding="utf-8")

    done = parity(*BASELINE)

    assert (done.code, done.out) == (2, "")
    assert "no earlier output of this kind; give another name, or --force (of pytest: --parity-force)" in done.err
    assert file.read_text(encoding="utf-8") == "my notes\n"
    assert parity(*BASELINE, "--force").code == 0
    assert json.loads(file.read_text(encoding="utf-8"))["schema"] == "parity-baseline/1"
    assert parity(*BASELINE).code == 0


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full as soon as a report is on its way to it."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("parity.core.destination.os.fsync", refuse)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("command", "option", "code", "told"),
    [
        (CHECK, "--json", 2, "parity holds: 1 pass"),
        (("check", "nets.py:shifted", *CHECK[2:]), "--html", 1, "parity does not hold: 1 fail"),
        (("judge", "old.json"), "--markdown", 2, "parity holds: 1 pass"),
        (("compare-runs", "old.json", "old.json"), "--markdown", 2, "nothing got worse: 1 same"),
        (("explain", "nets.py:tiny", "tiny.onnx", "--images", "photos"), "--json", 2, "parity holds"),
        (("baseline", "check", "--backend", "onnxruntime"), "--json", 3, "nothing to compare with"),
        (RECORD, "--out", 2, ""),
    ],
)
def test_on_a_full_disk_the_verdict_is_told_and_what_was_there_stays(
    place: Path, parity: Parity, command: tuple[str, ...], option: str, code: int, told: str
) -> None:
    shutil.rmtree(place / "baselines", ignore_errors=True)
    (place / "report").write_bytes(b"")

    done = parity(*command, option, "report")

    assert done.code == code
    assert told in done.out
    assert done.err == (
        "parity: report: cannot be written (No space left on device); what was there before is unchanged\n"
    )
    assert (place / "report").read_bytes() == b""
    assert not list(place.glob(".parity-*"))


@pytest.mark.usefixtures("full")
def test_on_a_full_disk_a_baseline_is_told_not_to_be_stored(place: Path, parity: Parity) -> None:
    shutil.rmtree(place / "baselines", ignore_errors=True)

    done = parity(*BASELINE)

    assert done.code == 1
    assert "not stored: tiny by onnx-torchscript on onnxruntime: " in done.out
    assert "onnx-torchscript.onnxruntime.json: cannot be written (No space left on device)" in done.out
    assert not list((place / "baselines" / "tiny").iterdir())


def test_one_report_that_cannot_be_written_does_not_take_the_others_along(place: Path, parity: Parity) -> None:
    done = parity(*CHECK, "--html", "/dev/full", "--json", "kept.json", "--markdown", "/dev/null")

    assert done.code == 2
    assert done.err.startswith("parity: /dev/full: cannot be written (No space left on device)")
    assert "parity holds: 1 pass" in done.out
    assert read_run(place / "kept.json").exit_code == 0


def test_a_factory_that_changes_the_directory_does_not_move_the_report(place: Path, parity: Parity) -> None:
    (place / "elsewhere").mkdir()
    (place / "moving.py").write_text(
        "import os\nfrom pathlib import Path\nfrom nets import tiny\n"
        "def moving():\n    os.chdir(Path(__file__).parent / 'elsewhere')\n    return tiny()\n",
        encoding="utf-8",
    )

    images = str(place / "photos")
    done = parity("check", "moving.py:moving", str(place / "tiny.onnx"), "--images", images, "--json", "moved.json")

    assert done.code == 0
    assert read_run(place / "moved.json").exit_code == 0
    assert not list((place / "elsewhere").iterdir())
