"""The worker that runs examples in Core AI's runtime, in a process of its own: the runtime may end its process.

It reads request.json and shapes.json in the folder that it is called with, and writes batch-0.npz and so on, one
for each batch as soon as it is done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from inspect import Parameter, Signature
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np

HERE = Path(__file__).parent
if __name__ == "__main__":
    # A package in the environment may be called `tests` too.
    sys.path.insert(0, str(HERE.parents[1]))
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(HERE.parent)]

from tests.cross_check.operation import Example, arrays  # noqa: E402  - ours only now
from tests.cross_check.operations import OPERATIONS  # noqa: E402

Shapes = list[list[int]]


def build(examples: list[Example], shapes: list[Shapes], path: Path) -> None:
    """Write an asset with a function for each example, by Core AI's own builder.

    Core AI's types are float32 at the boundary and whatever the operation says inside.
    """
    import coreai.authoring as core

    module = core.Module.create()
    with module:
        for n, (example, wanted) in enumerate(zip(examples, shapes, strict=True)):
            _add_function(core, f"example_{n}", example, wanted)
    core.AIProgram(module).save_asset(path)


def _add_function(core: Any, name: str, example: Example, shapes: Shapes) -> None:
    operation = OPERATIONS[example.operation]
    inputs = arrays(operation, example)
    fed = [key for key in inputs if key not in operation.constants]

    def body(*values: Any) -> Any:
        answers = operation.core(core, example.attributes, **(inputs | dict(zip(fed, values, strict=True))))
        answers = answers if isinstance(answers, tuple | list) else (answers,)
        return tuple(core.cast(answer, np.float32) for answer in answers)

    # The builder reads names and types from the signature, where `*values` says neither.
    body.__signature__ = Signature([Parameter(key, Parameter.POSITIONAL_OR_KEYWORD) for key in fed])
    body.__annotations__ = {
        key: Annotated[core.Value, core.TensorType(inputs[key].shape, inputs[key].dtype.type)] for key in fed
    }
    results = tuple(
        Annotated[core.Value, core.TensorType(tuple(shape), np.float32, name=f"result_{i}")]
        for i, shape in enumerate(shapes)
    )
    body.__annotations__["return"] = tuple[results]
    core.graph(body, provided_name=name)


async def execute(examples: list[Example], shapes: list[Shapes], path: Path) -> dict[str, np.ndarray]:
    """Run each function of an asset on its example's inputs."""
    from coreai.authoring import AIModelAsset
    from coreai.runtime import NDArray

    results: dict[str, np.ndarray] = {}
    async with AIModelAsset.load(path).executable() as model:
        for n, example in enumerate(examples):
            operation = OPERATIONS[example.operation]
            inputs = arrays(operation, example)
            fed = {key: NDArray(value) for key, value in inputs.items() if key not in operation.constants}
            answers = await model.load_function(f"example_{n}")(fed)
            for i in range(len(shapes[n])):
                # The runtime's memory ends with the block.
                results[f"result_{n}_{i}"] = np.array(answers[f"result_{i}"].numpy())
    return results


def answer(examples: list[Example], shapes: list[Shapes]) -> dict[str, np.ndarray]:
    """Answer a batch; where that raises, each example by itself, and the error in the place of its results."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.aimodel"
        try:
            build(examples, shapes, path)
            return asyncio.run(execute(examples, shapes, path))
        except Exception as error:
            if len(examples) == 1:
                return {"error_0": np.array(f"{type(error).__name__}: {error}")}
    results: dict[str, np.ndarray] = {}
    for n, (example, wanted) in enumerate(zip(examples, shapes, strict=True)):
        for key, value in answer([example], [wanted]).items():
            kind, _, *rest = key.split("_")
            results["_".join([kind, str(n), *rest])] = value
    return results


def main(folder: Path) -> None:
    """Answer all batches of a request."""
    request = [[Example(**each) for each in batch] for batch in json.loads((folder / "request.json").read_text())]
    shapes = json.loads((folder / "shapes.json").read_text())
    for n, (batch, wanted) in enumerate(zip(request, shapes, strict=True)):
        results = answer(batch, wanted)
        # Whole or not at all: whoever reads it may have seen this process die.
        unfinished = folder / f"unfinished-{n}.npz"
        np.savez(unfinished, **results)
        unfinished.rename(folder / f"batch-{n}.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
