"""Put the evaluator behind coremltools' MLModel, so that `predict` works on this machine.

coremltools talks to Apple's framework through one class, `_MLModelProxy`. Standing in for that class, rather than
for MLModel, leaves input checks, conversions and error messages coremltools' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from conversion.guards.quiet import import_coremltools
from parity.core.errors import CoreMLError
from parity.coreml.evaluator import Evaluator
from parity.coreml.pipeline import SPECIFICATION_VERSION
from parity.coreml.running.engine import NEURAL_NETWORKS
from parity.coreml.running.state import State

_MACOS = (15, 0)


@contextmanager
def _apples_errors(opening: str = "") -> Iterator[None]:
    """Raise what Apple's proxy raises. opening: the words by which its callers know what failed."""
    try:
        yield
    except CoreMLError as error:
        raise RuntimeError(f"{opening}{error}") from error


@dataclass(frozen=True)
class StateProxy:
    """Answer the calls that MLState makes to its proxy."""

    state: State

    def read_state(self, name: str) -> Any:
        """Return a state's value."""
        with _apples_errors():
            return self.state.read_state(name)

    def write_state(self, name: str, value: Any) -> None:
        """Give a state a value."""
        with _apples_errors():
            self.state.write_state(name, value)


class EvaluatorProxy:
    """Answer the calls that MLModel makes to its proxy."""

    def __init__(
        self, path: str, compute_units: str, function_name: str, optimization_hints: Any, asset: Any
    ) -> None:
        # MLModel turns this error into a warning, and `predict` raises it again.
        with _apples_errors():
            self._evaluator = Evaluator(path, function_name or None)

    @staticmethod
    def maximum_supported_specification_version() -> int:
        """Return the newest specification version that can be run."""
        return SPECIFICATION_VERSION

    def predict(self, inputs: dict[str, Any], state: StateProxy | None = None) -> dict[str, Any]:
        """Predict for one dictionary of inputs."""
        network = self._evaluator.kind in NEURAL_NETWORKS
        kind = "a neural network model" if network else "ML Program"
        with _apples_errors(f"Unable to compute the prediction using {kind}. "):
            return self._evaluator.predict(inputs, state.state if state else None)

    def batchPredict(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 - Apple's name
        """Predict for each dictionary of a list."""
        return [self.predict(one) for one in inputs]

    def newState(self) -> StateProxy:  # noqa: N802 - Apple's name
        """Make a fresh state."""
        with _apples_errors():
            return StateProxy(self._evaluator.make_state())

    def get_compiled_model_path(self) -> str:
        """Refuse: nothing is compiled here."""
        raise RuntimeError("a compiled model comes from Apple's compiler, which runs on macOS alone")

    @staticmethod
    def get_available_compute_devices() -> Any:
        """Refuse: there is no device of Apple's."""
        raise RuntimeError("compute devices are listed by Core ML itself, which runs on macOS alone")

    @staticmethod
    def create_model_asset_from_memory(*_: Any) -> Any:
        """Refuse: an asset is a thing of Apple's runtime."""
        raise RuntimeError("a model asset is made by Core ML itself, which runs on macOS alone")

    create_model_asset_from_path = create_model_asset_from_memory

    def get_load_duration_in_nano_seconds(self) -> None:
        """Say, as Apple's proxy does, that it is not known."""

    def get_last_predict_duration_in_nano_seconds(self) -> None:
        """Say, as Apple's proxy does, that it is not known."""


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
