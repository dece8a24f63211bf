"""Pipelines: models that run one after the other, each on the inputs and on what those before it gave."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from parity.core.errors import CoreMLError
from parity.coreml.program import Value
from parity.coreml.reading.files import ModelFile
from parity.coreml.running.engine import NEURAL_NETWORKS, Engine, Inputs, check_names, open_engine
from parity.coreml.running.state import State, make_cells

PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")
# The newest version of the format that the evaluator reads.
SPECIFICATION_VERSION = 10


@dataclass(frozen=True)
class Pipeline:
    """Hold a pipeline that is ready to predict. parts: the models in order, by name."""

    name: str
    description: Any
    parts: tuple[tuple[str, Runnable], ...]

    def predict(self, inputs: Inputs, state: State | None = None) -> dict[str, Any]:
        """Predict for one dictionary of inputs."""
        values = self._run(inputs, state, None)
        absent = [f.name for f in self.description.output if f.name not in values]
        if absent:
            raise CoreMLError(f"{self.name}: the output `{absent[0]}` is given by no part; convert again")
        return {f.name: values[f.name] for f in self.description.output}

    def trace(self, inputs: Inputs) -> dict[str, Any]:
        """Return every value of every part, as `part/value`."""
        traced: dict[str, Any] = {}
        self._run(inputs, self.make_state() if self.states else None, traced)
        return traced

    def _run(self, inputs: Inputs, state: State | None, traced: dict[str, Any] | None) -> dict[str, Any]:
        check_names(inputs, self.description, self.name)
        if state is not None and not self.states:
            raise CoreMLError(f"{self.name}: the model declares no state; predict without one")
        values = dict(inputs)
        for name, part in self.parts:
            wanted = {f.name: values[f.name] for f in part.description.input if f.name in values}
            if traced is not None:
                traced |= {f"{name}/{value}": array for value, array in part.trace(wanted).items()}
            values |= part.predict(wanted, state if part.states else None)
        return values

    @property
    def states(self) -> tuple[Value, ...]:
        """The states that the parts keep."""
        return tuple(value for _, part in self.parts for value in part.states)

    def make_state(self) -> State:
        """Make a fresh state."""
        if not self.states:
            raise CoreMLError(f"{self.name}: the model declares no state; predict without one")
        return make_cells(self.states, self.name)


Runnable = Engine | Pipeline


def open_runnable(
    model: ModelFile, function_name: str | None = None, compile_after: int | None = None, *, part: bool = False
) -> Runnable:
    """Read and plan a model of any type that the evaluator runs; part: it is one of a pipeline."""
    kind = model.specification.WhichOneof("Type")
    version = model.specification.specificationVersion
    if version > SPECIFICATION_VERSION:
        raise CoreMLError(
            f"{model.name}: specification version {version}; the evaluator reads versions up to "
            f"{SPECIFICATION_VERSION}, convert for an earlier deployment target"
        )
    # Core ML refuses 0, which is what an absent field reads as, in a file, and not in a part of a pipeline.
    if version < 0 or (version == 0 and not part):
        raise CoreMLError(
            f"{model.name}: the field specificationVersion is {version}; a model has one from 1 to "
            f"{SPECIFICATION_VERSION}, and the file is damaged, convert again"
        )
    if kind in PIPELINES:
        if function_name:
            raise CoreMLError(f"{model.name}: no function `{function_name}`; a pipeline has none, leave it out")
        return _open_pipeline(model, kind, compile_after)
    if kind not in ("mlProgram", *NEURAL_NETWORKS):
        raise CoreMLError(
            f"{model.name}: a model of type {kind or 'unknown'}; the evaluator runs mlProgram, "
            f"{', '.join(NEURAL_NETWORKS)} and pipelines of these; run it on a Mac, with coremltools"
        )
    if not model.specification.description.output and not model.specification.description.functions:
        raise CoreMLError(
            f"{model.name}: the file describes no output, and Core ML refuses a model without one; the file is "
            "damaged, convert again"
        )
    return open_engine(model, function_name, compile_after)


def _open_pipeline(model: ModelFile, kind: str, compile_after: int | None) -> Pipeline:
    held = getattr(model.specification, kind)
    pipeline = held if kind == "pipeline" else held.pipeline
    if not pipeline.models:
        raise CoreMLError(f"{model.name}: a pipeline without models; convert again")
    names = list(pipeline.names) if len(pipeline.names) == len(pipeline.models) else []
    parts: list[tuple[str, Runnable]] = []
    for index, specification in enumerate(pipeline.models):
        name = names[index] if names else f"model{index}"
        # So every error of the part, at loading and at prediction, says where it is.
        part_kind = specification.WhichOneof("Type") or "of an unknown type"
        stage = f"stage {index + 1} of {len(pipeline.models)}, `{name}` ({part_kind})"
        part = ModelFile(specification, model.weights_dir, f"{model.name}: {stage}", model.retyped)
        parts.append((name, open_runnable(part, None, compile_after, part=True)))
    return Pipeline(model.name, copy.deepcopy(model.specification.description), tuple(parts))
