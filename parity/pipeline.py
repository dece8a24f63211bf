"""The whole of a run; read this file first.

    Classifier + images --convert--> Artifact --Backend.predict--> Prediction --compare--> Comparison
        --> Run --> results.json --> terminal / HTML / Markdown / JUnit / exit code

`check` judges artefacts that exist, `run` converts a suite's models first. Nothing passes by not running: what
cannot run is skipped with its reason, what breaks is an error, and what proves nothing is inconclusive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conversion.artifact import Artifact, open_artifact
from conversion.errors import ConversionError
from conversion.guards.torch_defaults import with_torch_defaults
from conversion.guards.user_code import user_code
from conversion.routes import ROUTES, convert
from parity.backends import (
    Backend,
    CannotRunError,
    OutputNotFoundError,
    backends_for,
    find_backend,
    limited,
    record_names,
)
from parity.backends.bound import bind
from parity.backends.outputs import mapping_told, shape_told
from parity.backends.recorded import Recorded
from parity.backends.reference import Reference, make_reference
from parity.backends.vision import vision_told
from parity.core.compare import compare, with_exact_sums
from parity.core.environment import environment
from parity.core.errors import ParityError
from parity.core.measuring import outputs_of
from parity.core.results import Comparison, Prediction, Run, Subject, summarise
from parity.core.tolerance import Tolerance, scaled, too_costly
from parity.diagnosis.causes import Explainer
from parity.diagnosis.chain import guilty_hop
from parity.diagnosis.siblings import Sibling, with_siblings
from parity.formats.feeding import check_batch, no_larger_than
from parity.metrics.classification.labels import tell_labels_apart
from parity.suite.images import NOISE, are_noise, load_images, pixels_digest
from parity.suite.known_issues import mark_known_issues
from parity.suite.models import load_classifier
from parity.suite.suite import ModelEntry, Suite
from parity.suite.thumbnails import add_thumbnails, worst_thumbnails

if TYPE_CHECKING:
    from conversion import Classifier, Model

LOG = logging.getLogger(__name__)

Result = TypeVar("Result")

# Called with what is being done and the share that is behind it, for a progress bar.
Progress = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Leg:
    """Hold one model by one route on one backend: what was judged, and what it was judged by.

    artifact: None where the conversion failed; the subject's backend is then `-`, for there is one such leg.
    prediction: the backend's answers, where it gave any.
    """

    subject: Subject
    reference: Reference
    artifact: Artifact | None = None
    prediction: Prediction | None = None


@with_torch_defaults
def check(
    classifier: Model,
    artifacts: Sequence[Artifact | str | Path] | Artifact | str | Path,
    images: Any,
    backends: Sequence[str] | None = None,
    tolerance: Tolerance | float | None = None,
    tolerance_scale: float = 1.0,
    batch: int = 1,
    size: tuple[int, int] | None = None,
    records: Sequence[Path] = (),
    explain: bool = True,
    time_limit: float | None = None,
) -> Run:
    """Compare artefacts with the model that they were made from, on every backend that runs their format.

    classifier: a Classifier, or a Model with a task of its own.
    images: paths, directories, globs or PIL images. backends: names; None stands for all. tolerance: the largest
    distance allowed, of probabilities |dp|; None chooses by format and precision. tolerance_scale: multiplies it.
    batch: how many images the artefacts are given at once; PyTorch gets them one by one all the same.
    size: (height, width) that images are stretched to, for artefacts that take others than the classifier's.
    records: files of predictions that were made elsewhere, each judged as a backend of its own.
    explain: look for the causes of what fails. time_limit: seconds that an artefact may take on a backend, which
    then runs in a process of its own; None: in this process, as long as it takes.
    Bad input raises ParityError or ConversionError.
    """
    listed = [artifacts] if isinstance(artifacts, Artifact | str | Path) else artifacts
    opened = [bind(a if isinstance(a, Artifact) else open_artifact(a), classifier.task) for a in listed]
    given = Tolerance(tolerance) if isinstance(tolerance, int | float) else tolerance
    preprocessing = classifier.preprocessing
    if size is not None:
        preprocessing = replace(preprocessing, size=size, resize=size)
    reference = make_reference(classifier, load_images(images, preprocessing))
    legs = (
        leg
        for artifact in opened
        for leg in judge_artifact(
            *(reference, artifact, backends, given),
            tolerance_scale=tolerance_scale,
            batch=batch,
            records=records,
            explain=explain,
        )
    )
    with limited.time_limit(time_limit):
        subjects, thumbnails = _gather(_beside(legs, explain))
    return Run(environment(), subjects, summary=summarise(subjects), thumbnails=thumbnails)


def run(
    suite: Suite,
    models: Sequence[str] = (),
    routes: Sequence[str] = (),
    backends: Sequence[str] = (),
    artifacts: Path = Path(".parity"),
    progress: Progress = lambda message, share: None,
    tolerance_scale: float = 1.0,
    explain: bool = True,
    time_limit: float | None = None,
) -> Run:
    """Convert the models of a suite by their routes and compare every artefact; empty selections mean all.

    artifacts: where converted models are kept between runs. time_limit: as `check` takes it. A conversion that
    fails is a subject with the verdict `error`; a suite that asks for what does not exist raises ParityError.
    """
    legs = run_legs(suite, models, routes, backends, artifacts, progress, tolerance_scale, explain)
    with limited.time_limit(time_limit):
        subjects, thumbnails = _gather(legs)
    partial = bool(models or routes or backends)
    marked, stale = mark_known_issues(subjects, suite.known_issues, partial=partial)
    return Run(environment(), marked, stale, summarise(marked), thumbnails)


@with_torch_defaults
def run_legs(
    suite: Suite,
    models: Sequence[str] = (),
    routes: Sequence[str] = (),
    backends: Sequence[str] = (),
    artifacts: Path = Path(".parity"),
    progress: Progress = lambda message, share: None,
    tolerance_scale: float = 1.0,
    explain: bool = True,
) -> Iterator[Leg]:
    """Do the work of `run`, and give a model's legs as soon as they are judged, with artefact and answers."""
    entries = [entry for entry in suite.models if not models or entry.name in models]
    if len(entries) < len(set(models)):
        unknown = sorted(set(models) - {entry.name for entry in suite.models})
        raise ParityError(
            f"{suite.path}: no model `{unknown[0]}` (models: {', '.join(e.name for e in suite.models)})"
        )
    for index, entry in enumerate(entries):
        step = _steps(progress, entry, routes, index / len(entries), 1 / len(entries))
        legs = _run_model(suite, entry, routes, backends or None, artifacts, tolerance_scale, step, explain)
        yield from _beside(legs, explain)


