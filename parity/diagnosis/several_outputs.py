"""Models of several outputs: causes are looked for through each output that fails, as if it were the only one.

Subject --failing_views--> Views --explain each--> Subjects --merged--> Subject
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from conversion.classifier import Model
from conversion.task import Task
from parity.backends.pytorch import named
from parity.backends.reference import Reference
from parity.core.compare import compare
from parity.core.results import Diagnosis, Prediction, Subject
from parity.core.tolerance import Tolerance

if TYPE_CHECKING:
    from conversion import Artifact

NONE_FAILS = "no output fails by itself, and causes are looked for through one at a time"


@dataclass(frozen=True)
class View:
    """Hold one output of a leg as a leg of its own: the model without its other outputs, and what was answered."""

    output: str
    subject: Subject
    reference: Reference
    artifact: Artifact
    prediction: Prediction | None


def failing_views(
    subject: Subject, reference: Reference, artifact: Artifact, prediction: Prediction | None
) -> list[View]:
    """View a failing leg through each output that fails; where there are no answers, through the first."""
    places = range(len(reference.prediction.measured))
    views = [_view(place, subject, reference, artifact, prediction) for place in places]
    return [view for view in views if view.subject.verdict == "fail"] if prediction else views[:1]


def _view(
    place: int, subject: Subject, reference: Reference, artifact: Artifact, prediction: Prediction | None
) -> View:
    spec, whole = reference.prediction.measured[place], reference.model
    task = Task((spec,), partial(_one_of, whole.task.head, place))
    model = Model(whole.name, whole.module, whole.preprocessing, task)
    seen = Reference(model, reference.images, named(task, [reference.prediction.outputs[spec.name]]))
    # Labels in the file are those of the first output that has any, and say nothing of the others.
    provenance = artifact.provenance and replace(artifact.provenance, labels=())
    bound = tuple(pair for pair in artifact.bound if pair[0] == spec.name)
    own = replace(artifact, bound=bound, provenance=provenance)
    if prediction is None or subject.tolerance is None:
        return View(spec.name, subject, seen, own, None)
    outputs = {name: rows for name, rows in prediction.outputs.items() if name == spec.name}
    # The names of labels that it has are those of one output too.
    answers = replace(prediction.answering(outputs), labels=None, top1=None)
    comparison = compare(seen.prediction, answers, Tolerance(subject.tolerance), reference.images.names)
    judged = replace(
        subject,
        verdict=comparison.verdict,
        reason=comparison.reason,
        top1_agreement=comparison.top1_agreement,
        max_abs_diff=comparison.max_abs_diff,
        required_tolerance=comparison.required_tolerance,
        cases=comparison.cases,
        outputs=tuple(one for one in subject.outputs if one.name == spec.name),
    )
    return View(spec.name, judged, seen, own, answers)


def _one_of(head: Any, place: int, answer: Any) -> Any:
    return head(answer)[place]


def merged(subject: Subject, views: Sequence[View], explained: Sequence[Subject]) -> Subject:
    """Put what was found through single outputs into the subject, each cause once, with its outputs."""
    names = [view.output for view in views]
    found: dict[tuple[str, str], list[tuple[str, Diagnosis]]] = {}
    for name, one in zip(names, explained, strict=True):
        for diagnosis in one.diagnoses:
            found.setdefault((diagnosis.fault, diagnosis.message), []).append((name, diagnosis))
    everywhere = names if len(names) == len(subject.outputs) else []
    diagnoses = [_told(alike, everywhere) for alike in found.values()]
    places = [one.first_divergence for one in explained if one.first_divergence]
    pairs = list(zip(names, explained, strict=True))
    return replace(
        subject,
        diagnoses=tuple(sorted(diagnoses, key=lambda diagnosis: not diagnosis.confirmed)),
        first_divergence=min(places, key=lambda place: place.index, default=None),
        hops=tuple(f"output `{name}`: {hop}" for name, one in pairs for hop in one.hops),
        checks=tuple(
            replace(check, told=f"output `{name}`: {check.told}") for name, one in pairs for check in one.checks
        ),
        attempts=tuple(attempt for one in explained for attempt in one.attempts),
        unexplained="; ".join(f"output `{name}`: {one.unexplained}" for name, one in pairs if one.unexplained),
    )


def _told(alike: Sequence[tuple[str, Diagnosis]], everywhere: Sequence[str]) -> Diagnosis:
    """Say once what was found through some outputs; confirmed where it was through one of them."""
    confirmed = [pair for pair in alike if pair[1].confirmed] or list(alike)
    names, diagnosis = [name for name, _ in confirmed], confirmed[0][1]
    if names == list(everywhere):
        return diagnosis
    which = f"output{'s' if len(names) > 1 else ''} {' and '.join(f'`{name}`' for name in names)}"
    return replace(diagnosis, message=f"Through {which}: {diagnosis.message}")
