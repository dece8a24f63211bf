"""A finished file -> the entry of `artifacts` that says what the file does itself."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.artifact import open_artifact
from conversion.contract import ASSUMED, Contract
from conversion.errors import ConversionError
from parity.backends.bound import bind
from parity.contract.settle import settled
from parity.core.errors import ParityError
from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact, Classifier
    from parity.backends.reference import Reference

DECLARED = "What it does itself is what it declares: nothing is to be stated."
MEASURED = "Measured on these images; correct it if it is wrong."
UNKNOWN = (
    "What it does itself is not known, for nothing that was tried restores parity on these images; "
    "where it is sound, state `inside` here."
)


@dataclass(frozen=True)
class Finished:
    """Hold an entry of `artifacts`.

    path: as the suite file names it. stated: what is to be written of its contract; None: nothing.
    about: how that is known, in a sentence.
    """

    path: str
    stated: Contract | None
    about: str


def finished_entry(path: Path, named: str, classifier: Classifier, reference: Callable[[], Reference]) -> Finished:
    """Open a finished file and settle its contract as a run does.

    named: its path in the suite file. reference: gives PyTorch's answers, where they are needed to measure.
    Raises ConversionError where the file cannot be opened.
    """
    # A path of the suite file is a pattern, and this one stands for itself.
    named = glob.escape(named) if glob.has_magic(named) else named
    sources = []
    for stated in _statements(path, classifier):
        contract = _settled(open_artifact(path, stated), classifier, reference)
        if contract.source == "measured":
            kept = Contract(contract.inside, contract.range, stated.layout, output=stated.output)
            return Finished(named, kept, MEASURED)
        sources.append(contract.source)
        if contract.source in ("declared", "stated"):
            break
    known = sources[-1] in ("declared", "stated")
    return Finished(named, None, DECLARED if known else UNKNOWN)


def _settled(artifact: Artifact, classifier: Classifier, reference: Callable[[], Reference]) -> Contract:
    try:
        return settled(bind(artifact, classifier.task), classifier, reference).contract
    except (ParityError, ConversionError):  # it cannot be fed so
        return ASSUMED


def _statements(path: Path, classifier: Classifier) -> Iterator[Contract]:
    """List what may have to be said of a file before the rest can be measured: first nothing."""
    yield ASSUMED
    artifact = open_artifact(path)
    try:
        _, shapes = format_of(artifact).read_outputs(artifact)
    except ParityError:  # damaged, of which the run says more
        return
    if len(shapes) > 1:
        yield from (Contract(output=name, source="assumed") for name in shapes)
    yield Contract(layout="NHWC", source="assumed")