def _beside(legs: Iterable[Leg], explain: bool) -> Iterator[Leg]:
    """Let the legs of one model explain each other: what agrees says something of what does not."""
    if not explain:
        yield from legs
        return
    listed = list(legs)
    subjects = with_siblings([Sibling(leg.subject, leg.artifact) for leg in listed])
    yield from (replace(leg, subject=subject) for leg, subject in zip(listed, subjects, strict=True))


def _gather(legs: Iterable[Leg]) -> tuple[tuple[Subject, ...], dict[str, str]]:
    """Keep of each leg what is reported; its answers and its pixels go before the next is run."""
    subjects: list[Subject] = []
    thumbnails: dict[str, str] = {}
    for leg in legs:
        pictures = worst_thumbnails(leg.subject, leg.reference.images.by_name)
        add_thumbnails(thumbnails, leg.subject.model, pictures)
        subjects.append(leg.subject)
    return tuple(subjects), thumbnails


@with_torch_defaults
def judge_artifact(
    reference: Reference,
    artifact: Artifact,
    backends: Sequence[str] | None = None,
    tolerance: Tolerance | None = None,
    step: Callable[[str], None] = lambda message: None,
    tolerance_scale: float = 1.0,
    batch: int = 1,
    records: Sequence[Path] = (),
    explain: bool = False,
) -> Iterator[Leg]:
    """Run an artefact on its backends and compare each with the reference; explain: say why what fails does."""
    explainer = Explainer(explain)
    batch = no_larger_than(reference.images.pixels, check_batch(batch), artifact)
    for name in backends or ():
        _open_backend(name, records, reference)
    for backend in backends_for(artifact.format, records):
        if not backends or backend in backends:
            step(f"{reference.model.name}: {artifact.route} on {backend}")
            subject, answers = judge_with_prediction(
                reference, artifact, backend, tolerance, tolerance_scale, batch, records
            )
            yield Leg(explainer(subject, reference, artifact, answers, batch), reference, artifact, answers)


def judge(
    reference: Reference,
    artifact: Artifact,
    backend: str,
    tolerance: Tolerance | None = None,
    tolerance_scale: float = 1.0,
    batch: int = 1,
) -> Subject:
    """Run an artefact on one backend and compare it with the reference."""
    return judge_with_prediction(reference, artifact, backend, tolerance, tolerance_scale, batch)[0]


@with_torch_defaults
def judge_with_prediction(
    reference: Reference,
    artifact: Artifact,
    backend: str,
    tolerance: Tolerance | None = None,
    tolerance_scale: float = 1.0,
    batch: int = 1,
    records: Sequence[Path] = (),
) -> tuple[Subject, Prediction | None]:
    """Judge as `judge` does, and give the backend's answers too, where it gave any."""
    subject = _unjudged(reference, artifact, backend)
    module = _open_backend(backend, records, reference)
    if reason := module.why_not():
        return replace(subject, reason=reason), None
    if not reference.images.names:
        none = "no images were compared; give at least one"
        return replace(subject, verdict="inconclusive", reason=none), None
    candidate = attempt(subject, lambda: module.load(artifact, batch)(reference.images.pixels))
    if isinstance(candidate, Subject):
        return candidate, None
    return judge_prediction(reference, artifact, backend, candidate, tolerance, tolerance_scale), candidate


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
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return replace(subject, verdict="error", reason=told)


