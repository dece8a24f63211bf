"""What an app needs to know of a file to run it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Call:
    """Name what goes into a file and what comes out.

    file: its name. image, answer: of its input and output. kind: NumPy's type of the numbers that go in; empty for
    an image of Core ML. shape: of an array that goes in, as Swift writes it. names: whether a dictionary of names
    comes out.
    """

    file: str
    image: str
    kind: str
    shape: str
    answer: str
    names: bool


class AppCode(Protocol):
    """Lines of an app that run a file of a format.

    PYTHON, SWIFT: the lines that import its runtime.
    """

    PYTHON: str
    SWIFT: str

    def python_call(self, call: Call, fed: str, /) -> Iterator[str]:
        """Run the file on the variable `fed`, and put what comes out into `answer`."""

    def swift_call(self, call: Call, /) -> Iterator[str]:
        """Run the file on `numbers` or `context`; what comes out is `logits`, or `probabilities` by name."""
