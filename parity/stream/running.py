"""One shard of a streamed run, from the job to its cases file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from conversion.classifier import Classifier, Preprocessing
from conversion.guards.torch_defaults import with_torch_defaults
from conversion.provenance import code_hash, weights_hash
from conversion.task import PROBABILITIES, OutputSpec
from parity.backends import Predict
from parity.backends.limited import time_limit
from parity.backends.selection import check_selection
from parity.core.environment import environment, operating_system
from parity.core.errors import ParityError
from parity.core.measuring import aligned, exact_numbers, measured_cases
from parity.core.metric import metric_of
from parity.core.results import FAILING_CASES, Case, Prediction
from parity.core.variety import Bounds
from parity.formats.feeding import check_batch
from parity.metrics.classification.variety import ClassVariety
from parity.stream.decoding import Batches, Decoded, decode, same_pixels, start_workers_early
from parity.stream.identity import kept_cases
from parity.stream.job import Job
from parity.stream.journal import open_journal
from parity.stream.legs import LiveModel, live_model, load_models
from parity.stream.lines import Header, HeadLeg, HeadModel, Line, PackedVariety, pack
from parity.stream.listing import ImageList, list_images, shown
from parity.stream.stamps import check_unchanged, keep_stamps
from parity.stream.truth import Truth, find_truth
from parity.suite.suite import Selection, read_suite

LOG = logging.getLogger(__name__)

# Called with what is being done, how many images are behind it, and how many there are, where that is known.
Progress = Callable[[str, int, int | None], None]
_OTHERS = "another number of answers than images"


@dataclass(frozen=True)
class Shardwork:
    """Hold what a shard needs in memory: the images, what they show, and everything loaded."""

    images: ImageList
    truth: Truth
    models: tuple[LiveModel, ...]
    header: Header


@dataclass(frozen=True)
class Done:
    """Say where the cases are; remarks: what the user should know."""

    cases: Path
    remarks: tuple[str, ...] = ()


@with_torch_defaults
def run_shard(job: Job, progress: Progress = lambda message, done, total: None) -> Done:
    """Compare the images of a shard and write its journal, from where an earlier run stopped."""
    with time_limit(job.time_limit):
        return write_cases(job, prepare(job, progress), progress)


def write_cases(job: Job, work: Shardwork, progress: Progress = lambda message, done, total: None) -> Done:
    """Write the journal of a job that was prepared."""
    header = work.header
    path = kept_cases(job, header)
    remarks = [work.truth.remark] if work.truth.remark else []
    remarks += [remark for model in work.models for remark in model.remarks]

    def places_of(done: int) -> list[int]:
        return [place for number in header.batches[:done] for place in header.places(number)]

    def check(done: int, contents: bytes) -> None:
        progress("looking for images that changed", 0, None)
        check_unchanged(path, job.artifacts, work.images, places_of(done), contents)

    with ExitStack() as stack:
        journal = stack.enter_context(open_journal(path, header, job.fresh, check))
        stamped = (places_of(journal.done), journal.contents)
        keep = stack.enter_context(keep_stamps(path, job.artifacts, work.images, *stamped))
        left = header.batches[journal.done :]
        if journal.done:
            resumed = f"{journal.done} of {len(header.batches)} batches were done before"
            remarks.append(f"{path}: {resumed}; --fresh starts anew")
        total = sum(len(header.places(number)) for number in header.batches)
        behind = total - sum(len(header.places(number)) for number in left)
        progress("comparing", behind, total)
        preprocessings = _preprocessings(work.models)
        batches = Batches(work.images, header.batch, left)
        for number, decoded in zip(left, decode(batches, preprocessings, job.workers), strict=True):
            journal.append(lines_of(work, preprocessings, number, decoded))
            keep(header.places(number), decoded.contents)
            behind += len(decoded.reasons)
            progress("comparing", behind, total)
    return Done(path, tuple(remarks))


def prepare(job: Job, progress: Progress = lambda message, done, total: None) -> Shardwork:
    """Find the images, load the models, and settle everything that the header says."""
    import torch

    check_batch(job.batch)
    start_workers_early(job.workers)
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    suite = read_suite(job.suite)
    gate = job.gate.over(suite.gate)
    check_selection(suite, Selection(tuple(job.models), tuple(job.routes), tuple(job.backends)))
    progress("looking for images", 0, None)
    images = list_images(job.images)
    entries = [entry for entry in suite.models if not job.models or entry.name in job.models]
    classifiers = load_models(suite, entries)
    codes = {name: code_hash(classifier) for name, classifier in classifiers.items()}
    truth = _truth(job, images, classifiers)

    def step(message: str) -> None:
        progress(message, 0, None)

    models = tuple(live_model(job, entry, classifiers[entry.name], images, step) for entry in entries)
    header = Header(
        # Shards of one run come from machines that differ in the build of their kernels.
        environment=replace(environment(), platform=operating_system()),
        models=tuple(
            HeadModel(
                model.classifier.name,
                weights_hash(model.classifier),
                tuple(model.classifier.labels),
                model.at_once,
                model.classifier.name in truth.models,
                codes[model.classifier.name],
                json.loads(json.dumps(asdict(model.classifier.preprocessing))),
                model.classifier.task.outputs[0].name,
                model.classifier.task.outputs[0].kind,
            )
            for model in models
        ),
        legs=tuple(leg.head for model in models for leg in model.legs),
        images=len(images),
        digest=images.digest,
        truth=truth.source,
        batch=job.batch,
        threads=torch.get_num_threads(),
        shard=job.shard,
        known_issues=suite.known_issues,
        partial=bool(job.models or job.routes or job.backends),
        truth_digest=truth.digest,
        gate=gate,
    )
    return Shardwork(images, truth, models, header)


def _truth(job: Job, images: ImageList, classifiers: Mapping[str, Classifier]) -> Truth:
    """Find out what the images show, for the models that give an image one label."""
    labels = {name: c.labels for name, c in classifiers.items() if c.task.outputs[0].kind == PROBABILITIES}
    if job.labels and not labels:
        raise ParityError(
            f"{job.labels}: gives an image one label, and the labels of {', '.join(classifiers)} are judged apart "
            "(sigmoid), so accuracy is not measured; leave --labels out"
        )
    return find_truth(images, job.labels, labels)


def lines_of(work: Shardwork, preprocessings: Sequence[Preprocessing], number: int, decoded: Decoded) -> list[Line]:
    """Run a batch through every model and leg, and write what came of each image."""
    places = work.header.places(number)
    names = [shown(work.images[place]) for place in places]
    truths = [work.truth.of(place) for place in places]
    read = [row for row, reason in enumerate(decoded.reasons) if not reason]
    cases: list[list[Case]] = [[] for _ in read]
    varieties: list[PackedVariety] = []
    spots: list[PackedVariety] = []
    # All spot checks see the same images.
    check = next((leg for leg in work.header.running if leg.spots), None)
    total = work.header.images
    checked = [row for row, at in enumerate(read) if check is not None and check.sees(places[at], total)]
    for model in work.models if read else ():
        pixels = decoded.pixels[preprocessings.index(same_pixels(model.classifier.preprocessing))]
        reference = model.predict(pixels)
        varieties.append(_variety(reference))
        if checked:
            spots.append(_variety(reference.of(checked)))
        known = model.classifier.name in work.truth.models
        shown_truths = [truths[row] if known else None for row in read]
        for leg in model.legs:
            seen = [row for row, at in enumerate(read) if leg.head.sees(places[at], total)]
            if leg.predict is not None and seen:
                asked, expected = pixels[seen], reference.of(seen)
                compared: Sequence[Case] = _compare(
                    leg.head,
                    leg.predict,
                    asked,
                    expected,
                    [names[read[row]] for row in seen],
                    [shown_truths[row] for row in seen],
                )
                if leg.again is not None:
                    compared = leg.again(compared, asked, expected.outputs[expected.measured[0].name])
                for row, case in zip(seen, compared, strict=True):
                    cases[row].append(case)
    cases_of_rows = iter(cases)
    lines = [
        Line(place, name, truth, reason, () if reason else tuple(next(cases_of_rows)), content=content.hex())
        for place, name, truth, reason, content in zip(
            places, names, truths, decoded.reasons, decoded.contents, strict=True
        )
    ]
    return [*lines[:-1], replace(lines[-1], varieties=tuple(varieties), spots=tuple(spots))]


def _variety(reference: Prediction) -> PackedVariety:
    (spec,) = reference.measured
    rows = reference.outputs[spec.name]
    variety = metric_of(spec.kind).variety(rows.astype(np.float64))
    assert isinstance(variety, ClassVariety | Bounds), f"no cases file holds a {type(variety).__name__}"
    return pack(variety, rows.dtype)


def _compare(
    head: HeadLeg,
    predict: Predict,
    pixels: np.ndarray,
    reference: Prediction,
    names: Sequence[str],
    truths: Sequence[str | None],
) -> list[Case]:
    assert head.tolerance is not None
    allowed, specs, named = head.tolerance, reference.measured, None
    expected = [np.asarray(reference.outputs[spec.name], dtype=np.float64) for spec in specs]
    try:
        candidate = predict(pixels)
        named, pairs = candidate.top1, aligned(specs, expected, candidate, _OTHERS)
    except Exception as error:  # of whatever class: the images that follow may fare better
        LOG.debug("%s by %s on %s", head.model, head.route, head.backend, exc_info=True)
        pairs = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(pairs, str):
        return _unanswered(specs, expected, pairs, names, allowed, truths)
    cases = measured_cases(pairs, names, named, allowed, truths)
    if head.precision == "fp32" and any(case.verdict in FAILING_CASES for case in cases):
        exact, losses = zip(*(exact_numbers(spec, rows) for spec, rows, _ in pairs), strict=True)
        lost = np.max(losses, axis=0) > allowed
        pairs = [(spec, rows, actual) for (spec, _, actual), rows in zip(pairs, exact, strict=True)]
        again = measured_cases(pairs, names, named, allowed, truths) if lost.any() else cases
        better = [bool(off) and new.verdict not in FAILING_CASES for off, new in zip(lost, again, strict=True)]
        cases = [new if take else case for case, new, take in zip(cases, again, better, strict=True)]
    return cases


def _unanswered(
    specs: Sequence[OutputSpec],
    expected: Sequence[np.ndarray],
    reason: str,
    names: Sequence[str],
    allowed: float,
    truths: Sequence[str | None],
) -> list[Case]:
    """Make cases of images without an answer: none is none that is finite, for another reason."""
    pairs = [(spec, rows, np.full_like(rows, np.nan)) for spec, rows in zip(specs, expected, strict=True)]
    failed = measured_cases(pairs, names, None, allowed, truths)
    finite = np.all([np.isfinite(rows).reshape(len(rows), -1).all(axis=1) for rows in expected], axis=0)
    return [replace(case, reason=reason) if whole else case for case, whole in zip(failed, finite, strict=True)]


def _preprocessings(models: Sequence[LiveModel]) -> tuple[Preprocessing, ...]:
    """List the distinct preprocessings of models, as far as they decide the pixels."""
    return tuple(dict.fromkeys(same_pixels(model.classifier.preprocessing) for model in models))
