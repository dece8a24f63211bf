"""`parity explain`: one artefact that somebody converted, one backend or one record, and why it does not agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.guards.torch_defaults import with_torch_defaults
from parity.artifacts.answers import choose_backend
from parity.backends import RECORDED, backends_for, find_backend
from parity.backends.bound import bind
from parity.backends.recorded import check_one_output, of_task, source_of
from parity.backends.reference import Reference, make_reference
from parity.contract.settle import settled
from parity.core.environment import environment
from parity.core.errors import ParityError
from parity.core.results import Prediction, Run, Subject, summarise
from parity.core.tolerance import Tolerance
from parity.diagnosis.causes import Explainer
from parity.diagnosis.failures import Broken
from parity.diagnosis.siblings import Sibling, with_siblings
from parity.formats.facts import artifact_digest
from parity.judging import Judging, judge_prediction, judge_with_prediction
from parity.suite.images import ImageSet, load_images, pixels_digest
from parity.suite.records import Record, read_records

if TYPE_CHECKING:
    from conversion import Artifact, Classifier

# What judging and the search may take together, so that a minute is enough with the start and the hops behind it;
# and what the search has at least, where judging took long.
SECONDS, LEAST = 45.0, 30.0


@dataclass(frozen=True)
class Explained:
    """Hold a run with its causes.

    broken: parts of the search for them that broke.
    """

    run: Run
    broken: tuple[Broken, ...] = ()


@with_torch_defaults
def look_into(
    classifier: Classifier,
    artifact: Artifact,
    images: Any,
    backend: str | None = None,
    record: Path | None = None,
    tolerance: float | None = None,
) -> Explained:
    """Judge an artefact on one backend, or its record, and look for the causes where it fails.

    images: an ImageSet, or what load_images takes. backend: the first that runs here, unless named.
    record: predictions made elsewhere, found by the images' names:
        that they were made from other pixels may be the cause. Bad input raises ParityError or ConversionError.
    """
    begun = monotonic()
    loaded = images if isinstance(images, ImageSet) else load_images(images, classifier.preprocessing)
    reference = make_reference(classifier, loaded)
    artifact = bind(artifact, classifier.task)
    artifact = settled(artifact, classifier, lambda: reference)
    judging = Judging(None if tolerance is None else Tolerance(tolerance))
    explainer = Explainer(thorough=True)

    def look(subject: Subject, answers: Prediction | None) -> Subject:
        explainer.seconds = max(SECONDS - (monotonic() - begun), LEAST)
        return explainer(subject, reference, artifact, answers)

    if record is None:
        name = choose_backend(artifact, backend)
        subject, answers = judge_with_prediction(reference, artifact, name, judging)
        alone = (look(subject, answers),)
        return Explained(Run(environment(), alone, summary=summarise(alone)), tuple(explainer.broken))
    recorded = []
    for answers in recorded_answers(record, artifact, reference):
        subject = judge_prediction(reference, artifact, RECORDED, answers, judging)
        recorded.append(Sibling(look(subject, answers), artifact, answers.same_pixels))
    # What the same file answers here, on a Mac by the unit that computes what the file declares.
    able = [name for name in backends_for(artifact.format) if find_backend(name).why_not() is None]
    beside = [Sibling(judge_with_prediction(reference, artifact, name, judging)[0], artifact) for name in able]
    subjects = with_siblings([*recorded, *beside])[: len(recorded)]
    return Explained(Run(environment(), subjects, summary=summarise(subjects)), tuple(explainer.broken))


def recorded_answers(file: Path, artifact: Artifact, reference: Reference) -> tuple[Prediction, ...]:
    """Read all that was recorded of an artefact for the reference's images, by name, whatever the pixels."""
    check_one_output(file, reference.prediction.specs)
    digest, content = artifact_digest(artifact), read_records(file)
    matching = [r for r in content.records if r.artifact.sha256 == digest]
    matching = matching or [r for r in content.records if r.artifact.name == artifact.path.name][:1]
    if not matching:
        has = ", ".join(dict.fromkeys(r.artifact.name for r in content.records))
        raise ParityError(
            f"{file} has no record of {artifact.path.name} (it has {has}); record it with parity record"
        )
    platform = content.environment.platform
    return tuple(
        replace(_answers(file, record, platform, reference), same_file=record.artifact.sha256 == digest)
        for record in matching
    )


def _answers(file: Path, record: Record, platform: str, reference: Reference) -> Prediction:
    by_name = {prediction.image: prediction for prediction in record.predictions}
    absent = [name for name in reference.images.names if name not in by_name]
    if absent:
        has = ", ".join(list(by_name)[:3])
        raise ParityError(
            f"{file} has no answer to {absent[0]} (it has {has}, ...); give the images it was made from"
        )
    answers = [by_name[name] for name in reference.images.names]
    first = answers[0].probabilities
    labels = tuple(first) if isinstance(first, dict) else None
    rows = [_row(answer.probabilities, labels) for answer in answers]
    named = tuple(answer.label for answer in answers if answer.label is not None)
    shown = [answer.pixels for answer in answers]
    recorded = Prediction(
        np.array(rows, np.float64),
        labels,
        named if len(named) == len(answers) else None,
        source_of(record, platform),
        same_pixels=shown == [pixels_digest(pixels) for pixels in reference.images.pixels],
    )
    return of_task(recorded, reference.prediction.specs)


def _row(answer: Any, labels: Sequence[str] | None) -> list[float]:
    values = [answer[label] for label in labels] if labels else list(answer)
    return [float("nan") if value is None else float(value) for value in values]
