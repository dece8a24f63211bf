"""What lies in the cache, what it takes, and that nothing else is ever removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from conversion import convert
from parity.core.errors import ParityError
from parity.versions.cache import CHOICES, DAY, Kept, free, kept, to_free
from tests.parity.tiny import tiny

KEY = "0123456789ab"


def laid(directory: Path, file: str, size: int = 4096) -> Path:
    """Write a directory with a file of a name, and one of a size."""
    directory.mkdir(parents=True)
    (directory / file).write_text("{}")
    (directory / "weights").write_bytes(b"x" * size)
    return directory


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Lay out an artefact of 40 kB and an environment of 80 kB, with their locks."""
    laid(tmp_path / ".parity/tiny" / f"onnx-{KEY}", "digests.json", 40_000)
    laid(tmp_path / ".parity/toolchains" / f"onnx-1.17.0-{KEY}", "toolchain.json", 80_000)
    for group, name in (("tiny", "onnx"), ("toolchains", "onnx-1.17.0")):
        (tmp_path / ".parity" / group / f"{name}-{KEY}.lock").touch()
    return tmp_path / ".parity"


def test_what_was_made_is_listed_with_its_size_the_largest_first(cache: Path) -> None:
    environment, artifact = kept(cache)

    assert (environment.kind, environment.path.name) == ("environment", f"onnx-1.17.0-{KEY}")
    assert (artifact.kind, artifact.path) == ("artifact", cache / "tiny" / f"onnx-{KEY}")
    assert 80_000 <= environment.size <= 96_000
    assert 40_000 <= artifact.size <= 56_000


def test_what_convert_leaves_is_an_artefact(tmp_path: Path) -> None:
    made = convert(tiny(), "onnx-torchscript", tmp_path)

    (one,) = kept(tmp_path)
    assert (one.kind, one.path) == ("artifact", made.path.parent)
    assert free([one]) == ((one,), ())
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_holds_nothing_and_a_file_is_no_cache(tmp_path: Path) -> None:
    assert kept(tmp_path / "absent") == ()
    (tmp_path / "file").touch()
    with pytest.raises(ParityError, match="file: is a file; give the directory where converted models are kept"):
        kept(tmp_path / "file")


def test_a_file_of_two_names_takes_its_place_once(cache: Path) -> None:
    before = kept(cache)[1].size
    os.link(cache / "tiny" / f"onnx-{KEY}" / "weights", cache / "tiny" / f"onnx-{KEY}" / "again")

    assert kept(cache)[1].size == before


def test_what_is_not_ours_is_neither_listed_nor_removed(cache: Path, tmp_path: Path) -> None:
    theirs = [
        laid(tmp_path / "precious" / f"onnx-{KEY}", "digests.json"),  # outside
        laid(cache / "tiny" / "notes", "digests.json"),  # no name of ours
        laid(cache / "tiny" / f"mine-{KEY}", "notes.txt"),  # no mark of ours
        laid(cache / f"onnx-{KEY}", "digests.json"),  # in no directory of a model
        laid(cache / "tiny" / f"mine-{KEY}.abcdefgh", "notes.txt"),  # nobody's lock
    ]
    (cache / "linked").symlink_to(tmp_path / "precious")
    (cache / "tiny" / f"linked-{KEY}").symlink_to(tmp_path / "precious" / f"onnx-{KEY}")

    gone, left = free(to_free(kept(cache), "all", None, 0))

    assert ([one.path.name for one in gone], left) == ([f"onnx-1.17.0-{KEY}", f"onnx-{KEY}"], ())
    assert all((path / "weights").is_file() for path in theirs)
    assert (cache / "linked").is_symlink()
    assert not (cache / "toolchains").exists()


def test_what_a_link_inside_leads_to_stays(cache: Path, tmp_path: Path) -> None:
    precious = laid(tmp_path / "precious", "file")
    (cache / "tiny" / f"onnx-{KEY}" / "link").symlink_to(precious)

    free(kept(cache))

    assert (precious / "weights").is_file()


def test_what_a_killed_process_left_half_made_is_listed_too(cache: Path) -> None:
    half = laid(cache / "tiny" / f"onnx-{KEY}.abc_1234", "weights.part")
    other = laid(cache / "toolchains" / f"onnx-1.17.0-{KEY}.abc_1234", "weights.part")

    assert {(one.path, one.kind) for one in kept(cache)} >= {(half, "artifact"), (other, "environment")}


@pytest.mark.parametrize("name", [f"onnx-{KEY}", f"onnx-{KEY}-2", f"onnx-{KEY}.abcd1234"])
def test_what_another_process_is_making_stays(cache: Path, name: str) -> None:
    place = cache / "tiny" / name
    if not place.exists():
        laid(place, "digests.json")
    with FileLock(cache / "tiny" / f"onnx-{KEY}.lock"):
        gone, left = free(one for one in kept(cache) if one.path == place)

    assert (gone, left) == ((), (f"{place}: another process is making it; it stays",))
    assert place.is_dir()


def test_what_cannot_be_removed_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    gone, left = free(kept(cache)[:1])

    assert (gone, len(left)) == ((), 1)
    assert left[0].endswith(f"onnx-1.17.0-{KEY}: cannot be removed whole, Permission denied")


KEPT = st.builds(
    Kept, st.just(Path("x")), st.sampled_from(["environment", "artifact"]), st.just(1), st.floats(0, 100 * DAY)
)


@given(st.lists(KEPT), st.floats(0, 200))
def test_a_choice_takes_its_kind_and_an_age_all_that_is_older(listed: list[Kept], days: float) -> None:
    now = 100 * DAY
    parts = [to_free(listed, choice, None, now) for choice in ("environments", "artifacts")]

    assert sorted(map(id, (*parts[0], *parts[1]))) == sorted(map(id, listed))
    assert to_free(listed, "all", None, now) == tuple(listed)
    assert all(now - one.made > days * DAY for one in to_free(listed, "older-than", days, now))
    assert len(CHOICES) == 4
