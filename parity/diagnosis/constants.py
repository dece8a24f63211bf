"""The single numbers of formulas: what is added to a value, multiplied with it, or bounds it, on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parity.formats.graph import plain_type

if TYPE_CHECKING:
    from parity.diagnosis.source import Step
    from parity.formats.graph import Operation


@dataclass(frozen=True)
class Constant:
    """Hold a number that is added to a value, multiplied with it, or taken as its least or its most.

    kind: `add`, `mul`, `pow`, `max` or `min`. number: `x - 2` adds -2, `x / 2` multiplies by 0.5.
    place: where an operation of a file reads it; empty in PyTorch.
    written: makes of the number what is written there.
    """

    kind: str
    number: float
    place: str = ""
    written: Callable[[float], float] = float


def _negative(number: float) -> float:
    return -number


def _reciprocal(number: float) -> float:
    return 1 / number if number else float("inf")


# What the formats and PyTorch call an operation, in lower case without underscores -> its kind, and how the number
# that is written there is read.
_KINDS: Mapping[str, tuple[str, Callable[[float], float]]] = {
    "add": ("add", float),
    "sub": ("add", _negative),
    "mul": ("mul", float),
    "multiply": ("mul", float),
    "scale": ("mul", float),
    "div": ("mul", _reciprocal),
    "realdiv": ("mul", _reciprocal),
    "pow": ("pow", float),
    "clampmin": ("max", float),
    "maximum": ("max", float),
    "max": ("max", float),
    "clampmax": ("min", float),
    "minimum": ("min", float),
    "min": ("min", float),
}


# Where a file's operation reads a least and a most, by the names of both formats; PyTorch's are two arguments.
_LEAST, _MOST = ("input[1]", "alpha"), ("input[2]", "beta")
_BOUNDING = ("clamp", "hardtanh")
# A bound as large as this bounds nothing: the largest number of fp16 or fp32.
_UNBOUND = 65504.0


def of_step(step: Step) -> Constant | None:
    """Read the number of one of PyTorch's operations; None where it has none, or several values."""
    kind, read = _KINDS.get(plain_type(step.type), ("", float))
    numbers = [_number(argument) for argument in step.args[1:2] or step.kwargs.values()]
    if not kind or len(numbers) != 1 or numbers[0] is None:
        return None
    return Constant(kind, read(numbers[0]))


def of_operation(operation: Operation) -> Constant | None:
    """Read the number of an operation of a file; None where it has none."""
    kind, read = _KINDS.get(operation.plain_type, ("", float))
    singles = {place: array for place, array in operation.weights.items() if array.size == 1}
    # What stands on the left is subtracted or divided from: another formula.
    if not kind or len(singles) != 1 or len(operation.inputs) != 1:
        return None
    (place, array) = next(iter(singles.items()))
    if read is not float and place in ("x", "input[0]"):
        return None
    return Constant(kind, read(float(array.reshape(-1)[0])), place, read)


def bounds_of_step(step: Step) -> Iterator[Constant]:
    """Give the least and the most of an operation of PyTorch's that takes both."""
    if plain_type(step.type) not in _BOUNDING:
        return
    named = [step.kwargs.get(name) for name in ("min", "max")]
    for kind, argument in zip(("max", "min"), [*step.args[1:3], *named[len(step.args[1:3]) :]], strict=True):
        number = _number(argument)
        if number is not None:
            yield Constant(kind, number)


def bounds_of_operation(operation: Operation) -> Iterator[Constant]:
    """Give the least and the most of an operation of a file that takes both."""
    if operation.plain_type != "clip":
        return
    for kind, places in (("max", _LEAST), ("min", _MOST)):
        for place in places:
            array = operation.weights.get(place)
            if array is not None and array.size == 1 and abs(float(array.reshape(-1)[0])) < _UNBOUND:
                yield Constant(kind, float(array.reshape(-1)[0]), place)


def _number(argument: Any) -> float | None:
    import torch

    if isinstance(argument, torch.Tensor):
        return float(argument) if argument.numel() == 1 else None
    return float(argument) if isinstance(argument, int | float) and not isinstance(argument, bool) else None
