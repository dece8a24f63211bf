"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends import About, CannotRunError
from parity.backends.onnx_sizes import check_sizes
from parity.core.errors import ParityError
from parity.formats.arrays import classifier_predictions
from parity.formats.onnx.inputs import session_inputs
from parity.formats.onnx.session import open_session

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("onnx",)
ABOUT = About("onnxruntime", "ONNX Runtime", exchangeable=True)


def why_not() -> str | None:
    """Say why ONNX Runtime cannot run here."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return f"onnxruntime is not installed ({error}); pip install onnxruntime"
    return None


def load(
    artifact: Artifact, batch: int = 1, level: str = "ORT_ENABLE_ALL", config: Mapping[str, str] | None = None
) -> Predict:
    """Load a .onnx file; images go in one at a time, as on the phone, unless told otherwise.

    level: how far the graph is optimised; a name in onnxruntime.GraphOptimizationLevel. config: entries of the
    session's configuration.
    """
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Lacking

    check_sizes(artifact, batch)
    try:
        session = open_session(str(artifact.path), level, config)
    except Lacking as error:
        raise _lacking(artifact, error) from error
    except Exception as error:  # onnxruntime has an exception class for each of its status codes
        raise ParityError(f"{artifact.path}: ONNX Runtime cannot load it: {error}") from error

    def run(output: str, feeds: Mapping[str, np.ndarray]) -> Any:
        try:
            return session.run([output], feeds)[0]
        except Lacking as error:
            raise _lacking(artifact, error) from error

    outputs = {value.name: value.shape for value in session.get_outputs()}
    return classifier_predictions(artifact, session_inputs(session), outputs, run, batch)


def _lacking(artifact: Artifact, error: Exception) -> CannotRunError:
    """Say what ONNX Runtime has no kernel for: an operator in an old opset, or in a type of number."""
    return CannotRunError(
        f"{artifact.path}: ONNX Runtime does not implement all of it ({' '.join(str(error).split())})"
    )
