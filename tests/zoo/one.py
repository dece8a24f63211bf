"""One network of the zoo by every route: a line for each route and backend, with whose fault a failure is."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from conversion import ConversionError, convert
from parity.backends import backends_for
from parity.backends.reference import make_reference
from parity.core.results import Subject
from parity.pipeline import judge_artifact
from parity.suite.images import load_images
from tests.zoo.collection import Animal
from tests.zoo.weights import Housed, house, photos

# onnx-reference takes minutes where these take seconds, and finds what onnxruntime finds.
BACKENDS = ("onnxruntime", "coreml-evaluator", "coreai")
# A package whose code a conversion fails in -> whose fault that is.
CULPRITS = {
    "torch": "exporter",
    "onnxscript": "exporter",
    "onnx_ir": "exporter",
    "onnx": "exporter",
    "onnxslim": "exporter",
    "coremltools": "converter",
    "coreai": "converter",
    "coreai_torch": "converter",
    "onnx_coreml": "converter",
}


@dataclass(frozen=True)
class Line:
    """Report one network by one route on one backend.

    size: height and width of its images. loss: of the last step of its training.
    backend: `-` where the conversion failed. apart: the largest |dp|.
    whose: exporter, converter, evaluator, runtime, fp16 or ours; empty for what passes. faults: what was named,
    each with a `?` where it is not confirmed.
    """

    network: str
    size: int
    route: str
    backend: str
    verdict: str
    seconds: float
    apart: float | None = None
    allowed: float | None = None
    reason: str = ""
    whose: str = ""
    faults: tuple[str, ...] = ()
    loss: float | None = None


def lines(animal: Animal, routes: Iterable[str], directory: Path) -> Iterator[list[Line]]:
    """Convert a network by its routes and judge each file: the lines of each. directory: where the files go."""
    housed = house(animal)
    classifier = housed.classifier
    reference = make_reference(classifier, load_images([str(path) for path in photos()], classifier.preprocessing))
    for route in routes:
        began = time.monotonic()
        try:
            artifact = convert(classifier, route, directory)
        except ConversionError as error:
            took = time.monotonic() - began
            failure = Line(animal.name, housed.size, route, "-", "error", took, loss=housed.loss)
            yield [replace(failure, reason=" ".join(str(error).split()), whose=culprit(error))]
            continue
        able = [name for name in backends_for(artifact.format) if name in BACKENDS]
        legs = judge_artifact(reference, artifact, able, explain=True)
        yield [_line(animal, housed, leg.subject, time.monotonic() - began) for leg in legs]


def _line(animal: Animal, housed: Housed, subject: Subject, seconds: float) -> Line:
    faults = tuple(d.fault + ("" if d.confirmed else "?") for d in subject.diagnoses)
    return Line(
        *(animal.name, housed.size, subject.route, subject.backend, subject.verdict, seconds),
        *(subject.max_abs_diff, subject.tolerance, subject.reason, blamed(subject), faults, housed.loss),
    )


def blamed(subject: Subject) -> str:
    """Say whose fault it is that a file gives other answers, or none; empty for what passes."""
    if subject.verdict == "error":
        # So it ends where the file contradicts itself, and Core ML would not load it either.
        if "convert again" in subject.reason:
            return "converter"
        return "evaluator" if subject.backend == "coreml-evaluator" else "runtime"
    if subject.verdict == "fail":
        return "fp16" if _is_rounding(subject) else "converter"
    return ""


def _is_rounding(subject: Subject) -> bool:
    # Unconfirmed where computing the file in fp32 does not undo it: its weights are rounded too.
    return any(d.fault.startswith("p-fp16-") for d in subject.diagnoses)


def culprit(error: BaseException) -> str:
    """Say whose fault it is that a conversion failed: whose code was called by ours in the end."""
    cause = error.__cause__ or error
    for frame in traceback.extract_tb(cause.__traceback__):
        parts = Path(frame.filename).parts
        if "site-packages" in parts:
            package = parts[parts.index("site-packages") + 1]
            if package in CULPRITS:
                return CULPRITS[package]
    return "ours"
