"""The envelope of a file: every arithmetic over the images, judged, explained, and records held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.errors import ConversionError
from parity.backends.bound import bind
from parity.backends.reference import Reference, make_reference
from parity.contract.settle import settled
from parity.core.envelope import Envelope
from parity.core.errors import ParityError
from parity.core.noise import FP16_FLOOR
from parity.core.results import Subject
from parity.core.tolerance import Tolerance
from parity.envelope.arithmetics import ARITHMETICS, DEFAULT, chosen
from parity.envelope.causes import with_causes
from parity.envelope.judgement import answers_of, judge
from parity.envelope.records import held
from parity.envelope.running import EVALUATOR, cost_of, open_variable
from parity.formats.feeding import fitting_batch

if TYPE_CHECKING:
    from conversion import Artifact, Classifier
    from parity.suite.images import ImageSet


def envelope_of(
    classifier: Classifier,
    artifact: Artifact,
    images: ImageSet,
    *,
    every: bool = False,
    tolerance: float | None = None,
    records: Sequence[Path] = (),
) -> Envelope:
    """Compute what hardware may answer to images with a file.

    every: in all of ARITHMETICS, not in those of DEFAULT. tolerance: the largest |dp| allowed between two of them;
    that of fp16 unless given. records: files of predictions that were made elsewhere, on devices, say.
    Bad input raises ParityError or ConversionError.
    """
    if not images.names:
        raise ParityError("no images were given; an envelope is of images")
    opened_artifact = settled(
        bind(artifact, classifier.task), classifier, lambda: make_reference(classifier, images)
    )
    opened = open_variable(opened_artifact)
    batch = fitting_batch(images.pixels, 1, opened_artifact)
    allowed = Tolerance(FP16_FLOOR, f"fp16: {FP16_FLOOR:g}") if tolerance is None else Tolerance(tolerance)
    variants = [opened.variant(one) for one in chosen(ARITHMETICS if every else DEFAULT)]
    answers = answers_of(opened, variants, images, classifier.labels, allowed, batch)
    cost = cost_of(opened.seconds)
    recorded = [one for file in records for one in held(answers, file)]
    return with_causes(judge(answers, cost, recorded), answers)


def with_envelope(subject: Subject, artifact: Artifact | None, reference: Reference) -> Subject:
    """Add what hardware may answer to what the evaluator answered; where it cannot be computed, say why."""
    if artifact is None or subject.backend != EVALUATOR or not subject.cases:
        return subject
    try:
        found = envelope_of(reference.classifier, artifact, reference.images)
    except (ParityError, ConversionError) as error:
        return replace(subject, remarks=(*subject.remarks, f"no envelope: {error}"))
    return replace(subject, envelope=found)
