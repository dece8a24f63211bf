"""Run a Core ML model on any system: read the file, plan once, predict many times.

    file --files--> specification --mil | neuralnetwork--> Graph --plan--> Plan --features--> predictions

What it is: Core ML's arithmetic as Apple specifies it, operation by operation, in the types that the file
declares. What it is not: the rounding of a particular Neural Engine or GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
import torch

from parity.coreml.features import answer, feed
from parity.coreml.files import ModelFile, open_model
from parity.coreml.plan import Plan, make_plan
from parity.coreml.program import Graph
from parity.errors import CoreMLError

Inputs = Mapping[str, Any]


class Evaluator:
    """Evaluate a Core ML model as `MLModel.predict` does on macOS.

    model: the path of a .mlpackage or .mlmodel, or a coremltools MLModel.
    Raises CoreMLError for a file that cannot be read, and for operations that the evaluator lacks (all at once).
    """

    def __init__(self, model: Any, function_name: str | None = None) -> None:
        opened = open_model(model)
        self.name = opened.name
        self.specification = opened.specification
        self._description = _description(opened, function_name)
        self._plan = _plan(opened, function_name)

    @overload
    def predict(self, inputs: Inputs, state: Any = None) -> dict[str, Any]: ...
    @overload
    def predict(self, inputs: list[Inputs], state: None = None) -> list[dict[str, Any]]: ...
    def predict(self, inputs: Inputs | list[Inputs], state: Any = None) -> dict[str, Any] | list[dict[str, Any]]:
        """Predict for one dictionary of inputs, or for each of a list.

        Images are PIL images of the model's size, arrays anything that NumPy takes. Returns what MLModel.predict
        returns: class labels, dictionaries of probabilities, arrays.
        """
        if isinstance(inputs, list):
            return [self.predict(one) for one in inputs]
        with torch.inference_mode():
            values = self._plan.run(self._feeds(inputs))
        return {f.name: answer(f, values[f.name], self.name) for f in self._description.output}

    def trace(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Return every intermediate tensor by its name in the file, in the order in which they are computed."""
        with torch.inference_mode():
            values = self._plan.trace(self._feeds(inputs))
        return {name: value.numpy() for name, value in values.items() if isinstance(value, torch.Tensor)}

    def make_state(self) -> Any:
        """Make a fresh state for a model that keeps one."""
        raise CoreMLError(f"{self.name}: the model declares no state; predict without one")

    def _feeds(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        declared = {value.name: value for value in self._plan.graph.inputs}
        unknown = sorted(set(inputs) - set(declared))
        if unknown:
            raise CoreMLError(f"{self.name}: no input `{unknown[0]}`; the model takes {', '.join(declared)}")
        absent = sorted(set(declared) - set(inputs))
        if absent:
            raise CoreMLError(
                f"{self.name}: the input `{absent[0]}` is missing; the model takes {', '.join(declared)}"
            )
        return {f.name: feed(f, inputs[f.name], declared[f.name], self.name) for f in self._description.input}


def _description(model: ModelFile, function_name: str | None) -> Any:
    """Find the inputs and outputs: the model's own, or in a multi-function model those of the function."""
    description = model.specification.description
    if not description.functions:
        return description
    wanted = function_name or description.defaultFunctionName
    found = [function for function in description.functions if function.name == wanted]
    if not found:
        names = ", ".join(function.name for function in description.functions)
        raise CoreMLError(f"{model.name}: no function `{wanted}`; the file has {names}")
    return found[0]


def _plan(model: ModelFile, function_name: str | None) -> Plan:
    kind = model.specification.WhichOneof("Type")
    if kind == "mlProgram":
        from parity.coreml.mil import read_function

        graph = read_function(model.specification, model.name, model.weights_dir, function_name)
    elif kind in ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"):
        graph = _neural_network(model)
    else:
        raise CoreMLError(
            f"{model.name}: a model of type {kind}; the evaluator runs mlProgram, neuralNetwork, "
            "neuralNetworkClassifier and neuralNetworkRegressor"
        )
    return make_plan(graph, model.name)


def _neural_network(model: ModelFile) -> Graph:
    from parity.coreml.neuralnetwork import read_network

    return read_network(model.specification, model.name)
