"""What artefacts were asked ahead, and nobody has asked for yet: parity.backends.limited begins it and takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from conversion import Artifact
    from parity.backends.limited import TimeLimit
    from parity.backends.worker_process import Worker


@dataclass(frozen=True, eq=False)
class Begun:
    """Hold one of them: of whom it was asked, what, within which limit, and by which number.

    pixels: uint8 [N, H, W, 3]; the answer is one to these very pixels.
    """

    worker: Worker
    name: str
    artifact: Artifact
    batch: int
    pixels: np.ndarray
    limit: TimeLimit
    number: int


BEGUN: list[Begun] = []


def take_begun(name: str, artifact: Artifact, batch: int, limit: TimeLimit) -> Begun | None:
    """Take what an artefact was asked ahead on a backend; None: nothing."""
    for begun in BEGUN:
        if (begun.name, begun.batch, begun.limit) == (name, batch, limit) and begun.artifact == artifact:
            BEGUN.remove(begun)
            return begun
    return None


def forget_begun() -> None:
    """Let go what nobody will ask for."""
    while BEGUN:
        begun = BEGUN.pop()
        begun.worker.forget(begun.number)
