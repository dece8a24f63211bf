"""The three opinions on examples: the evaluator's, Core AI's from a process of its own, PyTorch's in float64."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.backends import find_backend
from parity.coreml import Evaluator
from tests.cross_check.operation import Example, arrays
from tests.cross_check.operations import OPERATIONS

WORKER = Path(__file__).with_name("core_ai.py")
# Seconds. All examples of all operations take about one minute; a worker that hangs must not hold the run.
LIMIT = 600


@dataclass(frozen=True)
class Answer:
    """Hold what one side answers to an example: its results, or why there are none."""

    results: list[np.ndarray] = field(default_factory=list)
    error: str = ""


def why_not() -> str:
    """Say why Core AI does not run here; empty where it does."""
    return find_backend("coreai").why_not() or ""


def as_tuple(result: Any) -> tuple[Any, ...]:
    """Make a tuple of one result or several."""
    return tuple(result) if isinstance(result, tuple | list) else (result,)


@cache
def reference(number: int, operation: str, attributes: str) -> tuple[torch.Tensor, ...]:
    """Compute an example in float64; whole numbers and truth values stay what they are."""
    chosen = OPERATIONS[operation]
    inputs = arrays(chosen, Example(operation, number, json.loads(attributes)))
    tensors = [
        torch.from_numpy(v).double() if v.dtype == np.float32 else torch.from_numpy(v) for v in inputs.values()
    ]
    return as_tuple(chosen.reference(json.loads(attributes), *tensors))


def by_reference(example: Example) -> list[np.ndarray]:
    """Compute an example in float64, as arrays."""
    results = reference(example.number, example.operation, json.dumps(example.attributes))
    return [result.double().numpy() for result in results]


def by_evaluator(examples: Sequence[Example]) -> list[Answer]:
    """Run examples of any operations as one ML Program, with no pass of coremltools, in the evaluator."""
    fed: dict[str, np.ndarray] = {}
    model = Evaluator(_ml_program(examples, fed))
    answers = model.predict(fed)
    return [
        Answer([answers[f"result_{n}_{i}"] for i in range(len(by_reference(example)))])
        for n, example in enumerate(examples)
    ]


def _ml_program(examples: Sequence[Example], fed: dict[str, np.ndarray]) -> Any:
    """Build the program, and put the inputs that it takes into `fed`."""
    ct = import_coremltools()
    with chatter_to():
        from coremltools.converters.mil import Builder
        from coremltools.converters.mil.mil import Function, Program, types

        kinds = {"f": types.fp32, "b": types.fp32, "i": types.int32}
        made = [arrays(OPERATIONS[example.operation], example) for example in examples]
        placeholders = {}
        for n, (example, inputs) in enumerate(zip(examples, made, strict=True)):
            for name, value in inputs.items():
                if name not in OPERATIONS[example.operation].constants:
                    placeholders[f"{name}_{n}"] = Builder.placeholder(value.shape, kinds[value.dtype.kind])
                    fed[f"{name}_{n}"] = value.astype(np.float32) if value.dtype == bool else value
        program = Program()
        with Function(placeholders, opset_version=ct.target.iOS18) as function:
            outputs: list[Any] = []
            for n, (example, inputs) in enumerate(zip(examples, made, strict=True)):
                operation = OPERATIONS[example.operation]
                values = {name: function.inputs.get(f"{name}_{n}", value) for name, value in inputs.items()}
                for name, value in inputs.items():
                    # No input of a Core ML model is a truth value.
                    if value.dtype == bool and name not in operation.constants:
                        values[name] = Builder.cast(x=values[name], dtype="bool")
                for i, result in enumerate(as_tuple(operation.mil(Builder, example.attributes, **values))):
                    # A result that is no fp32 becomes it; an identity gives the others their name.
                    last = Builder.identity if result.dtype == types.fp32 else _as_float(Builder)
                    outputs.append(last(x=result, name=f"result_{n}_{i}"))
            function.set_outputs(outputs)
            program.add_function("main", function)
        return ct.convert(
            program,
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS18,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )


def _as_float(builder: Any) -> Any:
    return lambda x, name: builder.cast(x=x, dtype="fp32", name=name)


def by_core_ai(batches: Sequence[Sequence[Example]]) -> list[list[Answer]]:
    """Run batches of examples in Core AI's runtime, each batch as one asset with a function for each example.

    Where a batch fails or ends the process, its examples run one by one.
    """
    answers: dict[tuple[str, int], Answer] = {}
    waiting = deque(list(batch) for batch in batches if batch)
    with tempfile.TemporaryDirectory() as folder:
        while waiting:
            done, ending = _work(list(waiting), Path(folder))
            answers |= done
            while waiting and all((e.operation, e.number) in answers for e in waiting[0]):
                waiting.popleft()
            if not waiting:
                break
            failed = waiting.popleft()
            if len(failed) == 1:
                answers[failed[0].operation, failed[0].number] = Answer(error=ending)
            else:
                waiting.extendleft([example] for example in reversed(failed))
    return [[answers[example.operation, example.number] for example in batch] for batch in batches]


def _work(batches: list[list[Example]], folder: Path) -> tuple[dict[tuple[str, int], Answer], str]:
    """Let one process work on the batches until it is done or dies; return its answers and how it ended."""
    for left in folder.glob("batch-*"):
        left.unlink()
    shapes = [[[list(r.shape) for r in by_reference(example)] for example in batch] for batch in batches]
    request = folder / "request.json"
    request.write_text(json.dumps([[asdict(example) for example in batch] for batch in batches]))
    (folder / "shapes.json").write_text(json.dumps(shapes))
    command = [sys.executable, str(WORKER), str(folder)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        ending = f"Core AI's process ended with {ended.returncode}: {last}"
    except subprocess.TimeoutExpired:
        ending = f"Core AI's process did not end within {LIMIT} s"
    answers: dict[tuple[str, int], Answer] = {}
    for number, batch in enumerate(batches):
        file = folder / f"batch-{number}.npz"
        if not file.exists():
            break
        with np.load(file) as held:
            for n, example in enumerate(batch):
                answers[example.operation, example.number] = Answer(
                    [held[f"result_{n}_{i}"] for i in range(len(shapes[number][n])) if f"result_{n}_{i}" in held],
                    str(held[f"error_{n}"]) if f"error_{n}" in held else "",
                )
    return answers, ending
