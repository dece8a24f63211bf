"""Core AI assets through Apple's own runtime: on Linux a reference interpreter, which knows no compute units.

A program that its reader does not survive is refused before it is loaded (conversion/coreai.py); what aborts while
it is compiled or run ends the worker that the commands run artefacts in.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from conversion import coreai
from parity.backends import About
from parity.core.errors import ParityError

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("coreai",)
# About a second for an image of 224 pixels: many images are a spot check.
ABOUT = About("coreai-core", "Core AI's runtime", slow=True, exchangeable=True)


def why_not() -> str | None:
    """Say why Core AI's runtime cannot run here."""
    if platform.system() not in ("Linux", "Darwin"):
        return f"coreai-core is there for Linux and macOS; this is {platform.system()}"
    return coreai.why_not(coreai.RUNTIME)


def load(artifact: Artifact, batch: int = 1, compute_unit: str = "") -> Predict:
    """Load a .aimodel. compute_unit: cpu, gpu or neural_engine, on macOS alone, where nobody ran it so far."""
    from parity.formats.coreai.running import predictions
    from parity.formats.coreai.runtime import Session

    if compute_unit and platform.system() != "Darwin":
        raise ParityError(f"compute unit {compute_unit}: Core AI has compute units on macOS alone")
    return predictions(artifact, Session(artifact.path, compute_unit), batch)
