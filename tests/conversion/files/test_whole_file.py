"""Files that are there whole or not at all: what is there when writing fails or is stopped."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from conversion.files.whole_file import write_whole_file
from tests.parity.full_disk import small_files


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("before", [{}, {"r.json": b"old"}])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, before: dict[str, bytes]) -> None:
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)

    with small_files(1000), pytest.raises(OSError, match="File too large"):
        write_whole_file(tmp_path / "r.json", [b"x" * 600, b"y" * 600])

    assert contents(tmp_path) == before


def test_what_the_disk_does_not_confirm_is_not_moved_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "r.json"
    file.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        write_whole_file(file, [b"new"])
    assert contents(tmp_path) == {"r.json": b"old"}


def test_an_interruption_leaves_what_was_there(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    file = tmp_path / "r.json"
    file.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_whole_file(file, chunks())
    assert contents(tmp_path) == {"r.json": b"old"}


def test_a_file_may_be_made_from_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"old")

    with path.open("rb") as file:
        write_whole_file(path, [b"new, not ", *file])

    assert contents(tmp_path) == {"r.json": b"new, not old"}


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    file, link, dangling = tmp_path / "r.json", tmp_path / "link", tmp_path / "dangling"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to("r.json")
    dangling.symlink_to("later")
    before = os.umask(0o027)
    try:
        for path in (link, dangling, tmp_path / "new"):
            write_whole_file(path, [b"new"])
    finally:
        os.umask(before)

    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o640)
    assert link.readlink() == Path("r.json")
    assert (tmp_path / "later").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640  # 0o666 without what umask takes


def test_a_device_is_written_to() -> None:
    write_whole_file(Path("/dev/null"), [b"new"])

    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left on device"):
        write_whole_file(Path("/dev/full"), [b"new"])
