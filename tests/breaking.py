"""A test in which part of the search for causes breaks fails: what breaks is a bug, however well it is caught.

A conftest imports `nothing_breaks`; a test that breaks something on purpose has the marker `breaks`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

LOGGER = logging.getLogger("parity.diagnosis.failures")


class Breakages(logging.Handler):
    """Gather what is logged as broken."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(logging.Formatter("%(message)s").format(record))


@pytest.fixture(autouse=True)
def nothing_breaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which something broke that was not meant to."""
    breakages, level = Breakages(), LOGGER.level
    LOGGER.addHandler(breakages)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(breakages)
        LOGGER.setLevel(level)
    if breakages.messages and request.node.get_closest_marker("breaks") is None:
        pytest.fail("\n\n".join(breakages.messages), pytrace=False)
