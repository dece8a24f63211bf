"""Why failing legs fail: looked for once all images were compared, on a few of them, and kept in the journal.

    Run + journal --images chosen, judged again, explained--> journal --aggregate--> Run

An artefact is explained on one set of images for all its backends, as in a run that holds its images. The search
ends by the clock, so its findings stand in the cases file: a run that is started again has the same results.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from parity.backends.reference import Reference, make_reference
from parity.core.errors import ParityError
from parity.core.results import FAILING_CASES, Case, Run, Subject
from parity.core.tolerance import Tolerance, with_second_look
from parity.diagnosis.causes import Explainer
from parity.entries import convert_entry
from parity.judging import Judging, judge_with_prediction
from parity.stream.aggregate import with_explanations
from parity.stream.cases_file import read_header
from parity.stream.decoding import Decoder, same_pixels
from parity.stream.job import Job, Shard
from parity.stream.journal import open_journal
from parity.stream.legs import Sample, images_at_once, load_models
from parity.stream.lines import Explained, Header, HeadLeg, LegExplained
from parity.stream.listing import ImageList, list_images, shown
from parity.stream.running import Progress
from parity.suite.images import ImageSet
from parity.suite.suite import ModelEntry, read_suite

if TYPE_CHECKING:
    from conversion import Classifier

LOG = logging.getLogger(__name__)

# Each repair that is tried runs on all of them, on slow runtimes too, and an artefact has a minute; but columns are
# told apart by how their answers vary from image to image, which over a handful is chance.
IMAGES = 16
# The worst show the fault. The others, spread over all, are what a wrong cause does not restore, and vary.
WORST = 8
_ELSEWHERE = "`parity run` looks for it, without --shard and with the --json that `parity merge` was given"


@dataclass(frozen=True)
class _Failed:
    """Hold a run some legs of which fail, with what they are run again from."""

    job: Job
    header: Header
    run: Run
    images: ImageList


def explain_run(job: Job, cases: Path, run: Run, progress: Progress) -> tuple[Run, tuple[str, ...]]:
    """Look for the causes of failures that were not explained before; return the run with them, and remarks.

    cases: the journal that the run was read from, which gets the causes. A shard is not explained: whether its
    worst images are the worst of all is not known there.
    """
    left = unexplained(run)
    if not left:
        return run, ()
    header = read_header(cases)
    if header.shard != Shard():
        return run, remarks_on(run)
    remarks: list[str] = []
    with open_journal(cases, header) as journal, _threads(header.threads):
        for explained in _explained(_Failed(job, header, run, list_images(job.images)), left, progress, remarks):
            journal.explain(explained)
        return with_explanations(run, journal.explained), tuple(remarks)


def unexplained(run: Run) -> list[int]:
    """List the places of the subjects that fail and that nobody looked at.

    A conversion that fails has said why, and what the suite expects to fail has its reason there.
    """
    return [
        place
        for place, s in enumerate(run.subjects)
        if s.verdict in ("fail", "error") and s.backend != "-" and not s.known_issue and not s.explained_on
    ]


def remarks_on(run: Run) -> tuple[str, ...]:
    """Say of a shard, or of shards put together, that nobody looked why it fails, and who does."""
    count = len(unexplained(run))
    if not count:
        return ()
    where = f"shard {run.shard}: " if run.shard else ""
    legs = "1 leg fails" if count == 1 else f"{count} legs fail"
    return (f"{where}why {legs} was not looked for; {_ELSEWHERE}",)


def _explained(failed: _Failed, left: Sequence[int], progress: Progress, remarks: list[str]) -> Iterator[Explained]:
    """Explain one artefact after the other. left: places of legs. remarks: gets a line for what cannot be."""
    suite, every_leg = read_suite(failed.job.suite), failed.header.legs
    entries = {entry.name: entry for entry in suite.models}
    for model, legs in groupby(left, lambda place: every_leg[place].model):
        classifier = load_models(suite, [entries[model]])[model]
        for route, places in groupby(legs, lambda place: every_leg[place].route):
            progress(f"{model}: why {route} fails", 0, None)
            try:
                explained = _artefact(failed, list(places), entries[model], classifier)
            except Exception as error:  # of whatever class: it must not hide the failure that it was to explain
                LOG.debug("%s by %s cannot be explained", model, route, exc_info=True)
                reason = " ".join(str(error).split()) or type(error).__name__
                remarks.append(f"{model} by {route}: why it fails cannot be looked for: {reason}")
            else:
                yield explained


def _artefact(failed: _Failed, places: Sequence[int], entry: ModelEntry, classifier: Classifier) -> Explained:
    """Explain an artefact. places: its failing legs."""
    job, header, images = failed.job, failed.header, failed.images
    route = header.legs[places[0]].route
    artifact = convert_entry(classifier, entry, route, job.artifacts, lambda: Sample(classifier, images).reference)
    if isinstance(artifact, Subject):
        raise ParityError(artifact.reason)
    chosen = choose([failed.run.subjects[place] for place in places], images)
    reference = make_reference(classifier, _read(chosen, images, classifier))
    batch = images_at_once(artifact, job.batch, len(images), classifier.preprocessing.size)
    explainer = Explainer()
    legs = []
    for place in places:
        leg = header.legs[place]
        # A leg that broke before the images has none that was settled.
        explainer.allowed = _allowed(leg, job.tolerance_scale)
        judging = Judging(entry.tolerance.get(route), job.tolerance_scale, batch)
        if leg.tolerance is not None:
            judging = Judging(Tolerance(leg.tolerance), 1.0, batch, chosen_of=explainer.allowed)
        judged, answers = judge_with_prediction(reference, artifact, leg.backend, judging)
        legs.append(_explained_leg(place, explainer(judged, reference, artifact, answers, batch), reference))
    return Explained(tuple(legs))


def _allowed(leg: HeadLeg, scale: float) -> Tolerance | None:
    """Say how images of a leg are looked at again beyond its tolerance; None: they are not."""
    if leg.tolerance is None or not leg.measured_on:
        return None
    measured = Tolerance(leg.tolerance, cost=leg.cost, compressed=leg.compressed)
    second = with_second_look(measured, leg.precision, leg.measured_on).second
    return replace(measured, second=second.scaled(scale)) if second else None


def _explained_leg(place: int, s: Subject, reference: Reference) -> LegExplained:
    count = len(reference.images.names)
    if s.verdict not in ("fail", "error"):
        agreement = f"{count} images, the worst among them, agree when they are run again by themselves"
        why = "chance has a part in it, or the images that go in together have"
        return LegExplained(place, count, unexplained=f"{agreement}: {why}")
    return LegExplained(
        place, count, s.guilty_hop, s.diagnoses, s.hops, s.first_divergence, unexplained=s.unexplained
    )


def choose(failing: Sequence[Subject], images: ImageList) -> list[int]:
    """Choose images to explain an artefact on, by their places in the list.

    failing: its legs that fail. First come the worst that fail or were excused, of each leg in turn, then others,
    evenly spaced.
    """
    queues = [[case.image for case in s.cases if _shows(case)] for s in failing]
    names = list(dict.fromkeys(name for row in zip_longest(*queues) for name in row if name is not None))[:WORST]
    # One pass: a million names are not kept.
    places = {name: place for place in range(len(images)) if (name := shown(images[place])) in names}
    worst = [places[name] for name in names if name in places]
    return [*worst, *spaced(len(images), IMAGES - len(worst), worst)]


def _shows(case: Case) -> bool:
    """Say whether an image shows a fault: too many that are excused are one as well."""
    return case.verdict in FAILING_CASES or case.own_allowed is not None


def spaced(total: int, count: int, without: Sequence[int]) -> Iterator[int]:
    """Give places among `total`, evenly spaced, as if those of `without` were not there."""
    left = total - len(without)
    for number in range(min(count, left)):
        place = number * left // min(count, left)
        for other in sorted(without):
            place += other <= place
        yield place


def _read(places: Sequence[int], images: ImageList, classifier: Classifier) -> ImageSet:
    paths = [images.path(place) for place in places]
    names = [shown(images[place]) for place in places]
    decoded = Decoder((same_pixels(classifier.preprocessing),))[list(zip(paths, names, strict=True))]
    rows = [row for row, reason in enumerate(decoded.reasons) if not reason]
    if not rows:
        raise ParityError(f"none of {len(places)} images can be read, {decoded.reasons[0]}")
    return ImageSet(tuple(names[row] for row in rows), decoded.pixels[0], tuple(Path(paths[row]) for row in rows))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let PyTorch add up among as many threads as it did for the answers that are explained."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
