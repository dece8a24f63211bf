"""Which output of a file holds the probabilities, where the file's names do not say it: by type and by shape."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conversion.errors import NotInstalledError
from parity.core.errors import ParityError
from parity.formats import format_of
from parity.formats.outputs import WANTED as WANTED
from parity.formats.outputs import Shape

if TYPE_CHECKING:
    from conversion import Artifact


def settle_output(artifact: Artifact, classes: int) -> Artifact:
    """Name the one output that has a number for each class, where none has the wanted name; else change nothing.

    Where several fit, or none does, the backends say that they cannot tell.
    """
    try:
        declared, shapes = read_outputs(artifact)
    except (NotInstalledError, ParityError):  # a file that cannot be read here, of which the backends say more
        return artifact
    if artifact.output or declared or WANTED in shapes:
        return artifact
    fitting = [name for name, shape in shapes.items() if _fits(shape, classes)]
    return replace(artifact, output=fitting[0]) if len(fitting) == 1 else artifact


def mapping_told(artifact: Artifact) -> str:
    """Say which output was read and why; empty where the file's own names say it."""
    if not artifact.output:
        return ""
    shapes = read_outputs(artifact)[1]
    others = [name for name in shapes if name != artifact.output]
    among = f"; the others are {', '.join(f'`{name}`' for name in others)}" if others else ""
    what = "the probabilities" if "softmax" in artifact.contract.inside else "the logits"
    return (
        f"the output `{artifact.output}` is read as {what}, for its shape "
        f"{told_shape(shapes.get(artifact.output, ()))} (none is called {WANTED}{among})"
    )


def shape_told(artifact: Artifact, shape: Shape) -> str:
    """Say of an answer's shape that it has axes which mean nothing; empty where it is [classes] or [N, classes].

    shape: as the file gives it for one batch.
    """
    # A NeuralNetwork's arrays may have five axes of the format's own, sequence and batch among them.
    own = len(shape) == format_of(artifact).RANK_OF_ITS_OWN
    if own or len(shape) < 3 or sum(size != 1 for size in shape[1:]) > 1:
        return ""
    classes = max(size or 1 for size in shape[1:])
    return (
        f"the output has the shape {told_shape(shape)}, and is read as [{shape[0]}, {classes}]: an app that "
        "expects [N, classes] must drop the axes of one; let the model end with flatten(1)"
    )


def read_outputs(artifact: Artifact) -> tuple[str, dict[str, Shape]]:
    """Read the name that a classifier declares, empty without one, and the outputs that may hold probabilities.

    Those are the outputs of floats, and dictionaries; name -> shape, None for a size that is open. A dictionary and
    an array whose shape is not in the file have the shape ().
    """
    return format_of(artifact).read_outputs(artifact)


def told_shape(shape: Shape) -> str:
    """Write a shape; `?` for a size that is open."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]" if shape else "[?]"


def _fits(shape: Shape, classes: int) -> bool:
    """Say whether an output has a number for each class and nothing else; its first axis counts the images."""
    return len(shape) > 1 and [size for size in shape[1:] if size != 1] == [classes]
