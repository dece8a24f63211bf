"""Judging an artefact: its answers on a backend, compared with the reference, become a subject of the run.

artifact --open_backend--> Predict --images--> Prediction --compare--> Comparison --> Subject
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from conversion.artifact import Artifact
from conversion.errors import ConversionError
from conversion.guards.torch_defaults import with_torch_defaults
from parity.backends import Backend, CannotRunError, OutputNotFoundError, find_backend, record_names
from parity.backends.outputs import mapping_told, shape_told
from parity.backends.own_cost import own_cost
from parity.backends.recorded import Recorded
from parity.backends.reference import Reference
from parity.backends.vision import vision_told
from parity.contract.words import contract_told, unstated_told
from parity.core.compare import compare, with_exact_sums
from parity.core.errors import ParityError
from parity.core.measuring import outputs_of
from parity.core.results import Comparison, Prediction, Subject
from parity.core.tally import tally_of
from parity.core.tolerance import Tolerance, scaled, too_costly
from parity.diagnosis.chain import guilty_hop
from parity.diagnosis.compression_cost import allowed_for
from parity.diagnosis.compression_twin import compressed_twin
from parity.diagnosis.second_look import JudgeAgain, looking_again
from parity.diagnosis.second_look import LookAgain as LookAgain
from parity.metrics.classification.labels import tell_labels_apart
from parity.suite.images import NOISE, are_noise, pixels_digest

if TYPE_CHECKING:
    from conversion import Model

LOG = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Judging:
    """Say how artefacts are judged.

    tolerance: the largest distance allowed, of probabilities |dp|; None chooses by format and precision.
    scale: multiplies whichever tolerance holds.
    batch: how many images an artefact is given at once.
    records: files of predictions that were made elsewhere, each judged as a backend of its own.
    strict: whether a contract that nobody states is inconclusive.
    chosen_of: what a leg of many images is allowed, with its second look, where these are some that were chosen
    among them: hops are then judged as the leg was.
    """

    tolerance: Tolerance | None = None
    scale: float = 1.0
    batch: int = 1
    records: tuple[Path, ...] = ()
    strict: bool = False
    chosen_of: Tolerance | None = None


BY_DEFAULT = Judging()


def judge(reference: Reference, artifact: Artifact, backend: str, judging: Judging = BY_DEFAULT) -> Subject:
    """Run an artefact on one backend and compare it with the reference."""
    return judge_with_prediction(reference, artifact, backend, judging)[0]


@with_torch_defaults
def judge_with_prediction(
    reference: Reference,
    artifact: Artifact,
    backend: str,
    judging: Judging = BY_DEFAULT,
) -> tuple[Subject, Prediction | None]:
    """Judge as `judge` does, and give the backend's answers too, where it gave any."""
    subject = _unjudged(reference, artifact, backend)
    module = open_backend(backend, judging.records, reference)
    if reason := module.why_not():
        return replace(subject, reason=reason), None
    if not reference.images.names:
        none = "no images were compared; give at least one"
        return replace(subject, verdict="inconclusive", reason=none), None
    candidate = attempt(subject, lambda: module.load(artifact, judging.batch)(reference.images.pixels))
    if isinstance(candidate, Subject):
        return candidate, None
    return judge_prediction(reference, artifact, backend, candidate, judging), candidate


def attempt(subject: Subject, work: Callable[[], Result]) -> Result | Subject:
    """Return what loading or running an artefact gives; where it breaks, the subject says why."""
    try:
        return work()
    except CannotRunError as error:
        return replace(subject, reason=str(error))
    except OutputNotFoundError as error:
        return replace(subject, verdict="inconclusive", reason=str(error))
    except (ParityError, ConversionError) as error:
        return replace(subject, verdict="error", reason=" ".join(str(error).split()))
    except Exception as error:  # a runtime may break in ways of its own; the other subjects still count
        LOG.exception("%s by %s on %s", subject.model, subject.route, subject.backend)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return replace(subject, verdict="error", reason=reason)


