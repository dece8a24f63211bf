"""Core AI itself: programs read and changed, assets run. With conversion/coreai.py the one place that imports it.

Damaged programs abort the process that reads them: `described` lets another one try first.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from conversion.coreai import FUNCTION, described, numpy_name
from conversion.guards.quiet import chatter_to
from parity.core.errors import ParityError
from parity.core.refusals import refusals
from parity.formats.coreai.nodes import (
    CONSTANT,
    OUTPUT,
    WORKED_OUT,
    kind_of,
    kind_of_name,
    numbers_of,
    resource_of,
    resources_of,
)

Result = TypeVar("Result")

# The converter's number of an operation, which the file keeps: names stay when a copy is changed and read again.
_NUMBER = re.compile(r'"op_id": \{type = "coreai", value = (\d+)')


@dataclass
class Program:
    """Hold a program in memory; nodes: its operations in order, by names that stay while it is changed."""

    path: Path
    program: Any
    graph: Any
    nodes: dict[str, Any]
    _numbers: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def block(self) -> Any:
        """The operations, MLIR's own."""
        return self.graph.bodyRegion.blocks[0]

    @property
    def inputs(self) -> list[str]:
        """The names of what goes in."""
        return [attributes["coreai.name"].value for attributes in self.graph.arg_attrs]

    @property
    def outputs(self) -> list[str]:
        """The names of what comes out."""
        return [attributes["coreai.name"].value for attributes in self.graph.res_attrs]

    def value_names(self) -> dict[Any, str]:
        """Name every value: what goes in as the file does, a result as its operation."""
        names = dict(zip(self.block.arguments, self.inputs, strict=True))
        for name, node in self.nodes.items():
            for place, result in enumerate(node.results):
                names[result] = f"{name}:{place}" if place else name
        return names

    def constants(self) -> dict[str, np.ndarray]:
        """Return the numbers of every constant."""
        if not self._numbers:
            held = {n: node for n, node in self.nodes.items() if kind_of(node) == CONSTANT}
            large = resources_of(str(self.program)) if any(resource_of(node) for node in held.values()) else {}
            for name, node in held.items():
                self._numbers[name] = numbers_of(node, large)
        return self._numbers

    def fixed(self) -> dict[str, np.ndarray]:
        """Return the numbers of every value that no image changes: constants, and what is done to them alone."""
        names, fixed = self.value_names(), dict(self.constants())
        for name, node in self.nodes.items():
            read = [names.get(operand, "") for operand in node.operands]
            if kind_of(node) in WORKED_OUT and all(one in fixed for one in read):
                fixed[name] = WORKED_OUT[kind_of(node)]([fixed[one] for one in read])
        return fixed

    def array_of(self, value: Any) -> np.ndarray:
        """Return the numbers of a value; one that an image changes is a ParityError."""
        name, fixed = self.value_names().get(value, ""), self.fixed()
        if name not in fixed:
            raise ParityError(f"{self.path}: `{name or value}` is no constant, and is not replaced")
        return fixed[name]

    def kind(self, name: str) -> str:
        """Name the type of an operation."""
        return kind_of(self.nodes[name])

    def input_type(self) -> str:
        """Name the type of what goes in, as NumPy does."""
        return numpy_name(str(self.block.arguments[0].type.element_type))

    def set_word(self, node: Any, name: str, word: str) -> None:
        """Set an operation's own attribute: `#coreai.padding_mode<constant>` -> `#coreai.padding_mode<reflect>`."""
        from coreai._compiler.ir import Attribute

        before = str(node.attributes[name])
        fresh = re.sub(r"<.*>$", f"<{word}>", before) if before.startswith("#") else word
        with self.program._module._context:
            node.attributes[name] = Attribute.parse(fresh)


def open_program(path: Path) -> Program:
    """Read an asset's program; raises ConversionError."""
    from coreai.authoring import AIModelAsset

    described(path)
    with chatter_to():
        program = AIModelAsset.load(path).program
    graphs = [one for one in program._module._body.operations if one.operation.name == "coreai.graph"]
    graph = next(one for one in graphs if one.sym_name.value == FUNCTION)
    nodes: dict[str, Any] = {}
    for place, view in enumerate(graph.bodyRegion.blocks[0].operations):
        node = view.operation
        number = _NUMBER.search(str(node.location))
        name = f"{kind_of(node)}_{number[1] if number else f'at_{place}'}"
        nodes[name if name not in nodes else f"{name}_at_{place}"] = node
    return Program(path, program, graph, nodes)


# Changing a program


def constant_before(program: Program, node: Any, array: np.ndarray) -> Any:
    """Put a constant in front of an operation, and return its value."""
    from coreai._compiler.dialects import coreai
    from coreai._compiler.ir import InsertionPoint, Location

    with program.program._module._context, Location.unknown(), InsertionPoint(node):
        return coreai.constant(np.ascontiguousarray(array)) if array.ndim else coreai.constant(array[()].item())


def operation_before(program: Program, node: Any, name: str, *operands: Any) -> Any:
    """Put an operation in front of another, and return its value; its operands may be arrays.

    name: of a function of Core AI's dialect, as `broadcasting_mul`.
    """
    from coreai._compiler.dialects import coreai
    from coreai._compiler.ir import InsertionPoint, Location

    with program.program._module._context, Location.unknown(), InsertionPoint(node):
        values = [coreai.constant(one) if isinstance(one, np.ndarray) else one for one in operands]
        made = getattr(coreai, name)(*values)
    return made.results[0] if hasattr(made, "results") else made