def judge_prediction(
    reference: Reference,
    artifact: Artifact,
    backend: str,
    candidate: Prediction,
    tolerance: Tolerance | None = None,
    tolerance_scale: float = 1.0,
) -> Subject:
    """Compare answers that an artefact gave on a backend with the reference, wherever it ran."""
    # The strictest first: what passes it needs no measuring of what rounding costs.
    for allowed in [tolerance] if tolerance else reference.tolerances(artifact):
        allowed = scaled(allowed, tolerance_scale)
        comparison = compare(reference.prediction, candidate, allowed, reference.images.names)
        if comparison.verdict != "fail":
            break
    comparison, lost = with_exact_sums(reference.prediction, candidate, allowed, reference.images.names, comparison)
    subject = _unjudged(reference, artifact, backend)
    strange = shape_told(artifact, candidate.answer_shape)
    subject = replace(
        subject,
        tolerance_reason=allowed.reason,
        recorded_by=candidate.source,
        remarks=(*subject.remarks, *filter(None, (strange, lost))),
    )
    if are_noise(reference.images.pixels):
        # No tolerance makes a proof of it, when it is judged again by another either.
        comparison = replace(comparison, required_tolerance=None)
        if comparison.verdict == "pass":
            comparison = replace(comparison, verdict="inconclusive", reason=NOISE)
    judged = with_comparison(subject, comparison)
    if comparison.verdict == "fail":
        costly = too_costly(artifact.precision, allowed, comparison.max_abs_diff)
        judged = replace(judged, reason="; ".join(filter(None, (judged.reason, costly))))
        judged = replace(judged, guilty_hop=guilty_hop(reference, artifact, backend, comparison))
        # Core ML's dictionary binds a number to its name; a list of names beside an array may be in a wrong order.
        if comparison.cases and candidate.labels and candidate.top1 is None:
            apart = tell_labels_apart("the file", candidate.labels, reference.model.labels)
            judged = replace(judged, remarks=(*judged.remarks, *([apart] if apart else [])))
    return judged


def _unjudged(reference: Reference, artifact: Artifact, backend: str) -> Subject:
    return Subject(
        model=reference.model.name,
        route=artifact.route,
        artifact=artifact.path.name,
        backend=backend,
        precision=artifact.precision,
        verdict="skipped",
        remarks=remarks_on(artifact),
        outputs=outputs_of(reference.prediction.measured),
    )


def remarks_on(artifact: Artifact) -> tuple[str, ...]:
    """Say what strikes about a file before it is run: which output was read, what Vision misses."""
    vision = "" if artifact.bound else vision_told(artifact)  # Vision's own kind of answer is a classifier's
    return tuple(filter(None, (artifact.remark, mapping_told(artifact), vision)))


def _open_backend(name: str, records: Sequence[Path], reference: Reference) -> Backend:
    file = record_names(records).get(name)
    if file is None:
        return find_backend(name)
    named = zip(reference.images.names, reference.images.pixels, strict=True)
    return Recorded(file, reference.model.labels, {pixels_digest(pixels): name for name, pixels in named})


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


def _steps(
    progress: Progress, entry: ModelEntry, routes: Sequence[str], start: float, share: float
) -> Callable[[str], None]:
    """Count one model's steps: PyTorch, and for each route its conversion and its backends."""
    chosen = [route for route in entry.routes if not routes or route in routes]
    total = 1 + sum(1 + len(backends_for(ROUTES[route].format, entry.records)) for route in chosen)
    done = 0

    def step(message: str) -> None:
        nonlocal done
        progress(message, start + share * min(done / total, 1.0))
        done += 1

    return step


@with_torch_defaults
def load_entry(suite: Suite, entry: ModelEntry) -> Reference:
    """Load a model of the suite and its images, and let PyTorch answer."""
    with user_code(entry.factory):
        classifier = load_classifier(entry.factory, entry.arguments, entry.name, suite.directory)
        return make_reference(classifier, load_images(entry.images, classifier.preprocessing, suite.directory))


def convert_entry(classifier: Classifier, entry: ModelEntry, route: str, directory: Path) -> Artifact | Subject:
    """Convert a model of the suite as its entry says; a conversion that fails is a subject that says why."""
    try:
        with user_code(classifier.name):
            return convert(classifier, route, directory, entry.dynamic, entry.bounds, entry.sizes)
    except ConversionError as error:
        return Subject(entry.name, route, "", "-", ROUTES[route].precision, "error", str(error))


def _run_model(
    suite: Suite,
    entry: ModelEntry,
    routes: Sequence[str],
    backends: Sequence[str] | None,
    directory: Path,
    scale: float,
    step: Callable[[str], None],
    explain: bool,
) -> Iterator[Leg]:
    step(f"{entry.name}: PyTorch")
    reference = load_entry(suite, entry)
    for route in (r for r in entry.routes if not routes or r in routes):
        step(f"{entry.name}: converting by {route}")
        made = convert_entry(reference.classifier, entry, route, directory)
        if isinstance(made, Subject):
            yield Leg(made, reference)
        else:
            given = entry.tolerance.get(route)
            yield from judge_artifact(
                reference, made, backends, given, step, scale, records=entry.records, explain=explain
            )
