"""Outputs of a task that is not a classifier's: which of a file's they are, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conversion.task import PROBABILITIES
from parity.backends.outputs import settle_output
from parity.core.errors import ParityError
from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.task import Task


def bind(artifact: Artifact, task: Task) -> Artifact:
    """Say which of a file's outputs are the task's: those of their names, or the only one there is.

    A classifier's is settled as ever. Where an output is not there, the backends say so.
    """
    if [spec.kind for spec in task.outputs] == [PROBABILITIES]:
        return settle_output(artifact, len(task.labels))
    names = [spec.name for spec in task.outputs]
    try:
        there = list(format_of(artifact).read_outputs(artifact)[1])
    except ParityError:  # a damaged file, of which the backends say more
        there = names
    alone = len(names) == len(there) == 1
    return replace(artifact, bound=tuple(zip(names, there if alone else names, strict=True)))