def repeat_node(program: Program, name: str) -> None:
    """Do an operation twice, one after the other."""
    from coreai._compiler.ir import InsertionPoint

    node = program.nodes[name]
    if node.operands[0].type != node.results[0].type:
        raise ParityError(f"{program.path}: `{name}` cannot read what it gives")
    with program.program._module._context, InsertionPoint.after(node):
        again = node.clone()
    node.results[0].replace_all_uses_with(again.results[0])
    again.operands[0] = node.results[0]


def declare(program: Program, values: Mapping[str, Any]) -> None:
    """Let the function give these values, by name."""
    from coreai._compiler.dialects import coreai
    from coreai._compiler.ir import ArrayAttr, DictAttr, FunctionType, InsertionPoint, StringAttr, TypeAttr

    end = next(node for node in program.nodes.values() if kind_of(node) == OUTPUT)
    with program.program._module._context, end.location:
        with InsertionPoint(end):
            fresh = coreai.output(list(values.values())).operation
        end.erase()
        program.nodes = {n: fresh if kind_of_name(n) == OUTPUT else node for n, node in program.nodes.items()}
        program.graph.res_attrs = ArrayAttr.get([DictAttr.get({"coreai.name": StringAttr.get(n)}) for n in values])
        kinds = [[one.type for one in program.block.arguments], [value.type for value in values.values()]]
        program.graph.operation.attributes["function_type"] = TypeAttr.get(FunctionType.get(*kinds))


def take_in(program: Program, names: Sequence[str]) -> None:
    """Let values come from outside, as further inputs of their names; whoever read them reads these."""
    from coreai._compiler.ir import ArrayAttr, DictAttr, StringAttr

    values = {name: value for value, name in program.value_names().items()}
    given = dict(zip(program.outputs, outputs_of(program), strict=True))
    with program.program._module._context, program.graph.operation.location as location:
        for name in names:
            outside = program.block.add_argument(values[name].type, location)
            values[name].replace_all_uses_with(outside)
            given = {key: outside if value == values[name] else value for key, value in given.items()}
        added = [DictAttr.get({"coreai.name": StringAttr.get(name)}) for name in names]
        program.graph.arg_attrs = ArrayAttr.get([*program.graph.arg_attrs, *added])
    declare(program, given)


def outputs_of(program: Program) -> list[Any]:
    """Return the values that the function gives."""
    return list(next(node for node in program.nodes.values() if kind_of(node) == OUTPUT).operands)


def write(program: Program, path: Path, custom: Mapping[str, Any]) -> None:
    """Write a program as an asset; custom: what stands in its metadata beside Core AI's own."""
    from coreai.runtime import AIModelAssetMetadata

    metadata = AIModelAssetMetadata()
    for name, value in custom.items():
        metadata.set_custom(name, value)
    with chatter_to(), refusals(f"{path}: Core AI does not write the changed program"):
        program.program.save_asset(path, metadata=metadata)


# Running an asset


class Session:
    """Run an asset's function `main`: arrays by name go in, arrays by name come out."""

    def __init__(self, path: Path, compute_unit: str = "") -> None:
        """Load and compile. compute_unit: cpu, gpu or neural_engine, on macOS alone; empty: the runtime chooses."""
        from coreai.authoring import AIModelAsset

        described(path)
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._ended = weakref.finalize(self, _end, self._runner, self._stack)
        with chatter_to(), refusals(f"{path}: Core AI cannot load it"):
            asset = AIModelAsset.load(path)
            model = self._wait(self._stack.enter_async_context(asset.executable(_options(compute_unit))))
            self._function = model.load_function(FUNCTION)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on one batch."""
        return self._wait(self._called(feeds))

    async def _called(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        from coreai.runtime import NDArray

        answers = await self._function({n: NDArray(np.ascontiguousarray(one)) for n, one in feeds.items()})
        # Copied while the runtime still holds them.
        return {name: np.array(answer.numpy()) for name, answer in answers.items()}

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(work)
        with ThreadPoolExecutor(1) as elsewhere:  # in a notebook, whose own loop runs
            return elsewhere.submit(self._runner.run, work).result()


def _options(compute_unit: str) -> Any:
    """Ask for a compute unit; written by the runtime's interface, and never run: no Mac was at hand."""
    if not compute_unit:
        return None
    from coreai.runtime import ComputeUnitKind, SpecializationOptions

    if compute_unit == "cpu":
        return SpecializationOptions.cpu_only()
    return SpecializationOptions.from_preferred_compute_unit_kind(getattr(ComputeUnitKind, compute_unit)())


def _end(runner: asyncio.Runner, stack: AsyncExitStack) -> None:
    try:
        runner.run(stack.aclose())
    finally:
        runner.close()


def open_changed(program: Program) -> Session:
    """Run a changed program, by an asset that goes away."""
    with tempfile.TemporaryDirectory(prefix="coreml-parity-") as directory:
        path = Path(directory) / "changed.aimodel"
        write(program, path, {})
        return Session(path)
