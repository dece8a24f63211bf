"""`parity explain`: one artefact that somebody converted, one backend or one record, and why it does not agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends import RECORDED
from parity.backends.outputs import settle_output
from parity.diagnosis.explainer import Explainer
from parity.environment import environment
from parity.errors import ParityError
from parity.facts import artifact_digest
from parity.images import load_images
from parity.pipeline import judge_prediction, judge_with_prediction
from parity.predicting import choose_backend
from parity.records import read_records
from parity.reference import Reference, make_reference
from parity.results import Prediction, Run, Subject, summarise
from parity.tolerance import Tolerance

if TYPE_CHECKING:
    from conversion import Artifact, Classifier


def explain_artifact(
    classifier: Classifier,
    artifact: Artifact,
    images: Any,
    backend: str | None = None,
    record: Path | None = None,
    tolerance: float | None = None,
) -> Run:
    """Judge an artefact on one backend, or its record, and look for the causes where it fails.

    backend: the first that runs here, unless named. record: predictions made elsewhere, found by the images' names:
        that they were made from other pixels may be the cause. Bad input raises ParityError or ConversionError.
    """
    reference = make_reference(classifier, load_images(images, classifier.preprocessing))
    artifact = settle_output(artifact, len(classifier.labels))
    given = None if tolerance is None else Tolerance(tolerance)
    if record is None:
        name = choose_backend(artifact, backend)
        subject, answers = judge_with_prediction(reference, artifact, name, given)
    else:
        answers = recorded_by_name(record, artifact, reference)
        subject = judge_prediction(reference, artifact, RECORDED, answers, given)
    subjects: tuple[Subject, ...] = (Explainer(thorough=True)(subject, reference, artifact, answers),)
    return Run(environment(), subjects, summary=summarise(subjects))


def recorded_by_name(file: Path, artifact: Artifact, reference: Reference) -> Prediction:
    """Read what was recorded of an artefact for the reference's images, by name, whatever the pixels."""
    digest, records = artifact_digest(artifact), read_records(file).records
    found = [r for r in records if r.artifact.sha256 == digest]
    found += [r for r in records if r.artifact.name == artifact.path.name]
    if not found:
        has = ", ".join(dict.fromkeys(r.artifact.name for r in records))
        raise ParityError(
            f"{file} has no record of {artifact.path.name} (it has {has}); record it with parity record"
        )
    by_name = {prediction.image: prediction for prediction in found[0].predictions}
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
    top1 = named if len(named) == len(answers) else None
    return Prediction(np.array(rows, np.float64), labels, top1, found[0].backend or "an unnamed runtime")


def _row(answer: Any, labels: Sequence[str] | None) -> list[float]:
    values = [answer[label] for label in labels] if labels else list(answer)
    return [float("nan") if value is None else float(value) for value in values]
