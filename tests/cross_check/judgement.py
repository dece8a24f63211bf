"""Who is right: the evaluator and Core AI beside PyTorch in float64, and which disagreements are known.

Two answers agree where they differ by no more than rounding. Where they do not, the one that float64 agrees with is
right; where it agrees with both or neither, nobody is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.cross_check.answers import Answer, by_reference
from tests.cross_check.operation import Example, Operation, arrays

Right = Literal["both", "evaluator", "core-ai", "nobody"]
DISAGREEMENTS = Path(__file__).with_name("disagreements.toml")
# Some forty roundings of a float32, and three of a float16; another definition shows as far more than that.
RELATIVE = {"fp32": 5e-6, "fp16": 3e-3}
LEAST = {"fp32": np.finfo(np.float32).tiny, "fp16": np.finfo(np.float16).tiny}


@dataclass(frozen=True)
class Known:
    """Hold a disagreement that is explained: the attributes that have it, who is right, and why.

    when: attributes by name, each with the values that have it; all of them must hold.
    """

    operation: str
    differs: str
    right: Right
    why: str
    source: str
    when: Mapping[str, Sequence[Any]]

    def covers(self, example: Example) -> bool:
        """Tell whether an example is one of these."""
        return example.operation == self.operation and all(
            example.attributes[name] in values for name, values in self.when.items()
        )


@dataclass(frozen=True)
class Opinion:
    """Hold what an example showed: who is right, and how far apart the two are, relative above 1."""

    example: Example
    right: Right
    distance: float
    reason: str = ""

    @property
    def agreed(self) -> bool:
        return self.right == "both"


def read_known(path: Path = DISAGREEMENTS) -> list[Known]:
    """Read the list of explained disagreements."""
    return [Known(**({"when": {}} | entry)) for entry in tomllib.loads(path.read_text())["disagreement"]]


def judge(operation: Operation, example: Example, evaluator: Answer, core_ai: Answer) -> Opinion:
    """Compare two answers to an example with each other and with float64."""
    if evaluator.error or core_ai.error:
        right: Right = "evaluator" if not evaluator.error else "core-ai" if not core_ai.error else "nobody"
        return Opinion(example, right, np.inf, evaluator.error or core_ai.error)
    wanted = by_reference(example)
    scale = operation.scale(example.attributes, arrays(operation, example))
    near = [
        all(agree(operation, one, other, true, scale) for one, other, true in zip(*sides, wanted, strict=True))
        for sides in (
            (evaluator.results, core_ai.results),
            (evaluator.results, wanted),
            (core_ai.results, wanted),
        )
    ]
    distance = max(
        _distance(one, other, true)
        for one, other, true in zip(evaluator.results, core_ai.results, wanted, strict=True)
    )
    return Opinion(example, _right(*near), distance)


def _right(each_other: bool, evaluator: bool, core_ai: bool) -> Right:
    if each_other and (evaluator or core_ai):
        return "both"
    if evaluator == core_ai:
        return "nobody"
    return "evaluator" if evaluator else "core-ai"


def agree(operation: Operation, one: np.ndarray, other: np.ndarray, true: np.ndarray, scale: float = 0.0) -> bool:
    """Tell whether two results are one but for rounding, by the operation's own measure of it."""
    if one.shape != other.shape:
        return False
    with np.errstate(over="ignore"):
        # What float32 cannot hold is infinite in it.
        a, b, size = (value.astype(np.float32).astype(np.float64) for value in (one, other, true))
    if operation.rounding == "none":
        return np.array_equal(a, b, equal_nan=True)
    size = np.maximum(np.abs(size), scale)
    # Nothing is near infinity but infinity.
    size = np.where(np.isfinite(size), size, 0)
    if operation.rounding == "sum":
        size = np.full_like(size, size.max(initial=0))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        # Below the least normal number there are fewer digits, and a processor may take them for zero.
        allowed = np.maximum(RELATIVE[operation.precision] * size, LEAST[operation.precision])
        return bool((same | (np.abs(a - b) <= allowed)).all())


def _distance(one: np.ndarray, other: np.ndarray, true: np.ndarray) -> float:
    if one.shape != other.shape:
        return np.inf
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) / np.maximum(1, np.abs(true))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0, np.where(np.isnan(apart), np.inf, apart)).max(initial=0))


@dataclass(frozen=True)
class Tally:
    """Hold what all examples of an operation showed.

    unexplained: disagreements that no entry of the list covers, or which the entry says otherwise about.
    """

    operation: str
    examples: int
    agreed: int
    distance: float
    explained: Mapping[str, int]
    unexplained: Sequence[Opinion]


def tally(name: str, opinions: Sequence[Opinion], known: Sequence[Known]) -> Tally:
    """Count agreements, and sort the others into explained and unexplained."""
    explained: dict[str, int] = {}
    unexplained: list[Opinion] = []
    for opinion in opinions:
        if opinion.agreed:
            continue
        entry = next((k for k in known if k.covers(opinion.example) and k.right == opinion.right), None)
        if entry is None:
            unexplained.append(opinion)
        else:
            explained[entry.differs] = explained.get(entry.differs, 0) + 1
    agreed = [opinion for opinion in opinions if opinion.agreed]
    return Tally(
        name,
        len(opinions),
        len(agreed),
        max((opinion.distance for opinion in agreed), default=0.0),
        explained,
        unexplained,
    )
