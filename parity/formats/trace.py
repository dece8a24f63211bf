"""All values of one run of an artefact, image by image: never those of two images in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from parity.core.results import Prediction
from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact

# Takes the pixels of one image, uint8 [H, W, 3]; gives every value, the input among them, by its name in the file.
Trace = Callable[[np.ndarray], dict[str, np.ndarray]]
# The same with values, by name, that stand in the place of the file's own.
TraceWith = Callable[[np.ndarray, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
# Takes pixels [1, H, W, 3] and such values; gives what the artefact answers with them.
Answer = Callable[[np.ndarray, Mapping[str, np.ndarray]], Prediction]


def open_trace(artifact: Artifact, optimised: bool = False) -> Trace:
    """Open an artefact once, to trace one image after the other.

    optimised: let a runtime that rewrites graphs do so, as far as it can while every value is asked for.
    """
    return format_of(artifact).open_trace(artifact, optimised)
