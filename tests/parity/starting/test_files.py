"""Files are refused before the work, and written whole, the suite last."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from conversion.files.whole_file import write_whole_file
from parity import ParityError
from parity.starting.files import MARK, SUITE_FILE, WORKFLOW_FILE, check_free, write_all

NAMES = (SUITE_FILE, WORKFLOW_FILE)
TEXTS = {WORKFLOW_FILE: f"{MARK}\n1\n", SUITE_FILE: f"{MARK}\n2\n"}


def test_an_empty_directory_is_free_and_gets_the_files(tmp_path: Path) -> None:
    check_free(tmp_path, NAMES, force=False)

    assert write_all(tmp_path, TEXTS) == [tmp_path / WORKFLOW_FILE, tmp_path / SUITE_FILE]
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in NAMES} == TEXTS


def test_what_begins_with_the_mark_gives_way_to_force_alone(tmp_path: Path) -> None:
    write_all(tmp_path, TEXTS)

    check_free(tmp_path, NAMES, force=True)
    with pytest.raises(ParityError, match="parity.toml: is there already; --force overwrites it"):
        check_free(tmp_path, NAMES, force=False)


@pytest.mark.parametrize("content", ["", "images = []\n", f"\n{MARK}\n", f"x = 1  {MARK}\n"])
@pytest.mark.parametrize("force", [True, False])
def test_what_does_not_begin_with_it_never_does(content: str, force: bool, tmp_path: Path) -> None:
    (tmp_path / SUITE_FILE).write_text(content, encoding="utf-8")

    with pytest.raises(ParityError, match="`parity init` did not write it"):
        check_free(tmp_path, NAMES, force)
    with pytest.raises(ParityError):
        write_all(tmp_path, TEXTS)
    assert (tmp_path / SUITE_FILE).read_text(encoding="utf-8") == content
    assert not (tmp_path / WORKFLOW_FILE).exists()


def test_links_to_nowhere_and_directories_are_in_the_way_too(tmp_path: Path) -> None:
    (tmp_path / SUITE_FILE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(ParityError, match="parity.toml: is there already"):
        check_free(tmp_path, [SUITE_FILE], force=True)

    (tmp_path / "models.py").mkdir()
    with pytest.raises(ParityError, match="models.py: is there already"):
        check_free(tmp_path, ["models.py"], force=True)

    (tmp_path / ".github").touch()
    with pytest.raises(ParityError, match="parity.yml: cannot be written .Not a directory"):
        check_free(tmp_path, [WORKFLOW_FILE], force=True)


def test_where_the_disk_is_full_there_is_no_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, chunks: Iterable[bytes]) -> None:
        if path.name == SUITE_FILE:
            raise OSError(28, "No space left on device")
        write_whole_file(path, chunks)

    monkeypatch.setattr("parity.core.destination.write_whole_file", write)

    with pytest.raises(ParityError, match="parity.toml: cannot be written .No space left on device"):
        write_all(tmp_path, TEXTS)
    assert not (tmp_path / SUITE_FILE).exists()
