"""The operations of an ML Program with the weights that they read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from parity.coreml import Evaluator
from parity.coreml.reading.files import ModelFile, open_model
from parity.coreml.reading.mil import default_function, read_constants
from parity.formats.coreml.graph import Held, planned_graph
from parity.formats.graph import Graph

if TYPE_CHECKING:
    from conversion import Artifact


def read_graph(artifact: Artifact) -> Graph:
    """Read the operations of the default function."""
    # First, because it says what is wrong with a file.
    evaluator = Evaluator(artifact.path)
    return planned_graph(artifact, evaluator, dict(_weights(open_model(artifact.path))))


def _weights(model: ModelFile) -> Iterator[tuple[str, Held]]:
    constants = read_constants(model.specification, model.name, model.weights_dir)
    function = default_function(model.specification)
    for operation in function.block_specializations[function.opset].operations:
        if not operation.outputs:
            continue
        weights: dict[str, np.ndarray] = {}
        sources: dict[str, str] = {}
        for place, argument in operation.inputs.items():
            for binding in argument.arguments:
                array = constants.get(binding.name)
                if binding.name and array is not None and array.dtype.kind == "f":
                    weights[place], sources[place] = array.astype(np.float32), binding.name
        yield operation.outputs[0].name, (weights, sources)
