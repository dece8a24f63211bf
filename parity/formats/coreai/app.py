"""An app that runs a Core AI asset; its Swift was never compiled, and tells what is not in Apple's pages."""

from __future__ import annotations

from collections.abc import Iterator

from parity.formats.app import Call

PYTHON = "import asyncio, coreai.authoring, coreai.runtime"
SWIFT = "import CoreAI"


def python_call(call: Call, fed: str) -> Iterator[str]:
    """Load the asset and await its function."""
    yield "async def run(fed):"
    yield f'    async with coreai.authoring.AIModelAsset.load("{call.file}").executable() as model:'
    yield f'        answers = await model.load_function("main")({{"{call.image}": coreai.runtime.NDArray(fed)}})'
    yield f'        return answers["{call.answer}"].numpy().copy()'
    yield f"answer = asyncio.run(run({fed}))"


def swift_call(call: Call) -> Iterator[str]:
    """Load the model and await its function."""
    yield f'let model = try await AIModel(contentsOf: url)  // of "{call.file}"'
    yield 'let function = try model.loadFunction(named: "main")!'
    yield f"// input: an NDArray of `numbers`, of the shape {call.shape}"
    yield f'let answers = try await function.run(inputs: ["{call.image}": input])'
    yield f'// logits: the numbers of the output "{call.answer}", as [Double]'
