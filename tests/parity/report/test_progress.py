"""The bar of counted work: how many of how many, how fast, how long; literal names; silent where nobody looks."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from parity.report.progress import counting_bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, steps: Sequence[tuple[str, int, int | None]]
) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("sys.stderr", stream)
    with counting_bar("images") as progress:
        for step in steps:
            progress(*step)
    return stream.getvalue()


def test_counted_work_shows_how_much_is_done_how_fast_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # Work that an earlier run did comes first, and is no part of the speed.
    steps = [("comparing", 4000, 5000), ("comparing", 4001, 5000), ("comparing", 4003, 5000)]

    text = shown(monkeypatch, Terminal(), steps)

    assert "comparing" in text
    assert "4003 of 5000 images, " in text
    assert "/s" in text


def test_work_that_is_not_counted_shows_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal(), [("loading [red]x[/] [/]", 0, None)])

    assert "loading [red]x[/] [/]" in text
    assert "images" not in text


def test_it_is_silent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO(), [("comparing", 1, 2)]) == ""
