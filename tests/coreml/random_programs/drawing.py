"""Draw random programs with hypothesis: 3 to 12 operations whose arguments fit what was drawn before.

    @generates("relu", ...) in generators/: a Drawing in, the arguments of one operation out

What is drawn is run at once by the twins in float64, so that the next operation can choose values that it is
defined for, and nothing overflows.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.coreml.random_programs.program import NUMPY, OPSETS, TYPES, Program, Ref, Step, defined, dtypes, infer
from tests.coreml.random_programs.twins import settled, twin

Arguments = dict[str, Any]
Generator = Callable[["Drawing"], Arguments]
GENERATORS: dict[str, Generator] = {}

# Elements of a value; what an element may be, so that fp16 holds the next results too.
LARGEST, HIGHEST = 2000, 1000.0
FEWEST, MOST = 3, 12
_REAL = ("fp16", "fp32")
_SMALL = ("int8", "uint8", "int16", "uint16")
# What the inputs of a program may be; other types come from these by a cast.
_BOUNDARY = {"iOS15": ("fp32", "int32")} | dict.fromkeys(OPSETS[1:], ("fp16", "fp32", "int32"))
# Between which numbers are drawn where an operation does not ask for others.
_USUAL = {"fp16": (-4.0, 4.0), "fp32": (-4.0, 4.0), "bool": (0, 1)} | dict.fromkeys(("uint8", "uint16"), (0, 20))


def generates(*kinds: str) -> Callable[[Generator], Generator]:
    """Register what draws the arguments of these operations."""

    def register(function: Generator) -> Generator:
        for kind in kinds:
            if kind in GENERATORS:
                raise ValueError(f"{kind} has a generator already")
            GENERATORS[kind] = function
        return function

    return register


@dataclass
class Drawing:
    """Hold a program that is being drawn.

    kind: the operation whose arguments are drawn. real: the type of most floats. shared: the types that were chosen
    for parameters that have to have the same. spent: values whose shape coremltools does not know.
    """

    draw: Callable[[Any], Any]
    opset: str
    real: str
    kind: str = ""
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)

    # What a generator may ask for

    def integer(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return int(self.draw(st.integers(low, high)))

    def choice(self, options: Sequence[Any]) -> Any:
        """Draw one of these; the first is the simplest."""
        return options[self.integer(0, len(options) - 1)]

    def flag(self) -> bool:
        """Draw truth or its contrary."""
        return bool(self.integer(0, 1))

    def since(self, opset: str) -> bool:
        """Tell whether the program is of this opset or a later one."""
        return OPSETS.index(self.opset) >= OPSETS.index(opset)

    def array(self, value: Any) -> np.ndarray:
        """Return the numbers that a value will have, nearly."""
        return self.values[value.name] if isinstance(value, Ref) else np.asarray(value)

    def shape(self, value: Any) -> tuple[int, ...]:
        """Return the shape of a value."""
        return self.array(value).shape

    def axis(self, value: Any, first: int = 0) -> int:
        """Draw an axis, from `first` on, counted from either end."""
        rank = self.array(value).ndim
        return self.integer(first, rank - 1) - (rank if self.flag() else 0)

    def axes(self, value: Any) -> tuple[int, ...]:
        """Draw some axes, at least one, in ascending order."""
        rank = self.array(value).ndim
        chosen = [axis for axis in range(rank) if self.flag()] or [self.integer(0, rank - 1)]
        return tuple(axis - (rank if self.flag() else 0) for axis in chosen)

    def small_shape(self, least: int, most: int) -> tuple[int, ...]:
        """Draw a shape of a rank in these bounds."""
        rank = self.integer(least, most)
        return tuple(self.integer(1, 5 if rank < 4 else 4) for _ in range(rank))

    def dtype(self, parameter: str) -> str:
        """Choose the type of a parameter among those that the opset allows, and keep to it."""
        name, allowed = dtypes(self.kind, self.opset, parameter)
        return self.shared.setdefault(name, self._preferred(allowed))

    def is_real(self, value: Ref) -> bool:
        """Tell whether a value holds floats."""
        return self.array(value).dtype.kind == "f"

    def constant(
        self, shape: tuple[int, ...], dtype: str, low: float | None = None, high: float | None = None
    ) -> np.ndarray:
        """Draw an array that stands in the file."""
        return self._numbers(shape, dtype, low, high)

    def number(self, parameter: str, low: float, high: float) -> Any:
        """Draw a constant of one number, in the type that the parameter has."""
        return self._numbers((), self.dtype(parameter), low, high)[()]

    def tensor(
        self,
        parameter: str,
        rank: tuple[int, int] = (1, 5),
        low: float | None = None,
        high: float | None = None,
        shape: tuple[int, ...] | None = None,
        dtype: str | None = None,
        fits: Callable[[tuple[int, ...]], bool] = lambda shape: True,
        drawn: Callable[[], tuple[int, ...]] | None = None,
        *,
        strict: bool = False,
    ) -> Ref:
        """Choose a value of an allowed type and rank, one that is there or a new input.

        low, high: within which the numbers of a new input are; of all values where `strict`.
        shape: the only one allowed. fits: what a shape has to be like. drawn: makes the shape of a new input.
        """
        name, allowed = dtypes(self.kind, self.opset, parameter) if dtype is None else ("", (dtype,))
        if name in self.shared:
            allowed = (self.shared[name],)
        small = tuple(one for one in allowed if one in _SMALL)
        if small and self.since("iOS17") and self.flag():
            allowed = small  # few operations take them: else they would be rare
        there = [
            key
            for key, array in reversed(self.values.items())
            if TYPES[array.dtype] in allowed
            and key not in self.spent
            and (array.shape == shape if shape is not None else rank[0] <= array.ndim <= rank[1])
            and fits(array.shape)
            and not (strict and (array.min() < low or array.max() > high))
        ]
        place = self.integer(0, min(len(there), 3))
        if place < len(there):
            ref = Ref(there[place])
        else:
            size = shape if shape is not None else drawn() if drawn else self.small_shape(*rank)
            if not fits(size):
                raise MisfitError
            ref = self._fresh(size, self._preferred(allowed), low, high)
        self.shared.setdefault(name or parameter, TYPES[self.values[ref.name].dtype])
        return ref

    def add(self, kind: str, arguments: Arguments) -> None:
        """Append an operation and work it out."""
        defaults, inferred = infer(Step(kind, arguments), self.opset, self.values)
        step = Step(kind, arguments, defaults=defaults)
        base = f"v{len(self.steps)}"
        outputs = (base,) if len(inferred) == 1 else tuple(f"{base}_{i}" for i in range(len(inferred)))
        results = twin(kind, step.full(self.values), self.opset)
        arrays = [settled(r, dtype) for r, (dtype, _) in zip(results, inferred, strict=True)]
        if not all(_well(array) for array in arrays):
            raise MisfitError
        self.steps.append(Step(kind, arguments, outputs, tuple(dtype for dtype, _ in inferred), defaults))
        for name, array, (_, shape) in zip(outputs, arrays, inferred, strict=True):
            self.values[name] = array
            assert len(shape) == array.ndim
            if tuple(shape) != array.shape or array.ndim == 0:
                self.spent.add(name)

    # How

    def _preferred(self, allowed: Sequence[str]) -> str:
        """Draw a type, floats mostly as the program has them."""
        others = [name for name in allowed if name not in _REAL]
        real = self.real if self.real in allowed else next((name for name in _REAL if name in allowed), None)
        ways = ([real] * max(1, len(others) // 2) if real else []) + others
        return str(self.choice(ways))

    def _fresh(self, shape: tuple[int, ...], dtype: str, low: float | None, high: float | None) -> Ref:
        """Make an input; where its type is none for an input, it is cast to it."""
        if dtype in _SMALL and not self.since("iOS17"):
            raise MisfitError  # no cast leads to it yet
        boundary = dtype if dtype in _BOUNDARY[self.opset] else "fp32" if dtype in _REAL else "int32"
        numbers = self._numbers(shape, dtype, low, high).astype(NUMPY[boundary])
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.values[name] = numbers
        if boundary == dtype:
            return Ref(name)
        self.add("cast", {"x": Ref(name), "dtype": dtype})
        return Ref(self.steps[-1].outputs[0])

    def _numbers(self, shape: tuple[int, ...], dtype: str, low: float | None, high: float | None) -> np.ndarray:
        if prod(shape) > LARGEST:
            raise MisfitError
        random = np.random.default_rng(self.integer(0, 2**16))
        least, most = _USUAL.get(dtype, (-20, 20))
        low, high = least if low is None else low, most if high is None else high
        if dtype not in _REAL:
            whole = random.integers(math.ceil(low), math.floor(high), shape, endpoint=True)
            return np.asarray(whole.clip(0) if dtype.startswith("u") else whole).astype(NUMPY[dtype])
        numbers = random.uniform(low, high, shape)
        # Quarters: equal elements for what sorts and compares, halves for what rounds.
        rounded = np.clip(np.round(numbers * 4) / 4, low, high) if self.flag() else numbers
        return np.asarray(rounded).astype(NUMPY[dtype])


class MisfitError(Exception):
    """What was drawn does not fit: too large, not finite, a shape that cannot be."""


def _well(array: np.ndarray) -> bool:
    if array.size > LARGEST or array.size == 0:
        return False
    return array.dtype == np.bool_ or bool(
        np.isfinite(array).all() and np.abs(array.astype(float)).max() <= HIGHEST
    )


@cache
def kinds(opset: str) -> tuple[str, ...]:
    """List the operations that can be drawn in an opset."""
    package = importlib.import_module("tests.coreml.random_programs.generators")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return tuple(kind for kind in GENERATORS if defined(kind, opset) is not None)


@st.composite
def programs(draw: Any, only: tuple[str, ...] = ()) -> Program:
    """Draw a program. only: the operations that may be drawn, all by default."""
    able = [opset for opset in OPSETS if not only or set(only) & set(kinds(opset))]
    opset = draw(st.sampled_from(able))
    drawing = Drawing(draw, opset, draw(st.sampled_from(_REAL)))
    names = [kind for kind in kinds(opset) if not only or kind in only]
    wanted = drawing.integer(FEWEST, MOST)
    for _ in range(4 * MOST):
        if len(drawing.steps) >= wanted:
            break
        _extend(drawing, drawing.choice(names))
    assume(len(drawing.steps) >= FEWEST)
    return _finished(drawing)


def _extend(drawing: Drawing, kind: str) -> None:
    """Add an operation, unless what was drawn for it does not fit."""
    before = (dict(drawing.inputs), list(drawing.steps), dict(drawing.values), set(drawing.spent))
    drawing.kind, drawing.shared = kind, {}
    try:
        drawing.add(kind, GENERATORS[kind](drawing))
        if len(drawing.steps) > MOST:
            raise MisfitError
    except MisfitError:
        drawing.inputs, drawing.steps, drawing.values, drawing.spent = before


def _finished(drawing: Drawing) -> Program:
    """Give the program outputs: what nothing reads and has a type for an output, else its first input, cast."""
    read = {name for step in drawing.steps for name in step.refs} | set(drawing.inputs) | drawing.spent
    allowed = _BOUNDARY[drawing.opset]
    ends = [name for name, v in drawing.values.items() if name not in read and TYPES[v.dtype] in allowed]
    used = {name for step in drawing.steps for name in step.refs}
    inputs = {name: array for name, array in drawing.inputs.items() if name in used}
    assume(ends and inputs)
    return Program(drawing.opset, inputs, tuple(drawing.steps), tuple(ends))
