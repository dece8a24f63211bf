"""Where files are written: what is refused and what is not, and what is there when writing fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parity.core.destination import Destination, check_destinations, is_earlier, write_whole
from parity.core.errors import ParityError
from parity.stream.cases_file import read_header
from tests.parity.full_disk import small_files
from tests.parity.stream.test_journal import HEADER

HTML = '<!DOCTYPE html>\n<head>\n<meta charset="utf-8">\n<meta name="generator" content="coreml-parity">\n'
# Kind -> how a file of it begins, or all of it.
EARLIER = {
    "parity-run": '{\n  "environment": {},\n  "schema": "parity-run/2"\n}\n',
    "parity-record": '{"schema": "parity-record/1", "records": []}',
    "parity-baseline": '{\n  "model": "m",\n  "schema": "parity-baseline/1"\n}\n',
    "parity-cases": '{"environment":{},"schema":"parity-cases/1"}\n{"index":0}\n',
    "parity-envelope": '{\n  "schema": "parity-envelope/1",\n  "model": "m"\n}\n',
    "html": HTML,
    "junit": '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="coreml-parity" tests="1">\n',
    "markdown": "### ✅ coreml-parity: parity holds: 1 pass\n",
    "markdown of compare-runs": "### ❌ coreml-parity compare-runs: something got worse: 1 worse\n",
}
FOREIGN = (
    "notes of mine\n",
    '{"precious": 1}\n',
    # What speaks of a file of ours is none.
    'RECORD = """{"schema": "parity-record/1", "records": []}"""\n',
    '{"mine": {"schema": "parity-run/2"}}\n',
    '{"schema": "parity-run/2"}\n{"schema": "parity-run/2"}\n',
    '{"precious": "no line end"}',
    "<!DOCTYPE html>\n<title>coreml-parity</title>\n",
    '<?xml version="1.0"?>\n<testsuites name="pytest tests">\n',
    "# Notes\n\n### ✅ coreml-parity: parity holds: 1 pass\n",
)
# At the place of a baseline what begins like JSON and is none is a baseline that was torn.
TORN = {*(text for text in FOREIGN if text.count('{"') > 1 and "\n{" in text), EARLIER["parity-cases"]}


def destination(path: Path, kind: str = "parity-run", *reads: Path, force: bool = False) -> Destination:
    return Destination(Path(path.name), path, kind, reads, force)


def refusal(one: Destination) -> str:
    with pytest.raises(ParityError) as told:
        one.check()
    (line,) = str(told.value).splitlines()
    return line


@pytest.mark.parametrize("kind", EARLIER)
def test_an_earlier_output_of_the_same_kind_and_an_empty_file_are_written_over(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "report"
    for content in (EARLIER[kind], ""):
        file.write_text(content, encoding="utf-8")
        destination(file, kind).write("new\n")
        assert file.read_text(encoding="utf-8") == "new\n"


@pytest.mark.parametrize("kind", EARLIER)
def test_any_other_file_is_kept_unless_forced(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "report"
    others = (*FOREIGN, *(text for other, text in EARLIER.items() if other != kind))
    for content in others if kind != "parity-baseline" else set(others) - TORN:
        file.write_text(content, encoding="utf-8")
        assert refusal(destination(file, kind)).endswith(
            "and no earlier output of this kind; give another name, or --force to overwrite it"
        )
        assert file.read_text(encoding="utf-8") == content
    destination(file, kind, force=True).write("new\n")
    assert file.read_text(encoding="utf-8") == "new\n"


@pytest.mark.parametrize("name", ["parity.toml", "__init__.py", "tiny.onnx", "sky.png"])
def test_an_empty_file_with_the_name_of_a_source_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    assert f"{name}: is a" in refusal(destination(tmp_path / name)) or name == "__init__.py"
    assert not is_earlier(tmp_path / name, "parity-run")


def test_a_journal_whose_header_is_torn_is_an_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "r.cases.jsonl"
    whole = HEADER.to_json()
    for content in (whole, whole[:-1], whole[:30], whole[:3], whole[:5] + b"\0" * 9, b"\0" * 50):
        file.write_bytes(content)
        assert is_earlier(file, "parity-cases")
    file.write_bytes(whole)
    assert read_header(file) == HEADER


def test_what_the_run_reads_is_never_written_over(tmp_path: Path) -> None:
    source = tmp_path / "old.json"
    source.write_text(EARLIER["parity-run"], encoding="utf-8")
    (tmp_path / "symbolic").symlink_to(source)
    os.link(source, tmp_path / "hard")

    for name in ("old.json", "symbolic", "hard", "./old.json", "../" + tmp_path.name + "/old.json"):
        one = Destination(Path(name), tmp_path / name, "parity-run", (source,), force=True)
        assert refusal(one) == (f"{Path(name)}: would be overwritten, and this run reads it; give another name")
        with pytest.raises(ParityError):
            one.write("new")
    assert source.read_text(encoding="utf-8") == EARLIER["parity-run"]


def test_a_module_that_was_loaded_is_never_written_over() -> None:
    import tests.parity.tiny as module

    assert "this run reads it" in refusal(destination(Path(module.__file__), force=True))


def test_nothing_is_written_into_a_package_or_among_images(tmp_path: Path) -> None:
    package, photos = tmp_path / "a.mlpackage", tmp_path / "photos"
    (package / "Data").mkdir(parents=True)
    photos.mkdir()

    inside = refusal(destination(package / "Data" / "r.json", "parity-run", package, force=True))
    assert inside == f"r.json: lies inside {package}, which this run reads; give another place"
    assert "would be an image of" in refusal(destination(photos / "new.PNG", "html", photos, force=True))
    destination(photos / "report.html", "html", photos).check()


@pytest.mark.parametrize(("first", "second"), [("r.json", "r.json"), ("R.json", "r.JSON"), ("ä", "a\u0308")])
def test_two_outputs_are_two_files(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(ParityError, match="two reports go to one file"):
        check_destinations([destination(tmp_path / first), destination(tmp_path / second, "html")])


def test_two_names_of_one_file_are_found_out(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "symbolic").symlink_to("later")

    for first, second in (("a", "hard"), ("later", "symbolic")):
        with pytest.raises(ParityError, match=f"one file, {first} and {second}; give each a file of its own"):
            check_destinations([destination(tmp_path / first), destination(tmp_path / second, "html")])


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("d", Path.mkdir, "is a directory; give the name of a file"),
        ("p", make_pipe, "is a pipe, a socket or a disk; give the name of a file"),
        ("gone/r", None, "the directory does not exist; create it first"),
        ("loop", make_loop, "cannot be written (Too many levels of symbolic links)"),
        ("x" * 300, None, "cannot be written (File name too long)"),
        ("a\0b", None, "cannot be written (a name holds no NUL character)"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused(
    tmp_path: Path, name: str, make: Callable[[Path], None] | None, told: str
) -> None:
    if make:
        make(tmp_path / name)

    assert refusal(Destination(Path(name), tmp_path / name, "parity-run", force=True)) == f"{name}: {told}"


def test_permissions_are_asked_for_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.json"
    file.touch()
    # Root may write anywhere, so the system's answer is put in here.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != file)
    assert "is protected from being written to" in refusal(destination(file))
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    assert "the directory cannot be written to" in refusal(destination(file))


def test_a_directory_is_made_where_that_is_asked_for(tmp_path: Path) -> None:
    one = Destination(Path("r"), tmp_path / "a" / "b" / "r", "parity-run", makes_directory=True)
    one.write("new")
    assert (tmp_path / "a" / "b" / "r").read_text(encoding="utf-8") == "new"

    (tmp_path / "file").touch()
    wrong = Destination(Path("r"), tmp_path / "file" / "b" / "r", "parity-run", makes_directory=True)
    assert "Not a directory" in refusal(wrong)


def test_the_file_where_the_output_goes_already_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "out.txt").open("w") as out:
        before = os.dup(1)
        os.dup2(out.fileno(), 1)
        try:
            told = refusal(destination(tmp_path / "out.txt"))
        finally:
            os.dup2(before, 1)
            os.close(before)
    assert told == "out.txt: is where the output of this command goes already; give another name"


@pytest.mark.parametrize("before", ["", "old"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, before: str) -> None:
    file = tmp_path / "r.json"
    if before:
        file.write_text(before, encoding="utf-8")

    with small_files(1000), pytest.raises(ParityError) as told:
        write_whole(file, [b"x" * 600, b"y" * 600], Path("r.json"))

    assert str(told.value) == "r.json: cannot be written (File too large); what was there before is unchanged"
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == (
        [("r.json", "old")] if before else []
    )


def test_a_device_is_written_to() -> None:
    Destination(Path("/dev/null"), Path("/dev/null"), "html").write("new")

    assert Path("/dev/null").is_char_device()
    with pytest.raises(ParityError, match=r"^/dev/full: cannot be written \(No space left on device\)"):
        Destination(Path("/dev/full"), Path("/dev/full"), "html").write("new")


def test_user_code_that_changes_the_directory_does_not_move_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    one = Destination(Path("r"), Path("r").absolute(), "html")
    monkeypatch.chdir(tmp_path / "elsewhere")

    one.write("new")

    assert (tmp_path / "r").read_text(encoding="utf-8") == "new"
