"""Where an answer comes from and where a route goes wrong, as values; results.json holds them as text.

Each class writes its text and reads it back, and nothing else does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RECORDED_BY = re.compile(r"(?P<backend>.*?)(?: \((?P<unit>[A-Z_]+)\))? on (?P<system>.+)")
_ARROW = " -> "


@dataclass(frozen=True)
class RecordedBy:
    """Say who gave answers that were recorded: `coreml-native (CPU_ONLY) on macOS 15.1 arm64`.

    backend: the runtime.
    compute_unit: where the runtime has several; empty where it is not known.
    system: the operating system.
    """

    backend: str
    compute_unit: str = ""
    system: str = ""

    def __str__(self) -> str:
        unit = f" ({self.compute_unit})" if self.compute_unit else ""
        return f"{self.backend or 'an unnamed runtime'}{unit} on {self.system or 'an unnamed system'}"

    @classmethod
    def parse(cls, text: str) -> RecordedBy | None:
        """Read what stands in results.json; None where it is nothing of the kind."""
        parts = _RECORDED_BY.fullmatch(text)
        return cls(parts["backend"], parts["unit"] or "", parts["system"]) if parts else None


@dataclass(frozen=True)
class Passage:
    """Name two neighbours of a route between which it goes wrong: `onnx -> neuralnetwork`.

    before: the last hop that agrees with PyTorch.
    after: the first that does not.
    """

    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before}{_ARROW}{self.after}"

    @classmethod
    def parse(cls, text: str) -> Passage | None:
        """Read what stands in results.json; None where no hop is guilty."""
        before, arrow, after = text.rpartition(_ARROW)
        return cls(before, after) if arrow else None
