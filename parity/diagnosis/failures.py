"""What may fail while causes are looked for: what others refuse is expected, what breaks is a bug.

`Failures.attempt` stands around a part of the search, lets the expected classes be an answer, and keeps the rest as
values. Around a single call of code that is not ours stands parity.core.refusals.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from parity.core.refusals import EXPECTED

LOG = logging.getLogger(__name__)

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Broken:
    """Say which part of the search broke.

    where: the part, `the family weights`.
    reason: the class of what it raised, and its message.
    """

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass
class Failures:
    """Keep what broke during one search, and what others refused; each once, in order."""

    broken: list[Broken] = field(default_factory=list)
    refused: list[Broken] = field(default_factory=list)

    def attempt(self, where: str, ask: Callable[[], _Value], otherwise: Callable[[Exception], _Value]) -> _Value:
        """Return what a part of the search gives; `otherwise` where it fails, and of what broke keep the reason."""
        try:
            return ask()
        except EXPECTED as error:
            LOG.debug("%s: %s", where, error)
            refusal = Broken(where, " ".join(str(error).split()))
            if refusal not in self.refused:
                self.refused.append(refusal)
            return otherwise(error)
        except Exception as error:  # a bug of ours must not hide the failure that is explained
            self.note(where, error)
            return otherwise(error)

    def note(self, where: str, error: Exception) -> None:
        """Keep what broke."""
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
        if Broken(where, reason) not in self.broken:
            self.broken.append(Broken(where, reason))
            LOG.info("broke while causes were looked for: %s: %s", where, reason, exc_info=error)
