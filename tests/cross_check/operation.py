"""What one operation of the cross-check is: what its examples draw, and how each side says it.

Operation --hypothesis--> Examples --builders--> ML Program -> evaluator ┐
                                 --> Core AI program -> its runtime      ├--> judgement
                                 --> PyTorch in float64                  ┘
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Attributes = Mapping[str, Any]
SEED = 20


@dataclass(frozen=True)
class Operation:
    """Hold an operation that ML Programs and Core AI define alike.

    draws: the attributes of one example, all of them JSON.
    inputs: arrays by name, from the attributes and a generator of random numbers.
    mil, core: from a builder, the attributes and the inputs by name to what is computed, one value or a tuple.
    reference: the same in PyTorch, from float64 tensors, by position.
    constants: inputs that are a part of the file.
    rounding: what rounding is measured by. `none`: two answers are equal; `each`: by each element; `sum`: by the
    largest element, where a result adds up many numbers.
    precision: of the numbers inside, and so of rounding.
    scale: from the attributes and inputs to the size of what cancels out, where that is larger than the result.
    """

    name: str
    draws: st.SearchStrategy[dict[str, Any]]
    inputs: Callable[[Attributes, np.random.Generator], dict[str, np.ndarray]]
    mil: Callable[..., Any]
    core: Callable[..., Any]
    reference: Callable[..., Any]
    constants: tuple[str, ...] = ()
    rounding: Literal["none", "each", "sum"] = "each"
    precision: Literal["fp32", "fp16"] = "fp32"
    scale: Callable[[Attributes, Mapping[str, np.ndarray]], float] = lambda a, inputs: 0.0


@dataclass(frozen=True)
class Example:
    """Hold one example: the operation's name, what was drawn, and its number, which seeds the arrays."""

    operation: str
    number: int
    attributes: dict[str, Any]


def draw_examples(operation: Operation, count: int) -> list[Example]:
    """Draw at most `count` examples, the same ones every time."""
    drawn: list[dict[str, Any]] = []

    @seed(SEED)
    @settings(
        max_examples=count,
        database=None,
        derandomize=False,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.draws)
    def collect(attributes: dict[str, Any]) -> None:
        drawn.append(attributes)

    collect()
    return [Example(operation.name, n, attributes) for n, attributes in enumerate(drawn[:count])]


def arrays(operation: Operation, example: Example) -> dict[str, np.ndarray]:
    """Make the inputs of an example: float32, int32 or bool."""
    random = np.random.default_rng(zlib.crc32(f"{SEED} {example.operation} {example.number}".encode()))
    return operation.inputs(example.attributes, random)


def numbers(kind: str, shape: tuple[int, ...] | list[int], random: np.random.Generator) -> np.ndarray:
    """Make float32 numbers.

    kind: `normal`; `wide`, from 1e-6 to 1e4; `halves`, which lie between whole numbers too; `unit`, in [-1, 1];
    `positive`; `special`, with infinities, zeros of both signs and NaN.
    """
    normal = random.standard_normal(shape)
    made = {
        "normal": lambda: normal,
        "wide": lambda: normal * 10 ** random.uniform(-6, 4, shape),
        "halves": lambda: random.integers(-9, 10, shape) / 2,
        "unit": lambda: random.uniform(-1, 1, shape),
        "positive": lambda: np.abs(normal) * 10 ** random.uniform(-4, 3, shape) + 1e-6,
        "special": lambda: np.where(
            random.random(shape) < 0.5, normal, random.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], shape)
        ),
    }
    return made[kind]().astype(np.float32)


def shapes(lowest: int = 1, highest: int = 4) -> st.SearchStrategy[list[int]]:
    """Draw shapes of so many axes."""
    return st.lists(st.integers(1, 5), min_size=lowest, max_size=highest)


def tensors(*kinds: str, lowest: int = 1, highest: int = 4, **others: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a shape, a kind of numbers, and other attributes from strategies of their own."""
    return st.fixed_dictionaries(
        {"shape": shapes(lowest, highest), "numbers": st.sampled_from(kinds or ("normal",)), **others}
    )


@st.composite
def along_axis(draw: st.DrawFn, *kinds: str, **others: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Draw what `tensors` draws, and an axis of the shape, also counted from the end."""
    drawn = draw(tensors(*kinds, **others))
    rank = len(drawn["shape"])
    return {**drawn, "axis": draw(st.integers(-rank, rank - 1))}


@st.composite
def along_axes(draw: st.DrawFn, *kinds: str, **others: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Draw what `tensors` draws, and one axis of the shape or several in any order, also counted from the end."""
    drawn = draw(tensors(*kinds, **others))
    rank = len(drawn["shape"])
    axes = draw(st.permutations(range(rank)))[: draw(st.integers(1, rank))]
    return {**drawn, "axes": [axis - rank * draw(st.integers(0, 1)) for axis in axes]}


def resized(a: Attributes, size: int) -> list[int]:
    """Return the drawn shape with another size along the drawn axis."""
    axis = a["axis"] % len(a["shape"])
    return [size if i == axis else other for i, other in enumerate(a["shape"])]


def unsigned(values: Any) -> np.ndarray:
    """Make the type that Core AI wants for sizes, strides, counts and orders of axes."""
    return np.array(values, np.uint32)


def one_tensor(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Make the one input `x` of the drawn shape and numbers."""
    return {"x": numbers(a["numbers"], a["shape"], random)}
