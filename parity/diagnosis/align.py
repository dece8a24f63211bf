"""Which value of an artefact is which value of PyTorch's, also behind a fault.

PyTorch's operations run one after the other, and wherever the artefact has the value that one gives, the
artefact's own numbers go on in its place. So every operation is judged by the artefact's own inputs to it, and
nothing is inherited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.diagnosis.agreement import Expected, Noise, agrees, layouts, rounding
from parity.diagnosis.source import VIEWS, Program, Step, run_step
from parity.formats.graph import Graph, dynamic_values

if TYPE_CHECKING:
    import torch

# How many operations may give nothing that the artefact has before a try ends.
_PATIENCE = 14


@dataclass
class Alignment:
    """Hold what one run of PyTorch's operations beside an artefact shows.

    expected: by PyTorch's value, before the artefact's numbers took its place; values: what went on instead.
    matches: PyTorch's value -> the artefact's values that are the same. explained: the reverse, first match alone.
    """

    expected: dict[int, Expected] = field(default_factory=dict)
    values: dict[int, Expected] = field(default_factory=dict)
    matches: dict[int, list[str]] = field(default_factory=dict)
    explained: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Parting:
    """Name a value of the artefact that stands for one of PyTorch's and is not the same; no pair comes twice."""

    value: str
    source: int


@dataclass(frozen=True)
class ImageValues:
    """Hold an artefact's values of one image, as tensors, with what finds them quickly.

    by_size: count of numbers -> names. magnitudes: name -> mean and root mean square.
    """

    tensors: Mapping[str, torch.Tensor]
    by_size: Mapping[int, tuple[str, ...]]
    magnitudes: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class BothSides:
    """Hold one image on both sides: PyTorch's operations, and an artefact's own with their values."""

    program: Program
    image: torch.Tensor
    graph: Graph
    values: ImageValues
    precision: str


def image_values(arrays: Mapping[str, np.ndarray], graph: Graph) -> ImageValues:
    """Prepare an artefact's values of one image: those of float numbers that depend on the image."""
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for name in dynamic_values(graph):
        array = arrays.get(name)
        if array is not None and array.dtype.kind == "f" and array.size > 1:
            tensors[name] = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    by_size: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        by_size.setdefault(tensor.numel(), []).append(name)
    magnitudes = {name: _magnitude(tensor) for name, tensor in tensors.items()}
    return ImageValues(tensors, {size: tuple(names) for size, names in by_size.items()}, magnitudes)


def align(
    sides: BothSides,
    partings: tuple[Parting, ...],
    before: Alignment | None = None,
    window: tuple[int, int] | None = None,
    noise: Mapping[int, Noise] | None = None,
) -> Alignment:
    """Run PyTorch's operations beside an artefact's values.

    before: an alignment to go on from, and window: the operations from which and up to which; what they read is
    what the alignment before left. noise: what rounding costs each value, measured on another image; saves half of
    the work.
    """
    import torch

    shorten = rounding(sides.precision)
    forced = {parting.source: parting.value for parting in partings}
    if before is None:
        alignment, changed = Alignment(), {0}
        _settle(alignment, 0, Expected(sides.image), sides, forced)
    else:
        alignment = Alignment(
            dict(before.expected), dict(before.values), dict(before.matches), dict(before.explained)
        )
        changed = set(forced)
        for number in set(forced) & set(before.expected):
            _settle(alignment, number, before.expected[number], sides, forced)
    first, last = window or (0, len(sides.program.steps))
    idle = 0
    with torch.inference_mode():
        for step in sides.program.steps[first:last]:
            if before is not None and not changed.intersection(step.inputs):
                continue
            if any(number not in alignment.values for number in step.inputs):
                continue
            known = len(alignment.explained)
            for number, value in _results(step, alignment.values, shorten, noise):
                _settle(alignment, number, value, sides, forced)
                changed.add(number)
            idle = 0 if len(alignment.explained) > known else idle + (step.type not in VIEWS)
            if before is not None and idle > _PATIENCE:
                break
    return alignment


