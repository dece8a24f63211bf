"""Input shapes (images, channels, height, width) that an artefact takes, and such that it must refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from conversion.artifact import Artifact, open_artifact
from conversion.shapes import Axis, InputShapes, read_input_shapes
from parity.backends import backends_for, find_backend
from parity.core.errors import ParityError

if TYPE_CHECKING:
    from pathlib import Path

    from parity.core.results import Prediction

Shape = tuple[int, ...]

# An open end of an axis is tried this far above its lower end: a batch of an odd number, an odd size.
_BEYOND = 4


def input_shapes(artifact: Artifact | str | Path) -> st.SearchStrategy[Shape]:
    """Draw shapes that the artefact says it takes: mostly the ends of its ranges, and sizes between them.

    Every enumerated shape is drawn; of a batch 1, 2 and an odd number, where the artefact takes them.
    """
    accepted = _shapes(artifact)
    return st.one_of([st.tuples(*map(_sizes, option)) for option in accepted.options])


def refused_shapes(artifact: Artifact | str | Path) -> st.SearchStrategy[Shape]:
    """Draw shapes that the artefact must refuse: one axis too many or too few, other channels, other sizes."""
    accepted = _shapes(artifact)
    first = [tuple(axis.lower for axis in option) for option in accepted.options]
    wrong_ranks = [shape[1:] for shape in first] + [(1, *shape) for shape in first]
    moved = [
        (*shape[:place], size, *shape[place + 1 :])
        for shape in first
        for place in range(len(shape))
        for size in _beside(accepted, place)
    ]
    offered = [shape for shape in (*wrong_ranks, *moved) if shape not in accepted]
    return st.sampled_from(list(dict.fromkeys(offered)))


def run_shape(artifact: Artifact | str | Path, shape: Sequence[int], backend: str | None = None) -> Prediction:
    """Show an artefact noise of a shape, all of it at once; raises ParityError where it refuses the shape.

    shape: (images, channels, height, width); backend: by default the first that can run here.
    """
    opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact)
    able = [name for name in backends_for(opened.format) if find_backend(name).why_not() is None]
    if backend is None and not able:
        raise ParityError(f"{opened.path}: nothing here runs {opened.format}; `parity doctor` says why")
    noise = np.random.default_rng(0).integers(0, 256, tuple(shape), dtype=np.uint8)
    # Pixels come with their channels last.
    pixels = np.moveaxis(noise, 1, -1) if noise.ndim == 4 else noise
    return find_backend(able[0] if backend is None else backend).load(
        opened, batch=max(1, shape[0]) if len(shape) == 4 else 1
    )(pixels)


def _shapes(artifact: Artifact | str | Path) -> InputShapes:
    opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact)
    shapes = read_input_shapes(opened)
    if not shapes.options:
        raise ParityError(f"{opened.path}: the file declares no shape for its input; declare one when converting")
    return shapes


def _sizes(axis: Axis) -> st.SearchStrategy[int]:
    upper = axis.lower + _BEYOND if axis.upper is None else axis.upper
    ends = [size for size in (axis.lower, axis.lower + 1, axis.lower + 2, upper - 1, upper) if axis.lower <= size]
    return st.sampled_from(sorted({min(size, upper) for size in ends})) | st.integers(axis.lower, upper)


def _beside(accepted: InputShapes, place: int) -> Iterator[int]:
    """Give sizes of one axis that no option takes: just outside its ends, and far outside."""
    axes = [option[place] for option in accepted.options]
    ends = {axis.lower for axis in axes} | {axis.upper for axis in axes if axis.upper is not None}
    for end in sorted(ends):
        for near in (end - 1, end + 1, 2 * end):
            if near > 0 and not any(near in axis for axis in axes):
                yield near
