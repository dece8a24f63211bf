"""The whole of a run; read this file first.

    Classifier + images --convert--> Artifact --Backend.predict--> Prediction --compare--> Comparison
        --> Run --> results.json --> terminal / HTML / Markdown / JUnit / exit code

`check` judges artefacts that exist, `run` converts a suite's models first. Nothing passes by not running: what
cannot run is skipped with its reason, what breaks is an error, and what proves nothing is inconclusive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.artifact import Artifact, open_artifact, under
from conversion.contract import ASSUMED, Contract
from conversion.guards.torch_defaults import with_torch_defaults
from parity.backends import backends_for, limited, record_names
from parity.backends.bound import bind
from parity.backends.reference import Reference, make_reference
from parity.backends.selection import backends_of, steps_of
from parity.contract.settle import settled
from parity.core.environment import environment
from parity.core.gate import UNCHANGED, GateChange
from parity.core.migration import Build, Migration, builds_of, migrations
from parity.core.results import Prediction, Run, Subject, summarise
from parity.core.tolerance import Tolerance
from parity.diagnosis.causes import Explainer
from parity.diagnosis.siblings import Sibling, with_siblings
from parity.entries import convert_entry, judging_of, load_entry
from parity.formats.feeding import check_batch, fitting_batch
from parity.judging import BY_DEFAULT, Judging, judge_with_prediction, open_backend
from parity.metrics.classification.gate import gated
from parity.suite.images import load_images
from parity.suite.known_issues import mark_known_issues
from parity.suite.suite import ALL, ModelEntry, Selection, Suite
from parity.suite.thumbnails import add_thumbnails, worst_thumbnails

if TYPE_CHECKING:
    from conversion import Model

# Called with what is being done and the share that is behind it, for a progress bar.
Progress = Callable[[str, float | None], None]
# A model is begun while others are judged as long as the weights of all of them have no more bytes than this.
_AHEAD = 256 << 20


def no_progress(message: str, share: float | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class RunOptions:
    """Say how a suite is run.

    artifacts: where converted models are kept between runs.
    tolerance_scale: multiplies every tolerance.
    explain: whether the causes of what fails are looked for.
    strict: whether a contract that nobody states is inconclusive.
    envelope: whether it is computed what hardware may answer, where the evaluator answers.
    """

    artifacts: Path = Path(".parity")
    tolerance_scale: float = 1.0
    explain: bool = True
    strict: bool = False
    envelope: bool = False


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
    contract: Contract = ASSUMED,
    strict: bool = False,
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
    contract: what the artefacts do themselves (conversion.contract.state); where nobody says it, it is measured.
    strict: a contract that was measured is inconclusive, and does not pass.
    Bad input raises ParityError or ConversionError.
    """
    listed = [artifacts] if isinstance(artifacts, Artifact | str | Path) else artifacts
    stated = [under(contract, a if isinstance(a, Artifact) else open_artifact(a)) for a in listed]
    allowed = Tolerance(tolerance) if isinstance(tolerance, int | float) else tolerance
    preprocessing = classifier.preprocessing
    if size is not None:
        preprocessing = replace(preprocessing, size=size, resize=size)
    reference = make_reference(classifier, load_images(images, preprocessing))
    opened = (settled(bind(artifact, classifier.task), classifier, lambda: reference) for artifact in stated)
    legs = (
        leg
        for artifact in opened
        for leg in judge_artifact(
            *(reference, artifact, backends),
            Judging(allowed, tolerance_scale, batch, tuple(records), strict),
            explain,
        )
    )
    with limited.time_limit(time_limit):
        subjects, thumbnails, pairs = _gather(_beside(legs, explain))
    return Run(environment(), subjects, (), summarise(subjects), thumbnails, migrations=pairs)


def run(
    suite: Suite,
    models: Sequence[str] = (),
    routes: Sequence[str] = (),
    backends: Sequence[str] = (),
    artifacts: Path = Path(".parity"),
    progress: Progress = no_progress,
    tolerance_scale: float = 1.0,
    explain: bool = True,
    time_limit: float | None = None,
    strict: bool = False,
    envelope: bool = False,
    gate: GateChange = UNCHANGED,
) -> Run:
    """Convert the models of a suite by their routes and compare every artefact; empty selections mean all.

    artifacts: where converted models are kept between runs. time_limit, strict: as `check` takes them.
    envelope: compute what hardware may answer too.
    gate: what of the suite's gate on accuracy is to be otherwise. What a suite's own images show nobody says, so
    that nothing can be concluded of accuracy; parity.stream runs on images that are labelled.
    A conversion that fails is a subject with the verdict `error`; a suite that asks for what does not exist raises
    ParityError.
    """
    selection = Selection(tuple(models), tuple(routes), tuple(backends))
    asked = gate.over(suite.gate)
    legs = run_legs(suite, selection, RunOptions(artifacts, tolerance_scale, explain, strict, envelope), progress)
    with limited.time_limit(time_limit):
        limited.expect(backends_of(suite, selection))
        subjects, thumbnails, pairs = _gather(legs)
    marked, stale = mark_known_issues(subjects, suite.known_issues, partial=selection.is_partial)
    return gated(Run(environment(), marked, stale, summarise(marked), thumbnails, migrations=pairs), asked)


