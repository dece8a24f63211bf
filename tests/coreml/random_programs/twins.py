"""Every operation once more, as plainly as it can be written, in float64: the twins in naive/.

A twin takes Apple's parameters by their names: floats as float64, integers as int64, truth as bool, single numbers
as Python's. It knows nothing of the evaluator. Source: Apple's text in coremltools' MIL definitions.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from tests.coreml.random_programs.program import NUMPY, OPSETS

_TWINS: dict[str, dict[str, Callable[..., Any]]] = {}


def twin_of(*kinds: str, since: str = "iOS15") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the twin of these operations, from an opset on."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for kind in kinds:
            if since in _TWINS.setdefault(kind, {}):
                raise ValueError(f"{kind} has a twin already")
            _TWINS[kind][since] = function
        return function

    return register


@cache
def _load() -> None:
    package = importlib.import_module("tests.coreml.random_programs.naive")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def twins() -> Mapping[str, Mapping[str, Callable[..., Any]]]:
    """List every twin: operation -> opset -> function."""
    _load()
    return _TWINS


def twin(kind: str, arguments: Mapping[str, Any], opset: str) -> tuple[np.ndarray, ...]:
    """Work an operation out."""
    versions = twins()[kind]
    function = versions[max((since for since in versions if since <= opset), key=OPSETS.index)]
    with np.errstate(all="ignore"):
        results = function(**{name: widened(value) for name, value in arguments.items() if value is not None})
    return tuple(np.asarray(r) for r in (results if isinstance(results, tuple) else (results,)))


def widened(value: Any) -> Any:
    """Turn arrays into float64, int64 or bool, and single numbers into Python's."""
    if isinstance(value, list):
        return [widened(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray):
        return value
    if value.ndim == 0:
        return value.item()
    return value.astype({"f": np.float64, "b": np.bool_}.get(value.dtype.kind, np.int64))


def settled(value: np.ndarray, dtype: str) -> np.ndarray:
    """Bring an exact result to the declared type: by one rounding, or as the integer without its fraction."""
    with np.errstate(all="ignore"):
        if dtype == "bool" or value.dtype == np.bool_ or dtype.startswith("fp"):
            return np.asarray(value).astype(NUMPY[dtype])
        return np.trunc(value).astype(np.int64).astype(NUMPY[dtype])
