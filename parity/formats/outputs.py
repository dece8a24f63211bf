"""Which output of a file holds the probabilities: by its name, else the only one that can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from parity.core.errors import ParityError

if TYPE_CHECKING:
    from conversion import Artifact

# What our own conversions call it, and Core ML's documentation.
WANTED = "classLabelProbs"

# None for a size that is open.
Shape = tuple[int | None, ...]


def wanted_output(artifact: Artifact) -> str:
    """Name the output that holds the answer: the one that a task is bound to, else that of our own conversions."""
    return artifact.bound[0][1] if artifact.bound else WANTED


class OutputNotFoundError(ParityError):
    """The artefact runs, but which output holds the probabilities cannot be known: nothing can be concluded."""


def pick_output(outputs: Mapping[str, Shape], artifact: Artifact, wanted: str) -> str:
    """Find the output that holds the probabilities: by its name, else the only one of shape [N, classes].

    outputs: name -> shape, None for an open size. Never picks by position.
    """
    if artifact.output in outputs:
        return artifact.output
    if wanted in outputs:
        return wanted
    shaped = [name for name, shape in outputs.items() if len(shape) == 2 and shape[1] != 1]
    if len(shaped) == 1:
        return shaped[0]
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in outputs.items())
    how = "; say which is the answer: `output` in the suite file, --output of a command" if shaped else ""
    raise OutputNotFoundError(
        f"{artifact.path}: no output is called {wanted}, and {len(shaped)} have the shape [images, classes]; "
        f"the outputs are {listed}{how}"
    )