@with_torch_defaults
def run_legs(
    suite: Suite,
    selection: Selection = ALL,
    options: RunOptions = RunOptions(),
    progress: Progress = no_progress,
) -> Iterator[Leg]:
    """Do the work of `run`, and give a model's legs as soon as they are judged, with artefact and answers."""
    entries = selection.entries(suite)
    begun: deque[tuple[int, Iterator[Leg]]] = deque()
    for index, entry in enumerate(entries):
        step = steps_of(progress, entry, selection, index / len(entries), 1 / len(entries))
        reference, legs = _begin_model(suite, entry, selection, options, step)
        begun.append((_bytes_of(reference), _beside(legs, options.explain)))
        while begun and sum(weights for weights, _ in begun) > _AHEAD:
            yield from begun.popleft()[1]
    for _, legs in begun:
        yield from legs


def _bytes_of(reference: Reference) -> int:
    return sum(
        tensor.nbytes for tensor in reference.model.module.state_dict().values() if hasattr(tensor, "nbytes")
    )


def _beside(legs: Iterable[Leg], explain: bool) -> Iterator[Leg]:
    """Let the legs of one model explain each other: what agrees says something of what does not."""
    if not explain:
        yield from legs
        return
    listed = list(legs)
    subjects = with_siblings([Sibling(leg.subject, leg.artifact) for leg in listed])
    yield from (replace(leg, subject=subject) for leg, subject in zip(listed, subjects, strict=True))


def _gather(legs: Iterable[Leg]) -> tuple[tuple[Subject, ...], dict[str, str], tuple[Migration, ...]]:
    """Keep of each leg what is reported; of a model's answers no more than its builds are compared by."""
    subjects: list[Subject] = []
    thumbnails: dict[str, str] = {}
    pairs: list[Migration] = []
    for _, of_model in groupby(legs, key=lambda leg: id(leg.reference)):
        builds: list[Build] = []
        for leg in of_model:
            pictures = worst_thumbnails(leg.subject, leg.reference.images.by_name)
            add_thumbnails(thumbnails, leg.subject.model, pictures)
            subjects.append(leg.subject)
            if leg.artifact and leg.prediction:
                builds += builds_of(leg.subject, leg.artifact.format, leg.prediction)
        pairs += migrations(leg.subject.model, leg.reference.prediction, builds, leg.reference.images.names)
    return tuple(subjects), thumbnails, tuple(pairs)


@with_torch_defaults
def judge_artifact(
    reference: Reference,
    artifact: Artifact,
    backends: Sequence[str] | None = None,
    judging: Judging = BY_DEFAULT,
    explain: bool = False,
    step: Callable[[str], None] = lambda message: None,
) -> Iterator[Leg]:
    """Run an artefact on its backends and compare each with the reference; explain: say why what fails does.

    What the backends are to answer begins at once where they have processes of their own; it is compared when the
    legs are asked for.
    """
    batch = fitting_batch(reference.images.pixels, check_batch(judging.batch), artifact)
    if batch > judging.batch:
        fixed = f"it takes {batch} images at once: those that are missing are repeats of the last"
        artifact = replace(artifact, remark="; ".join(filter(None, (artifact.remark, fixed))))
    judging = replace(judging, batch=batch)
    for name in backends or ():
        open_backend(name, judging.records, reference)
    able = backends_for(artifact.format, judging.records)
    chosen = [backend for backend in able if not backends or backend in backends]
    for backend in chosen if reference.images.names else ():
        if backend not in record_names(judging.records):
            limited.begin(backend, artifact, batch, reference.images.pixels)
    return _judge_begun(reference, artifact, chosen, judging, explain, step)


@with_torch_defaults
def _judge_begun(
    reference: Reference,
    artifact: Artifact,
    backends: Sequence[str],
    judging: Judging,
    explain: bool,
    step: Callable[[str], None],
) -> Iterator[Leg]:
    explainer = Explainer(explain)
    for backend in backends:
        step(f"{reference.model.name}: {artifact.route} on {backend}")
        subject, answers = judge_with_prediction(reference, artifact, backend, judging)
        yield Leg(explainer(subject, reference, artifact, answers, judging.batch), reference, artifact, answers)


def _begin_model(
    suite: Suite, entry: ModelEntry, selection: Selection, options: RunOptions, step: Callable[[str], None]
) -> tuple[Reference, Iterator[Leg]]:
    """Let PyTorch answer and convert by all routes; the legs are judged as they are asked for."""
    begun: list[Iterable[Leg]] = []
    step(f"{entry.name}: PyTorch")
    reference = load_entry(suite, entry)
    for route in selection.routes_of(entry):
        step(f"{entry.name}: converting by {route}")
        converted = convert_entry(reference.classifier, entry, route, options.artifacts, lambda: reference)
        if isinstance(converted, Subject):
            begun.append([Leg(converted, reference)])
        else:
            judging = replace(judging_of(entry, route, options.tolerance_scale), strict=options.strict)
            legs = judge_artifact(reference, converted, selection.backends, judging, options.explain, step)
            begun.append(_with_envelopes(legs, reference) if options.envelope else legs)
    return reference, chain.from_iterable(begun)


def _with_envelopes(legs: Iterable[Leg], reference: Reference) -> Iterator[Leg]:
    # Here, because it imports PyTorch, which a run begins to load beside the process of the artefacts.
    from parity.envelope.envelope import with_envelope

    for leg in legs:
        yield replace(leg, subject=with_envelope(leg.subject, leg.artifact, reference))