def judge_prediction(
    reference: Reference,
    artifact: Artifact,
    backend: str,
    candidate: Prediction,
    judging: Judging = BY_DEFAULT,
) -> Subject:
    """Compare answers that an artefact gave on a backend with the reference, wherever it ran."""
    # The strictest first: what passes it needs no measuring of what rounding costs.
    for allowed in [judging.tolerance] if judging.tolerance else allowed_for(reference, artifact):
        allowed = scaled(reference.with_second_look(allowed, artifact.precision), judging.scale)
        comparison = compared(reference, artifact, candidate, allowed)
        if comparison.verdict != "fail":
            break
    hidden = None
    if allowed.compressed and comparison.verdict == "pass":
        hidden = hidden_by_compression(allowed, reference, artifact, candidate, judging.scale)
    if hidden:
        reference, comparison, allowed = hidden
    comparison, lost = with_exact_sums(reference.prediction, candidate, allowed, reference.images.names, comparison)
    subject = _unjudged(reference, artifact, backend)
    strange = shape_told(artifact, candidate.answer_shape)
    subject = replace(
        subject,
        tolerance_reason=allowed.reason,
        recorded_by=candidate.source,
        remarks=(*subject.remarks, *filter(None, (strange, lost))),
        compressed_alike=hidden is not None,
        measured_on=allowed.second.measured if allowed.second else 0,
        excused=tally_of(comparison.cases).excused,
    )
    if are_noise(reference.images.pixels):
        # No tolerance makes a proof of it, when it is judged again by another either.
        comparison = replace(comparison, required_tolerance=None)
        if comparison.verdict == "pass":
            comparison = replace(comparison, verdict="inconclusive", reason=NOISE)
    if judging.strict and comparison.verdict == "pass" and (unstated := unstated_told(artifact)):
        comparison = replace(comparison, verdict="inconclusive", reason=unstated)
    judged = with_comparison(subject, comparison)
    if comparison.verdict == "fail":
        costly = too_costly(artifact.precision, allowed, comparison.max_abs_diff)
        judged = replace(judged, reason="; ".join(filter(None, (judged.reason, costly))))
        again = _judge_again(reference, artifact, allowed)
        if judging.chosen_of:
            again = replace(again, allowed=judging.chosen_of, images=0)
        judged = replace(judged, guilty_hop=guilty_hop(reference, artifact, backend, comparison, again))
        # Core ML's dictionary binds a number to its name; a list of names beside an array may be in a wrong order.
        if comparison.cases and candidate.labels and candidate.top1 is None:
            apart = tell_labels_apart("the file", candidate.labels, reference.model.labels)
            judged = replace(judged, remarks=(*judged.remarks, *([apart] if apart else [])))
    return judged


def compared(reference: Reference, artifact: Artifact, candidate: Prediction, allowed: Tolerance) -> Comparison:
    """Compare answers with the reference's, and look again at the images beyond the tolerance where it says how.

    Where what rounding costs one image cannot be measured, what was compared stands.
    """
    comparison = compare(reference.prediction, candidate, allowed, reference.images.names)
    return _judge_again(reference, artifact, allowed)(reference, comparison)


def _judge_again(reference: Reference, artifact: Artifact, allowed: Tolerance) -> JudgeAgain:
    return JudgeAgain(artifact, allowed, len(reference.images.names), own_cost)


def second_look(model: Model, artifact: Artifact, allowed: Tolerance) -> LookAgain:
    """Make what looks again at the images of an artefact, some at a time; nothing is loaded before it is asked.

    It takes cases, the pixels of their images, PyTorch's answers to them and what measures distances.
    """
    return looking_again(model, artifact, allowed, own_cost)


def hidden_by_compression(
    allowed: Tolerance, reference: Reference, artifact: Artifact, candidate: Prediction, scale: float = 1.0
) -> tuple[Reference, Comparison, Tolerance] | None:
    """Compare what passes by the cost of compression with PyTorch's model that pays the same cost.

    allowed: that cost. Returns None where the twin agrees, or where there is none; else the twin, how far the
    candidate is from it, and how far it may be.
    """
    twin = compressed_twin(reference, artifact)
    if twin is None:
        return None
    for stricter in twin.tolerances(artifact):
        stricter = scaled(twin.with_second_look(stricter, artifact.precision), scale)
        apart = compared(twin, artifact, candidate, stricter)
        if apart.verdict != "fail":
            return None
    reason = (
        f"it is within the {allowed.distance:.2g} that {allowed.compressed} may cost, but these are PyTorch's own, "
        f"and PyTorch with the same answers otherwise: {apart.reason}"
    )
    return twin, replace(apart, reason=reason), replace(stricter, reason=f"compressed alike: {stricter.reason}")


def _unjudged(reference: Reference, artifact: Artifact, backend: str) -> Subject:
    return Subject(
        model=reference.model.name,
        route=artifact.route,
        artifact=artifact.path.name,
        backend=backend,
        precision=artifact.precision,
        verdict="skipped",
        remarks=(*reference.model.remarks, *remarks_on(artifact), *filter(None, (reference.own_pixels,))),
        outputs=outputs_of(reference.prediction.measured),
    )


def remarks_on(artifact: Artifact) -> tuple[str, ...]:
    """Say what strikes about a file before it is run: which output was read, what Vision misses."""
    vision = "" if artifact.bound else vision_told(artifact)  # Vision's own kind of answer is a classifier's
    return tuple(filter(None, (artifact.remark, contract_told(artifact), mapping_told(artifact), vision)))


def open_backend(name: str, records: Sequence[Path], reference: Reference) -> Backend:
    """Return a backend, or what answers from a record of such a name."""
    file = record_names(records).get(name)
    if file is None:
        return find_backend(name)
    named = zip(reference.images.names, reference.images.pixels, strict=True)
    names = {pixels_digest(pixels): name for name, pixels in named}
    return Recorded(file, reference.model.labels, names, reference.prediction.specs)


def with_comparison(subject: Subject, comparison: Comparison) -> Subject:
    """Put a comparison's findings into a subject."""
    return replace(
        subject,
        verdict=comparison.verdict,
        reason=comparison.reason,
        images=len(comparison.cases),
        top1_agreement=comparison.top1_agreement,
        max_abs_diff=comparison.max_abs_diff,
        tolerance=comparison.tolerance,
        required_tolerance=comparison.required_tolerance,
        cases=comparison.cases,
        outputs=comparison.outputs,
    )