def _results(
    step: Step,
    values: Mapping[int, Expected],
    shorten: Callable[[Any], Any],
    noise: Mapping[int, Noise] | None,
) -> Iterator[tuple[int, Expected]]:
    """Run one operation, and once more in the artefact's precision unless its noise is known."""
    inputs = {number: values[number] for number in step.inputs}
    shortened = {n: value.exact if value.rounded is None else value.rounded for n, value in inputs.items()}
    try:
        exact = run_step(step, {number: value.exact for number, value in inputs.items()})
        if noise is None and step.type not in VIEWS:
            rounded = [shorten(value) for value in run_step(step, shortened, shorten)]
        elif noise is None and any(value.rounded is not None for value in inputs.values()):
            rounded = run_step(step, shortened)
        else:
            rounded = [None] * len(exact)  # a view of the artefact's own numbers has nothing to round
    except RuntimeError:
        return  # a value of another shape took this one's place
    for number, one, other in zip(step.outputs, exact, rounded, strict=True):
        if number is not None and one.numel():
            yield number, Expected(one, other, noise.get(number) if noise else None)


def _settle(
    alignment: Alignment, number: int, expected: Expected, sides: BothSides, forced: Mapping[int, str]
) -> None:
    """Put the artefact's numbers in the place of one of PyTorch's values, where it has them."""
    alignment.expected[number] = alignment.values[number] = expected
    names, first = _matching(expected, sides)
    if number in forced:
        substitute = stand_in(sides.values.tensors[forced[number]], expected.exact)
        if substitute is not None:
            alignment.values[number] = Expected(substitute)
            names += _matching(alignment.values[number], sides)[0]
    elif first is not None:
        alignment.values[number] = Expected(first)
    alignment.matches[number] = list(dict.fromkeys(names))
    for name in alignment.matches[number]:
        alignment.explained.setdefault(name, number)


def _matching(expected: Expected, sides: BothSides) -> tuple[list[str], torch.Tensor | None]:
    """List the artefact's values that are the expected one, and give the first in PyTorch's layout."""
    names: list[str] = []
    first = None
    if not expected.exact.is_floating_point() or expected.exact.numel() < 2:
        return names, first
    mean, size = expected.mean, expected.size
    slack = 0.02 if sides.precision == "fp16" else 1e-3
    for name in sides.values.by_size.get(expected.exact.numel(), ()):
        other_mean, other_size = sides.values.magnitudes[name]
        # Cheap, and enough for nearly all that are not the same; NaN passes, to be looked at.
        if abs(other_size - size) > slack * size + 1e-6 or abs(other_mean - mean) > slack * size + 1e-6:
            continue
        for value in layouts(sides.values.tensors[name], expected.exact.shape):
            if agrees(value, expected, sides.precision):
                names.append(name)
                # A constant says nothing of where it comes from, and takes no place.
                first = value if first is None and is_varied(value) else first
                break
    return names, first


def is_varied(value: torch.Tensor) -> bool:
    """Say whether a value is no constant."""
    return bool((value != value.flatten()[0]).any())


def stand_in(value: torch.Tensor, expected: torch.Tensor) -> torch.Tensor | None:
    """Read a value in the layout of one that it is not equal to; another number of pixels is let through."""
    readings = list(layouts(value, expected.shape))
    if readings:
        return max(readings, key=lambda reading: _likeness(reading, expected))
    if value.ndim > expected.ndim:
        value = (
            value.reshape(value.shape[value.ndim - expected.ndim :]) if _leading_ones(value, expected) else value
        )
    if value.ndim == expected.ndim >= 3 and value.shape[:2] == expected.shape[:2]:
        return value
    return None


def _leading_ones(value: torch.Tensor, expected: torch.Tensor) -> bool:
    return all(size == 1 for size in value.shape[: value.ndim - expected.ndim])


def _likeness(value: torch.Tensor, expected: torch.Tensor) -> float:
    import torch

    shared = torch.promote_types(value.dtype, expected.dtype)
    both = [torch.nan_to_num(t).flatten().to(shared) for t in (value, expected)]
    both = [t - t.mean() for t in both]
    return float(both[0] @ both[1] / (both[0].norm() * both[1].norm() + 1e-30))


def _magnitude(tensor: torch.Tensor) -> tuple[float, float]:
    return float(tensor.mean()), float(tensor.square().mean().sqrt())
