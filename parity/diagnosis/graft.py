"""Run an artefact with some of its values made by PyTorch, from what the artefact itself gives the operation.

That undoes whatever is wrong with an operation, even where the format has no setting that would: the operation
alone is PyTorch's, all before and all behind it the artefact's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from parity.core.results import Prediction
from parity.diagnosis.align import Candidates, Parting, candidates, stand_in, walk
from parity.formats import format_of
from parity.formats.trace import open_trace

if TYPE_CHECKING:
    import torch

    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.source import Program
    from parity.diagnosis.types import Located
    from parity.formats.graph import Graph


def grafted(
    artifact: Artifact, graph: Graph, program: Program, known: Sequence[Located], chosen: Sequence[Located]
) -> Predict:
    """Make a Predict in which PyTorch does what is chosen of the located operations, one after the other.

    known: all that were located: behind each of the others PyTorch goes on from what the artefact gives.
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

    def wanted(values: dict[str, np.ndarray], image: torch.Tensor, one: Located) -> np.ndarray:
        given = candidates(values, graph)
        return _computed(program, image, given, artifact.precision, graph, one, partings)

    def predict(pixels: np.ndarray) -> Prediction:
        rows = []
        for image in pixels:
            made: dict[str, np.ndarray] = {}
            values = trace(image)
            for place, one in enumerate(chosen):
                if place:
                    values = further[place - 1](image, made)
                with torch.inference_mode():
                    found = wanted(values, pixels_to_tensor(image[None]), one)
                made[one.value] = np.asarray(found, values[one.value].dtype)
            rows.append(answer(image[None], made))
        top1 = [row.top1 for row in rows]
        return replace(
            rows[0],
            probabilities=np.concatenate([row.probabilities for row in rows]),
            top1=tuple(name for row in top1 for name in row or ()) or None,
        )

    return predict


def _computed(
    program: Program,
    image: torch.Tensor,
    given: Candidates,
    precision: str,
    graph: Graph,
    located: Located,
    partings: Mapping[str, Parting],
) -> np.ndarray:
    """Let PyTorch compute a value from what the artefact gives the operation."""
    own = given.values[located.value]
    if located.kind == "extra operation":
        producer = graph.producers()[located.value]
        before = next(given.values[n] for n in producer.inputs if given.values[n].numel() == own.numel())
        return np.asarray(before.reshape(own.shape).numpy())
    found = walk(program, image, given, tuple(partings.values()), precision)
    wanted = stand_in(found.expected[partings[located.value].source].exact, own)
    assert wanted is not None
    return np.asarray(wanted.numpy())
