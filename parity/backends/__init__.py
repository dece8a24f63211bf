"""BACKENDS: what runs an artefact. One module each, all with the same three names (see `Backend`)."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from parity.errors import ParityError
from parity.results import Prediction

if TYPE_CHECKING:
    from conversion import Artifact

# Takes uint8 pixels [N, H, W, 3] of the model's size, gives one answer per image.
Predict = Callable[[np.ndarray], Prediction]


class Backend(Protocol):
    """What a backend module has."""

    FORMATS: tuple[str, ...]

    def why_not(self) -> str | None:
        """Say why this backend cannot run here; None where it can."""

    def load(self, artifact: Artifact, batch: int = 1) -> Predict:
        """Load an artefact once; what is wrong with the file is a ParityError or a ConversionError.

        batch: how many images go in at once; one, as on the phone, unless told otherwise.
        """


class OutputNotFoundError(ParityError):
    """The artefact runs, but which output holds the probabilities cannot be told: nothing can be concluded."""


# The reference, PyTorch itself, runs classifiers rather than artefacts: parity.backends.pytorch.
BACKENDS: Mapping[str, str] = {
    "onnxruntime": "parity.backends.onnxruntime",
    "onnx-reference": "parity.backends.onnx_reference",
    "coreml-native": "parity.backends.coreml_native",
    "coreml-evaluator": "parity.backends.coreml_evaluator",
}
REFERENCE = "pytorch"


def find_backend(name: str) -> Backend:
    """Return the backend of that name; an unknown one is a ParityError that names the nearest."""
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParityError(f"unknown backend `{name}`{hint} (backends: {', '.join(BACKENDS)})")
    return cast(Backend, importlib.import_module(BACKENDS[name]))


def backends_for(artifact_format: str) -> tuple[str, ...]:
    """List the backends that run a format, whether or not they can run here."""
    return tuple(name for name in BACKENDS if artifact_format in find_backend(name).FORMATS)


def pick_output(outputs: Mapping[str, tuple[int | None, ...]], artifact: Artifact, wanted: str) -> str:
    """Find the output that holds the probabilities: by its name, else the only one of shape [N, classes].

    outputs: name -> shape, None for an open size. Never picks by position.
    """
    if wanted in outputs:
        return wanted
    shaped = [name for name, shape in outputs.items() if len(shape) == 2 and shape[1] != 1]
    if len(shaped) == 1:
        return shaped[0]
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in outputs.items())
    raise OutputNotFoundError(
        f"{artifact.path}: no output is called {wanted}, and {len(shaped)} have the shape [images, classes]; "
        f"the outputs are {listed}"
    )
