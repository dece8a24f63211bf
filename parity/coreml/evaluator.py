"""Run a Core ML model on any system: read the file, plan once, predict many times.

    file --files--> specification --mil | neuralnetwork--> Graph --plan--> Plan --features--> predictions

What it is: Core ML's arithmetic as Apple specifies it, operation by operation, in the types that the file
declares. What it is not: the rounding of a particular Neural Engine or GPU.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import torch

from conversion.guards.torch_defaults import with_torch_defaults
from parity.core.errors import CoreMLError
from parity.coreml.pipeline import open_runnable
from parity.coreml.program import Graph
from parity.coreml.reading.files import open_model
from parity.coreml.running.blocks import one_prediction
from parity.coreml.running.compiling import AFTER
from parity.coreml.running.engine import Engine, Inputs
from parity.coreml.running.state import State


class Evaluator:
    """Evaluate a Core ML model as `MLModel.predict` does on macOS.

    model: the path of a .mlpackage or .mlmodel, or a coremltools MLModel.
    function_name: of a model with several functions; its default function without one.
    compile_after: how many predictions with inputs of the same shapes go by before the plan is compiled for all
        others. That takes about a second, halves the time of each, and changes the last bits of its answer, as
        another order of summation does. None: never.
    `description` is the model's ModelDescription, or the FunctionDescription of the function; `kind` the model's
    type by its name in Model.proto.
    Raises CoreMLError for a file that cannot be read, and for operations that the evaluator lacks (all at once).
    """

    @with_torch_defaults
    def __init__(self, model: Any, function_name: str | None = None, compile_after: int | None = AFTER) -> None:
        opened = open_model(model)
        self.name = opened.name
        self.kind = str(opened.specification.WhichOneof("Type"))
        self._runnable = open_runnable(opened, function_name, compile_after)
        self.description = self._runnable.description

    @overload
    def predict(self, inputs: Inputs, state: State | None = None) -> dict[str, Any]: ...
    @overload
    def predict(self, inputs: list[Inputs], state: None = None) -> list[dict[str, Any]]: ...
    @with_torch_defaults
    def predict(
        self, inputs: Inputs | list[Inputs], state: State | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Predict for one dictionary of inputs, or for each of a list.

        Images are PIL images of the model's size, arrays anything that NumPy takes. Returns what MLModel.predict
        returns: class labels, dictionaries of probabilities, arrays, images. state: from make_state; it changes.
        """
        if isinstance(inputs, list):
            if state is not None:
                raise CoreMLError(f"{self.name}: a state goes with one dictionary of inputs, not with a list")
            return [self.predict(one) for one in inputs]
        with torch.inference_mode(), one_prediction():
            return self._runnable.predict(inputs, state)

    @with_torch_defaults
    def trace(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Return every intermediate tensor by its name in the file, in the order in which they are computed.

        Those inside a branch or a loop are left out; a pipeline's are named `part/value`.
        """
        with torch.inference_mode(), one_prediction():
            values = self._runnable.trace(inputs)
        return {name: value.numpy() for name, value in values.items() if isinstance(value, torch.Tensor)}

    @property
    def graph(self) -> Graph:
        """The operations of a model that is no pipeline: their names, types and wiring."""
        return self._engine().plan.graph

    @with_torch_defaults
    def feeds(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Return the values that the inputs of the graph take; an image's are what its pixels become."""
        values = self._engine().feeds(inputs)
        return {name: value.numpy() for name, value in values.items() if isinstance(value, torch.Tensor)}

    def _engine(self) -> Engine:
        if isinstance(self._runnable, Engine):
            return self._runnable
        raise CoreMLError(f"{self.name}: a pipeline has no graph of its own; give one of its models")

    @with_torch_defaults
    def make_state(self) -> State:
        """Make a fresh state, all zero, for a model that keeps one."""
        with torch.inference_mode():
            return self._runnable.make_state()
