"""Put the evaluator behind coremltools' MLModel, so that `predict` works on this machine.

coremltools talks to Apple's framework through one class, `_MLModelProxy`. Standing in for that class, rather than
for MLModel, leaves input checks, conversions and error messages coremltools' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from conversion.quiet import import_coremltools
from parity.coreml.evaluator import Evaluator
from parity.errors import CoreMLError

# The newest version that Evaluator reads; MLModel refuses to load what is newer than its runtime.
_SPECIFICATION_VERSION = 10
_MACOS = (15, 0)


class EvaluatorProxy:
    """Answer the calls that MLModel makes to its proxy."""

    def __init__(
        self, path: str, compute_units: str, function_name: str, optimization_hints: Any, asset: Any
    ) -> None:
        try:
            self._evaluator = Evaluator(path, function_name or None)
        except CoreMLError as error:
            # What Apple's proxy raises; MLModel then warns, and `predict` raises the same again.
            raise RuntimeError(str(error)) from error

    @staticmethod
    def maximum_supported_specification_version() -> int:
        """Return the newest specification version that can be run."""
        return _SPECIFICATION_VERSION

    def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        """Predict for one dictionary of inputs."""
        try:
            return self._evaluator.predict(inputs, state)
        except CoreMLError as error:
            raise RuntimeError(str(error)) from error

    def batchPredict(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 - Apple's name
        """Predict for each dictionary of a list."""
        return [self.predict(one) for one in inputs]

    def newState(self) -> Any:  # noqa: N802 - Apple's name
        """Make a fresh state."""
        return self._evaluator.make_state()


def patch_coremltools() -> AbstractContextManager[None]:
    """Make MLModel.predict work here through the Evaluator; models that are loaded from now on.

    Takes effect at once and stays; used as a context manager, it is undone at the end. On macOS it replaces
    Apple's runtime for as long as it is in effect.
    """
    model = import_coremltools().models.model
    # Beside the proxy, MLModel asks for the version of macOS before it predicts, makes a state, or passes on why a
    # model could not be loaded. The evaluator stands for the newest system that those questions tell apart.
    answers = {"_MLModelProxy": EvaluatorProxy, "_is_macos": lambda: True, "_macos_version": lambda: _MACOS}
    before = {name: getattr(model, name) for name in answers}

    def install(names: Mapping[str, Any]) -> None:
        for name, value in names.items():
            setattr(model, name, value)

    install(answers)

    @contextmanager
    def undo() -> Iterator[None]:
        try:
            yield
        finally:
            install(before)

    return undo()
