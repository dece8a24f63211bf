"""`parity clean` from outside: it lists, and removes what it is told to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parity.commands.clean import _CHOICES, _size
from parity.versions.cache import CHOICES, DAY
from tests.parity.commands.command import Parity
from tests.parity.versions.test_cache import KEY
from tests.parity.versions.test_cache import cache as cache


@pytest.fixture(autouse=True)
def here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(cache.parent)
    os.utime(cache / "tiny" / f"onnx-{KEY}", (12 * DAY, 12 * DAY + DAY // 2))
    return cache


def test_without_free_all_is_listed_and_nothing_is_removed(here: Path, parity: Parity) -> None:
    done = parity("clean")

    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0].startswith(".parity: 2 of 1")
    assert lines[1].startswith("environments of tool chains: 1 of ")
    assert lines[2].endswith(f"  toolchains/onnx-1.17.0-{KEY}")
    assert lines[3].startswith("converted models: 1 of ")
    assert lines[4].endswith(f"  1970-01-13  tiny/onnx-{KEY}")
    assert lines[5] == "parity clean --free all, environments, artifacts or older-than DAYS removes them"
    assert (here / "tiny" / f"onnx-{KEY}").is_dir()


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["all"], []),
        (["environments"], ["tiny"]),
        (["artifacts"], ["toolchains"]),
        (["older-than", "30"], ["toolchains"]),
        (["older-than", "99999"], ["tiny", "toolchains"]),
    ],
)
def test_free_removes_what_it_names(here: Path, parity: Parity, words: list[str], left: list[str]) -> None:
    done = parity("clean", "--free", *words)

    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in here.iterdir()) == left
    assert done.out.startswith(f".parity: removed {2 - len(left) or 'nothing'}")


def test_a_place_without_a_cache_holds_nothing(parity: Parity, tmp_path: Path) -> None:
    done = parity("clean", "--artifacts", str(tmp_path / "other"))

    assert (done.code, done.out) == (0, f"{tmp_path / 'other'}: nothing\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--free", "older-than"], "DAYS goes with --free older-than"),
        (["--free", "all", "3"], "DAYS goes with --free older-than"),
        (["3"], "DAYS goes with --free older-than"),
        (["--free", "older-than", "nan"], "nan is in no range"),
        (["--free", "models"], "'models' is not one of"),
    ],
)
def test_bad_input_is_one_clear_line(here: Path, parity: Parity, words: list[str], told: str) -> None:
    done = parity("clean", *words)

    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert told in done.err
    assert len(list(here.iterdir())) == 2


def test_the_choices_are_those_of_the_cache() -> None:
    assert _CHOICES == CHOICES


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (1.25e12, "1.2 TB")]
)
def test_a_size_has_a_unit(size: int, told: str) -> None:
    assert _size(size) == told
