"""Run an artefact with some of its values computed by PyTorch, from the artefact's own inputs to the operation.

That undoes whatever is wrong with an operation, even where the format has no setting that would: the operation
alone is PyTorch's, all before and all behind it the artefact's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from parity.core.results import Prediction
from parity.diagnosis.align import BothSides, Parting, align, image_values, stand_in
from parity.formats import format_of
from parity.formats.trace import open_trace

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.source import Program
    from parity.diagnosis.types import Located
    from parity.formats.graph import Graph


def grafted(
    artifact: Artifact, graph: Graph, program: Program, known: Sequence[Located], chosen: Sequence[Located]
) -> Predict:
    """Make a Predict in which PyTorch does what is chosen of the located operations, one after the other.

    known: all that were located: behind each of the others PyTorch goes on from the artefact's value.
    """
    import torch

    from conversion.deployed import pixels_to_tensor

    trace = open_trace(artifact)
    answer = format_of(artifact).open_with_values(artifact, [one.value for one in chosen])
    further = [
        format_of(artifact).open_trace_with_values(artifact, [one.value for one in chosen[:count]])
        for count in range(1, len(chosen))
    ]
    partings = {one.value: Parting(one.value, one.number) for one in known if one.number >= 0}

    def answer_one(pixels: np.ndarray) -> Prediction:
        image = pixels_to_tensor(pixels[None])
        grafts: dict[str, np.ndarray] = {}
        values = trace(pixels)
        for place, one in enumerate(chosen):
            if place:
                values = further[place - 1](pixels, grafts)
            with torch.inference_mode():
                sides = BothSides(program, image, graph, image_values(values, graph), artifact.precision)
                value = _computed(sides, one, partings)
            grafts[one.value] = np.asarray(value, values[one.value].dtype)
        return answer(pixels[None], grafts)

    return one_by_one(answer_one)


def one_by_one(answer_one: Callable[[np.ndarray], Prediction]) -> Predict:
    """Make a Predict of what answers one image, uint8 [H, W, 3]."""

    def predict(pixels: np.ndarray) -> Prediction:
        rows = [answer_one(image) for image in pixels]
        top1 = [row.top1 for row in rows]
        return replace(
            rows[0],
            probabilities=np.concatenate([row.probabilities for row in rows]),
            top1=tuple(name for row in top1 for name in row or ()) or None,
        )

    return predict


def _computed(sides: BothSides, located: Located, partings: Mapping[str, Parting]) -> np.ndarray:
    """Let PyTorch compute a value from the artefact's own inputs to the operation."""
    own = sides.values.tensors[located.value]
    alignment = align(sides, tuple(partings.values()))
    computed = stand_in(alignment.expected[partings[located.value].source].exact, own)
    assert computed is not None
    return np.asarray(computed.numpy())
