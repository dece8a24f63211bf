"""What a streamed run compares: models, their artefacts on backends, and the tolerances, all settled first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conversion.artifact import Artifact
from conversion.shapes import read_input_shapes
from conversion.sources.transform_check import PHOTOS, difference_told
from conversion.task import PROBABILITIES
from parity.backends import Predict, backends_for, find_backend, limited, record_names
from parity.backends.outputs import shape_told
from parity.backends.pytorch import check_repeatable, load_reference
from parity.backends.reference import Reference, make_reference, spaced_sample
from parity.contract.settle import IMAGES
from parity.contract.words import contract_shown, unstated_told
from parity.core.measuring import exact_numbers
from parity.core.metric import metric_of
from parity.core.results import Prediction, Subject
from parity.core.tolerance import Tolerance, measure_fp16_cost, measure_fp32_cost, scaled, with_second_look
from parity.diagnosis.compression_cost import with_compression
from parity.entries import convert_entry
from parity.formats.facts import artifact_digest
from parity.judging import Judging, LookAgain, attempt, judge_prediction, remarks_on, second_look
from parity.stream.decoding import Decoded, Decoder, same_pixels
from parity.stream.job import Job
from parity.stream.lines import HeadLeg
from parity.stream.listing import ImageList, shown
from parity.suite.images import NOISE, ImageSet, are_noise
from parity.suite.models import load_model
from parity.suite.suite import ModelEntry, Suite

if TYPE_CHECKING:
    from conversion import Classifier
    from conversion.artifact import Precision

# How many pixels PyTorch gets together. The results of operations on more do not fit into what the C library keeps
# for later, so that each of them is asked of the system anew: 32 images of 224x224 then take twice as long as 2.
TOGETHER = 2**17
# What rounding costs is measured on SAMPLE images, and again whenever a run goes on. That of fp32 takes kernels
# that are ten times as slow.
FP32_IMAGES = 8
# Backends that are slow by nature are shown this many, evenly spaced over the list, unless asked for by name.
SPOTS = 64
_RECORDED = "answers recorded elsewhere are those to the suite's own images; run without --images"


@dataclass(frozen=True)
class LiveLeg:
    """Hold a leg; predict: where it runs, from uint8 pixels to answers; again: looks again at what it answered."""

    head: HeadLeg
    predict: Predict | None = None
    again: LookAgain | None = None


@dataclass(frozen=True)
class LiveModel:
    """Hold a model with its legs. predict: PyTorch, on `at_once` images together. remarks: on its artefacts."""

    classifier: Classifier
    predict: Predict
    at_once: int
    legs: tuple[LiveLeg, ...]
    remarks: tuple[str, ...] = ()


@dataclass
class Sample:
    """Hold some images of the whole list, evenly spaced, as one model sees them, read when they are asked for."""

    classifier: Classifier
    images: ImageList

    @cached_property
    def one(self) -> np.ndarray:
        """Return the first of them that can be read, black where none can: uint8 [1, H, W, 3]."""
        for place in self._places():
            pixels = self._read([place])
            if len(pixels):
                return pixels
        preprocessing = self.classifier.preprocessing
        return np.zeros((1, *preprocessing.size, preprocessing.channels), np.uint8)

    @cached_property
    def pixels(self) -> np.ndarray:
        """Return those of them that can be read: uint8 [N, H, W, 3]."""
        return self._read(self._places())

    @cached_property
    def fp16_cost(self) -> float:
        """Return what rounding to fp16 costs PyTorch on these images."""
        return self.measured_by(measure_fp16_cost)

    @cached_property
    def fp32_cost(self) -> float:
        """Return what fp32 costs PyTorch on these images."""
        return self._cost(measure_fp32_cost, self._fp32_pixels)

    def measured_by(self, measure: Callable[[Classifier, np.ndarray, np.ndarray], float]) -> float:
        """Return what a measurement of PyTorch's own module comes to on these images."""
        return self._cost(measure, self.pixels)

    def cost(self, precision: Precision) -> float:
        """Return what a precision costs PyTorch itself on these images."""
        return self.fp16_cost if precision == "fp16" else self.fp32_cost

    def measured_on(self, precision: Precision) -> str:
        """Say on how many images the cost of a precision is measured."""
        pixels = self.pixels if precision == "fp16" else self._fp32_pixels
        return f"{len(pixels)} images, evenly spaced over all {len(self.images)}"

    @property
    def _fp32_pixels(self) -> np.ndarray:
        step = max(1, math.ceil(len(self.pixels) / FP32_IMAGES))
        return self.pixels[::step]

    @cached_property
    def lost(self) -> float:
        """Return what PyTorch's own arithmetic is known to lose here; see parity.core.metric.Metric.exact."""
        if not len(self.pixels):
            return 0.0
        reference = load_reference(self.classifier)(self._fp32_pixels)
        losses = (exact_numbers(spec, reference.outputs[spec.name])[1] for spec in reference.measured)
        return max(float(loss.max()) for loss in losses)

    @cached_property
    def reference(self) -> Reference:
        """Return PyTorch's answers to as many of them as a contract is measured on."""
        pixels = self.pixels[:: max(1, len(self.pixels) // IMAGES)][:IMAGES]
        return make_reference(self.classifier, ImageSet(tuple(map(str, range(len(pixels)))), pixels))

    @cached_property
    def own_pixels(self) -> str:
        """Say how far the pixels that the model's own library makes are from ours; "" where they agree."""
        if self.classifier.own_transform is None:
            return ""
        places = self._places()
        few = places[:: max(1, len(places) // PHOTOS)][:PHOTOS]
        reasons = self._decode(few).reasons
        paths = [Path(self.images.path(place)) for place, reason in zip(few, reasons, strict=True) if not reason]
        return difference_told(self.classifier, paths)

    def _cost(self, measure: Callable[[Classifier, np.ndarray, np.ndarray], float], pixels: np.ndarray) -> float:
        if not len(pixels):
            return 0.0
        reference = load_reference(self.classifier)(pixels)
        return measure(self.classifier, pixels, reference.outputs[reference.measured[0].name])

    def _places(self) -> Sequence[int]:
        return [int(place) for place in spaced_sample(len(self.images))]

    def _read(self, places: Sequence[int]) -> np.ndarray:
        return self._decode(places).pixels[0]

    def _decode(self, places: Sequence[int]) -> Decoded:
        decoder = Decoder((same_pixels(self.classifier.preprocessing),))
        return decoder[[(self.images.path(place), shown(self.images[place])) for place in places]]


def load_models(suite: Suite, entries: Sequence[ModelEntry]) -> dict[str, Classifier]:
    """Load the classifiers of a suite's entries, by their names."""
    return {e.name: load_model(e, suite.directory) for e in entries}


def live_model(
    job: Job, entry: ModelEntry, classifier: Classifier, images: ImageList, step: Callable[[str], None]
) -> LiveModel:
    """Convert a model and load it everywhere, so that all that can be settled before the images is settled.

    Whatever does not run has its reason in its leg. Every runtime answers once, to one image.
    """
    step(f"{entry.name}: PyTorch")
    sample = Sample(classifier, images)
    height, width = classifier.preprocessing.size
    at_once = max(1, min(job.batch, TOGETHER // (height * width)))
    predict = load_reference(classifier, at_once)
    check_repeatable(classifier, predict, sample.one)
    legs: list[LiveLeg] = []
    remarks: list[str] = []
    for route in (r for r in entry.routes if not job.routes or r in job.routes):
        step(f"{entry.name}: converting by {route}")
        conversion = convert_entry(classifier, entry, route, job.artifacts, lambda: sample.reference)
        if isinstance(conversion, Subject):
            legs.append(LiveLeg(_stopped(conversion)))
            continue
        if conversion.remark:
            remarks.append(f"{entry.name} by {route}: {conversion.remark}")
        for backend in backends_for(conversion.format, entry.records):
            if not job.backends or backend in job.backends:
                step(f"{entry.name}: loading {route} on {backend}")
                legs.append(_live_leg(job, entry, conversion, backend, sample))
    return LiveModel(classifier, predict, at_once, tuple(legs), tuple(remarks))


def _live_leg(job: Job, entry: ModelEntry, artifact: Artifact, backend: str, sample: Sample) -> LiveLeg:
    subject = Subject(entry.name, artifact.route, artifact.path.name, backend, artifact.precision, "skipped")
    if backend in record_names(entry.records):
        return LiveLeg(_stopped(replace(subject, reason=_RECORDED)))
    module = find_backend(backend)
    if reason := module.why_not():
        return LiveLeg(_stopped(replace(subject, reason=reason)))
    at_once = images_at_once(artifact, job.batch, len(sample.images), sample.classifier.preprocessing.size)

    def load() -> tuple[Predict, Prediction]:
        many = module.ABOUT.for_many if len(sample.images) > SPOTS else {}
        predict = limited.load(backend, artifact, at_once, **many)
        return predict, predict(sample.one)

    loaded = attempt(subject, load)
    if isinstance(loaded, Subject):
        return LiveLeg(_stopped(loaded))
    predict, answer = loaded
    spec = sample.classifier.task.outputs[0]
    aligned, trouble = metric_of(spec.kind).align(spec, answer)
    if aligned is None or aligned.shape != (1, len(spec.labels)):
        shape = list(answer.outputs[spec.name].shape) if aligned is not None else []
        mismatch = trouble or f"an output of shape {shape}, not {[1, len(spec.labels)]}"
        return LiveLeg(_stopped(replace(subject, verdict="fail", reason=mismatch)))
    if job.strict and (unstated := unstated_told(artifact)):
        return LiveLeg(_stopped(replace(subject, verdict="inconclusive", reason=unstated)))
    if are_noise(sample.pixels):
        return LiveLeg(_stopped(replace(subject, verdict="inconclusive", reason=NOISE)))
    allowed = _tolerance(job, entry, artifact, sample)
    if allowed.compressed and (hidden := _hidden_by_compression(job, artifact, backend, predict, sample)):
        return LiveLeg(_stopped(replace(subject, verdict="fail", reason=hidden)))
    # How the artefact came about this time is said beside the results, which are the same each time.
    lasting = replace(artifact, remark="")
    strange = shape_told(artifact, answer.answer_shape)
    head = replace(
        _stopped(subject),
        digest=artifact_digest(artifact),
        at_once=at_once,
        tolerance=allowed.probability,
        tolerance_reason=allowed.reason,
        verdict=None,
        spots=spots_of(job, backend, len(sample.images)),
        cost=allowed.cost,
        contract=contract_shown(artifact.contract),
        compressed=allowed.compressed,
        measured_on=allowed.second.measured if allowed.second else 0,
        remarks=(*sample.classifier.remarks, *remarks_on(lasting), *filter(None, (sample.own_pixels, strange))),
    )
    return LiveLeg(head, predict, second_look(sample.classifier, artifact, allowed))


def _hidden_by_compression(job: Job, artifact: Artifact, backend: str, predict: Predict, sample: Sample) -> str:
    """Say what the cost of compressed weights would hide, as a run of a few images finds it; empty for nothing."""
    reference = sample.reference
    answers = predict(reference.images.pixels)
    judged = judge_prediction(reference, artifact, backend, answers, Judging(scale=job.tolerance_scale))
    return f"on {len(reference.images.names)} of the images {judged.reason}" if judged.compressed_alike else ""


def spots_of(job: Job, backend: str, images: int) -> int:
    """Return how many of all images a backend is shown; 0 stands for all."""
    return SPOTS if find_backend(backend).ABOUT.slow and backend not in job.backends and images > SPOTS else 0


def _stopped(subject: Subject) -> HeadLeg:
    return HeadLeg(
        subject.model,
        subject.route,
        subject.backend,
        subject.artifact,
        subject.precision,
        verdict=subject.verdict,
        reason=subject.reason,
    )


def images_at_once(artifact: Artifact, batch: int, images: int, size: tuple[int, int]) -> int:
    """Find how many of so many images, up to a batch, an artefact takes together; one where it does not say."""
    return read_input_shapes(artifact).images_at_once(batch, images, size) or 1


def _tolerance(job: Job, entry: ModelEntry, artifact: Artifact, sample: Sample) -> Tolerance:
    own = entry.tolerance.get(artifact.route)
    # The last one, for the images that would tell whether a stricter one is enough are still to come.
    kind = sample.classifier.task.outputs[0].kind
    defaults = metric_of(kind).tolerances(artifact, sample.cost, sample.measured_on(artifact.precision))
    if kind == PROBABILITIES:
        measured_on = sample.measured_on("fp16")
        defaults = with_compression(defaults, sample.classifier, artifact, sample.measured_by, measured_on)
    *_, allowed = [own] if own else defaults
    allowed = with_second_look(allowed, artifact.precision, len(sample.pixels))
    allowed = scaled(allowed, job.tolerance_scale)
    if artifact.precision == "fp32" and sample.lost > allowed.probability:
        exact = f"PyTorch's softmax loses {sample.lost:.1e} in its sum, and what agrees with the exact sum agrees"
        return replace(allowed, reason=f"{allowed.reason}; {exact}")
    return allowed
