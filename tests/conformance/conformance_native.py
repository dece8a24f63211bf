"""Ask the evaluator the same as Apple's runtime, prediction by prediction, and say where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from parity.coreml import Evaluator

# Of the largest number in the output: twice what one rounding to fp16 changes, and most programs are fp16.
TOLERANCE = 1e-3

Difference = dict[str, Any]


def beside(native: type, note: Callable[[list[Difference]], None]) -> type:
    """Make a proxy class that gives the native one's answers, and notes where the evaluator's are others.

    native: a class with the interface of coremltools' _MLModelProxy.
    """

    class Both:
        maximum_supported_specification_version = staticmethod(native.maximum_supported_specification_version)

        def __init__(self, path: str, compute_units: str, function_name: str, hints: Any, asset: Any) -> None:
            self._native = native(path, compute_units, function_name, hints, asset)
            self._evaluator = _attempt(lambda: Evaluator(path, function_name or None))

        def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
            found = _attempt(lambda: self._native.predict(inputs, state.native if state else None))
            ours = self._evaluator
            if not isinstance(ours, Exception):
                ours = _attempt(lambda: self._evaluator.predict(inputs, state.evaluator if state else None))
            note(differences(found, ours))
            if isinstance(found, Exception):
                raise found
            return found

        def batchPredict(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 - Apple's name
            return [self.predict(one) for one in inputs]

        def newState(self) -> BothStates:  # noqa: N802 - Apple's name
            return BothStates(self._native.newState(), _attempt(lambda: self._evaluator.make_state()))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._native, name)

    return Both


class BothStates:
    """Keep Apple's state and the evaluator's beside each other."""

    def __init__(self, native: Any, evaluator: Any) -> None:
        self.native, self.evaluator = native, evaluator

    def read_state(self, name: str) -> Any:
        """Read Apple's."""
        return self.native.read_state(name)

    def write_state(self, name: str, value: Any) -> None:
        """Write both."""
        self.native.write_state(name, value)
        # An evaluator that could not make a state says so at the prediction.
        _attempt(lambda: self.evaluator.write_state(name, value))


def _attempt(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        return error


def differences(native: Any, evaluator: Any, tolerance: float = TOLERANCE) -> list[Difference]:
    """List the outputs of one prediction that differ; an error stands for all of them.

    Numbers differ when they are further apart than tolerance times the larger of 1 and the native output's largest
    finite number; NaN and infinity must stand at the same places. That both refuse is agreement.
    """
    refused = [isinstance(answer, Exception) for answer in (native, evaluator)]
    if any(refused):
        return [] if all(refused) else [_difference("", "error", _shown(native), _shown(evaluator))]
    found = []
    for name in sorted({*native, *evaluator}):
        if name not in native or name not in evaluator:
            sides = ["present" if name in answer else "absent" for answer in (native, evaluator)]
            found.append(_difference(name, "presence", *sides))
        else:
            found += _compare(name, native[name], evaluator[name], tolerance)
    return found


def _compare(name: str, native: Any, evaluator: Any, tolerance: float) -> list[Difference]:
    if isinstance(native, Mapping) and isinstance(evaluator, Mapping) and native.keys() == evaluator.keys():
        return _compare(name, np.array([*native.values()]), np.array([evaluator[k] for k in native]), tolerance)
    if isinstance(native, str | Mapping) or isinstance(evaluator, str | Mapping):
        return [] if native == evaluator else [_difference(name, "value", _shown(native), _shown(evaluator))]
    theirs, ours = np.asarray(native), np.asarray(evaluator)
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        sides = [f"{value.dtype}{list(value.shape)}" for value in (theirs, ours)]
        return [_difference(name, "type", *sides)]
    if not theirs.size:
        return []
    a, b = theirs.astype(np.float64), ours.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    apart = np.where(same, 0.0, np.inf)
    apart[finite] = np.abs(a[finite] - b[finite])
    allowed = tolerance * max(1.0, np.abs(a[np.isfinite(a)]).max(initial=0.0))
    if apart.max() <= allowed:
        return []
    worst = np.unravel_index(apart.argmax(), apart.shape)
    return [
        _difference(name, "value", str(theirs[worst]), str(ours[worst]))
        | {"max_abs_diff": str(apart.max()), "elements": int((apart > allowed).sum()), "of": int(apart.size)}
    ]


def _difference(output: str, what: str, native: str, evaluator: str) -> Difference:
    return {"output": output, "what": what, "native": native, "evaluator": evaluator}


def _shown(value: Any) -> str:
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else str(value)
    return " ".join(text.split())[:300]
