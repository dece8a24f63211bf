"""Which files of a directory are run, in which order, and what their list's digest depends on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import ParityError
from parity.stream.listing import list_images, shown


def touch(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names_in(directory: Path) -> list[str]:
    images = list_images(directory)
    return [images[index] for index in range(len(images))]


def test_files_are_sorted_by_the_parts_of_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/z.png", "a/b/c.JPEG", "a.b/x.jpg", "B.jpg", "a/ä.jpg")

    # "a" before "a.b", whole parts compared: text order of the paths would put "a.b/x.jpg" first.
    assert names_in(tmp_path) == ["B.jpg", "a/b/c.JPEG", "a/z.png", "a/ä.jpg", "a.b/x.jpg", "b.jpg"]


def test_only_images_that_are_not_hidden_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".hidden.jpg", "labels.csv", "a.txt", ".git/b.jpg", "jpg", "c.heic")

    assert names_in(tmp_path) == ["a.jpg", "c.heic"]


def test_a_directory_named_like_an_image_is_a_directory(tmp_path: Path) -> None:
    touch(tmp_path, "trap.jpg/inside.png")

    assert names_in(tmp_path) == ["trap.jpg/inside.png"]


def test_links_are_followed_and_never_round_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "real" / "up").symlink_to("..")
    (tmp_path / "nowhere.jpg").symlink_to("gone.jpg")
    (tmp_path / "itself").symlink_to("itself")

    assert names_in(tmp_path) == ["linked/a.jpg", "nowhere.jpg", "real/a.jpg"]


def test_a_name_that_is_not_utf8_is_listed_and_can_be_shown(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    try:
        os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")

    images = list_images(tmp_path)

    assert Path(images.path(0)).exists()
    assert shown(images[0]) == r"\xff\xfe.jpg"


@pytest.mark.parametrize("change", ["rename", "resize", "add"])
def test_the_digest_tells_other_images(tmp_path: Path, change: str) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    before = list_images(tmp_path).digest
    assert list_images(tmp_path).digest == before

    if change == "rename":
        (tmp_path / "b.jpg").rename(tmp_path / "c.jpg")
    elif change == "resize":
        (tmp_path / "b.jpg").write_bytes(b"longer than before")
    else:
        touch(tmp_path, "c.jpg")

    assert list_images(tmp_path).digest != before


def test_the_digest_does_not_depend_on_where_the_directory_lies(tmp_path: Path) -> None:
    for place in ("one", "two"):
        touch(tmp_path / place, "a.jpg")

    assert list_images(tmp_path / "one").digest == list_images(tmp_path / "two").digest


def test_a_directory_without_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "below/b.txt")

    with pytest.raises(ParityError, match="holds no images"):
        list_images(tmp_path)


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")

    with pytest.raises(ParityError, match=r"a\.jpg: no such directory"):
        list_images(tmp_path / "a.jpg")


def test_a_directory_that_cannot_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "secret/b.jpg")
    real = os.listdir

    def guarded(path: str) -> list[str]:
        if path.endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.listdir", guarded)

    with pytest.raises(ParityError, match=r"secret: the directory cannot be read \(Permission denied\)"):
        list_images(tmp_path)


@settings(max_examples=20)
@given(
    st.sets(st.lists(st.sampled_from(["a", "b", "a.b", "ä", "Z"]), min_size=1, max_size=3).map(tuple), min_size=1)
)
def test_the_order_is_that_of_the_paths_parts(
    tmp_path_factory: pytest.TempPathFactory, paths: set[tuple[str, ...]]
) -> None:
    directory = tmp_path_factory.mktemp("order")
    files = [Path(*parts[:-1], f"{parts[-1]}.png") for parts in paths]
    touch(directory, *(str(file) for file in files))

    assert names_in(directory) == [str(file) for file in sorted(files, key=lambda file: file.parts)]
