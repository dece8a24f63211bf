"""BACKENDS: what runs an artefact. One module each, all with the same three names (see `Backend`)."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.formats.outputs import OutputNotFoundError as OutputNotFoundError

if TYPE_CHECKING:
    from conversion import Artifact

# Takes uint8 pixels [N, H, W, 3] of the model's size, gives one answer per image.
Predict = Callable[[np.ndarray], Prediction]


@dataclass(frozen=True)
class About:
    """Say what is to be known of a backend.

    package: the distribution whose version decides what it answers.
    title: what people call it.
    compute_unit: what it computes on unless told otherwise; empty where it has no choice.
    slow: too slow for many images; a stream asks it for some of them, evenly spaced.
    exchangeable: other versions of its package run the same files, in a tool chain of their own.
    for_many: options of its `load` where many images come.
    imports: modules that it loads artefacts with, imported ahead where that takes long.
    """

    package: str
    title: str
    compute_unit: str = ""
    slow: bool = False
    exchangeable: bool = False
    for_many: Mapping[str, object] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


class Backend(Protocol):
    """What a backend module has."""

    FORMATS: tuple[str, ...]
    ABOUT: About

    def why_not(self) -> str | None:
        """Say why this backend cannot run here; None where it can."""

    def load(self, artifact: Artifact, batch: int = 1) -> Predict:
        """Load an artefact once; what is wrong with the file is a ParityError or a ConversionError.

        batch: how many images go in at once; one, as on the phone, unless told otherwise.
        """


class CannotRunError(ParityError):
    """This backend has no way to run such a file: nothing was run, and nothing is said against the file."""


class NotRecordedError(CannotRunError):
    """There is no record of this artefact: what was not recorded cannot be checked, and is skipped."""


# The reference, PyTorch itself, runs classifiers rather than artefacts: parity.backends.pytorch.
BACKENDS: Mapping[str, str] = {
    "onnxruntime": "parity.backends.onnxruntime",
    "onnx-reference": "parity.backends.onnx_reference",
    "coreml-native": "parity.backends.coreml_native",
    "coreml-evaluator": "parity.backends.coreml_evaluator",
    "coreai": "parity.backends.coreai",
}
REFERENCE = "pytorch"
# Answers given elsewhere, by a file of records: there only where somebody names such a file.
RECORDED = "recorded"


def find_backend(name: str) -> Backend:
    """Return the backend of that name; an unknown one is a ParityError that names the nearest.

    Where a time limit holds (parity/backends/limited.py), what it loads runs within it, in a process of its own.
    """
    if name.startswith(RECORDED):
        raise ParityError(
            f"backend `{name}` reads predictions that were made elsewhere, and no such record is given; "
            "name its file with --record, or with `records` in the suite file"
        )
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParityError(f"unknown backend `{name}`{hint} (backends: {', '.join(BACKENDS)})")
    from parity.backends.limited import within_limit

    return within_limit(name, cast(Backend, importlib.import_module(BACKENDS[name])))


def runtimes() -> Mapping[str, str]:
    """Name the packages that run artefacts in a tool chain, each with the backend that it is."""
    backends = ((name, find_backend(name).ABOUT) for name in BACKENDS)
    return {about.package: name for name, about in backends if about.exchangeable}


def backends_for(artifact_format: str, records: Sequence[Path] = ()) -> tuple[str, ...]:
    """List the backends that run a format, whether or not they can run here, and one for each record."""
    able = (name for name in BACKENDS if artifact_format in find_backend(name).FORMATS)
    return (*able, *record_names(records))


def record_names(records: Sequence[Path]) -> dict[str, Path]:
    """Name the backends of records: `recorded` where there is one, `recorded-<file>` where there are several."""
    if len(records) == 1:
        return {RECORDED: records[0]}
    return {f"{RECORDED}-{name}": path for name, path in zip(_short(records), records, strict=True)}


def _short(records: Sequence[Path]) -> list[str]:
    """Name files by their stems, and by their directories too where two share one."""
    stems = [path.stem for path in records]
    return stems if len(set(stems)) == len(stems) else [str(path.with_suffix("")) for path in records]
