"""Run a Core AI asset: for its answers, so that its inner values can be seen, or with some of them replaced.

All values are seen by a copy of the program that gives them, not by the runtime's IntermediateLogger. That one
needs the converter's debug information, which a stripped file has not, and puts no other values in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.coreai import described
from parity.core.refusals import refusals
from parity.core.results import Prediction
from parity.formats.arrays import Input, classifier_predictions, feed
from parity.formats.coreai.nodes import CONSTANT, kind_of_name
from parity.formats.coreai.runtime import (
    Program,
    Session,
    declare,
    open_changed,
    open_program,
    take_in,
)
from parity.formats.trace import Answer, Trace, TraceWith

if TYPE_CHECKING:
    from conversion import Artifact


def predictions(artifact: Artifact, session: Session, batch: int) -> Callable[[np.ndarray], Prediction]:
    """Make a Predict of an asset that is loaded."""
    return _predictions(artifact, session.run, batch)


def _predictions(
    artifact: Artifact, run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]], batch: int
) -> Callable[[np.ndarray], Prediction]:
    outputs = {one.name: one.shape for one in described(artifact.path).outputs}
    return classifier_predictions(artifact, _inputs(artifact), outputs, lambda name, fed: run(fed)[name], batch)


def _inputs(artifact: Artifact) -> dict[str, Input]:
    features = described(artifact.path).inputs
    return {one.name: Input(one.shape, np.dtype(one.dtype)) for one in features}


def open_trace(artifact: Artifact, optimised: bool) -> Trace:
    """Let the runtime show all values; it is not asked to rewrite the program, optimised or not."""
    traced = open_trace_with_values(artifact, ())

    def trace(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return traced(pixels, {})

    return trace


def open_with_values(artifact: Artifact, names: Sequence[str]) -> Answer:
    """Open an asset that answers with some values replaced."""
    program = open_program(artifact.path)
    with refusals(f"{artifact.path}: Core AI cannot put values in the place of its own"):
        take_in(program, names)
        session = open_changed(program)
    held: dict[str, np.ndarray] = {}
    dtypes = _dtypes(program, names)
    predict = _predictions(artifact, lambda fed: session.run({**fed, **held}), 1)

    def answer(pixels: np.ndarray, overrides: Mapping[str, np.ndarray]) -> Prediction:
        held.clear()
        held.update({name: overrides[name].astype(dtypes[name]) for name in names})
        return predict(pixels)

    return answer


def open_trace_with_values(artifact: Artifact, names: Sequence[str]) -> TraceWith:
    """Open an asset that shows all values with some of them replaced."""
    program = open_program(artifact.path)
    with refusals(f"{artifact.path}: Core AI cannot show the values inside"):
        values = {name: value for value, name in program.value_names().items()}
        take_in(program, names)
        shown = {n: value for n, value in values.items() if _is_shown(program, n) and n not in names}
        declare(program, shown)
        session = open_changed(program)
    inputs, dtypes = _inputs(artifact), _dtypes(program, names)
    batch = next(iter(inputs.values())).shape[0] or 1

    def traced(pixels: np.ndarray, overrides: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        fed = feed(artifact, inputs, np.repeat(pixels[None], batch, axis=0))
        given = {name: overrides[name].astype(dtypes[name]) for name in names}
        with refusals(f"{artifact.path}: Core AI cannot run it"):
            return {**fed, **session.run({**fed, **given}), **given}

    return traced


def _is_shown(program: Program, name: str) -> bool:
    """Say whether a value is one of a run: no constant, and nothing that goes in."""
    return name not in program.inputs and kind_of_name(name.partition(":")[0]) != CONSTANT


def _dtypes(program: Program, names: Sequence[str]) -> dict[str, Any]:
    """Say in which types values go in from outside: those that the program has for them."""
    from conversion.coreai import numpy_name

    kinds = dict(zip(program.inputs, (argument.type for argument in program.block.arguments), strict=True))
    return {name: np.dtype(numpy_name(str(kinds[name].element_type))) for name in names}
