"""What coremltools 9.0 itself works out wrongly when it folds constants (`value_inference`), with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Given = Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """Name an operation that is folded wrongly, when, and why."""

    kind: str
    when: Callable[[Given], bool]
    reason: str


def _equals(given: Given) -> bool:
    """Tell whether an axis holds equal elements."""
    ordered = np.sort(given["x"], given["axis"])
    return bool((np.diff(ordered.astype(np.float64), axis=given["axis"]) == 0).any())


def _single(given: Given) -> bool:
    """Tell whether every axis goes, of a tensor of a type that is rare."""
    rare = np.asarray(given["x"]).dtype not in (np.float32, np.int32)
    return rare and given.get("squeeze_mask") is not None and all(given["squeeze_mask"])


def _overflows(given: Given) -> bool:
    """Tell whether the exponential of a number times its beta comes near the largest of its type."""
    largest = np.abs(given["x"]).max(initial=0.0) * float(np.abs(given["beta"]).max())
    return bool(largest > 0.99 * np.log(float(np.finfo(given["x"].dtype).max)))


_UNSTABLE = "equal elements: NumPy's quicksort gives them in any order, which Apple's text leaves open"


FAULTS: tuple[Fault, ...] = (
    Fault("argsort", _equals, _UNSTABLE),
    Fault(
        "concat",
        lambda given: bool(given["interleave"]),
        "interleave: it joins one after the other",
    ),
    Fault(
        "cumsum",
        lambda given: bool(given["exclusive"]),
        "exclusive: it makes its zeros by `np.zeros(shape, data)`, a TypeError, and would drop no element",
    ),
    Fault(
        "flatten2d",
        lambda given: given["axis"] % np.ndim(given["x"]) == 0,
        "axis 0: the product of no sizes is the float 1.0, and reshape refuses it",
    ),
    Fault(
        "gather",
        lambda given: given.get("batch_dims", 0) > 0 and given["axis"] < 0,
        "batch_dims and an axis counted from the end: it subtracts the first from the second",
    ),
    Fault("topk", _equals, _UNSTABLE),
    Fault(
        "topk",
        lambda given: np.asarray(given["x"]).dtype.kind == "u" and not given["ascending"],
        "unsigned, the largest first: it sorts by the numbers' opposites, and that of 0 is 0",
    ),
    Fault(
        "slice_by_index",
        _single,
        "a single number: it makes a value of it, and has the types fp32 and int32 for that",
    ),
    Fault(
        "softplus_parametric",
        _overflows,
        "log(1 + exp(x)) by its formula, whose exponential overflows: it answers infinity",
    ),
    Fault(
        "scatter_along_axis",
        lambda given: given["mode"] != "update",
        "it puts the updates in the place of the data, whatever `mode` says",
    ),
)


def fault_of(kind: str, given: Given) -> str:
    """Return why coremltools' own answer does not count; empty where it does."""
    return next((fault.reason for fault in FAULTS if fault.kind == kind and fault.when(given)), "")
