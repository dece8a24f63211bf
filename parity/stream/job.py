"""What is asked of a streamed run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from parity.core.errors import ParityError
from parity.core.gate import UNCHANGED, GateChange
from parity.core.results import Part

if TYPE_CHECKING:
    from parity.backends.limited import TimeLimit


@dataclass(frozen=True)
class Shard(Part):
    """Name a part of a run; the whole of it by default."""

    number: int = 1
    of: int = 1

    def batches(self, total: int) -> range:
        """List the batches of `total` that are this shard's."""
        return range(self.number - 1, total, self.of)


@dataclass(frozen=True)
class Job:
    """Say what to run on which images, and where to write; nothing in it is loaded, so it can be sent elsewhere.

    models, routes, backends: of the suite; empty means all. labels: the file that says what images show.
    cases: the journal; None keeps it below `artifacts` until the run is done.
    fresh: start anew where there is a journal. workers: processes that decode; 0 decodes in this one.
    threads: of PyTorch, where they are not to be as many as it chooses here.
    strict: whether a contract that nobody states is inconclusive.
    time_limit: for each artefact and batch; None stands for the one that holds where the job is run.
    gate: what of the suite's gate on accuracy is to be otherwise.
    """

    suite: Path
    images: Path
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    labels: Path | None = None
    batch: int = 32
    workers: int = 0
    shard: Shard = Shard()
    tolerance_scale: float = 1.0
    artifacts: Path = Path(".parity")
    cases: Path | None = None
    fresh: bool = False
    threads: int | None = None
    strict: bool = False
    time_limit: TimeLimit | None = None
    gate: GateChange = UNCHANGED


def parse_shard(text: str) -> Shard:
    """Read `3/16`."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ParityError(f"{text}: no shard; give its number and how many there are, `3/16` for the third of 16")
    return Shard(int(match[1]), int(match[2]))


def cases_beside(json_file: Path) -> Path:
    """Name the cases file that belongs to a results.json."""
    return json_file.with_suffix(".cases.jsonl")


def default_workers() -> int:
    """Return how many processes decode by default: half of the processors; models run on the rest."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, able // 2)
