"""Tolerances proposed from data: how far innocent computations lie apart on the user's images.

    images --parity.noise--> Noise of each source --parity.proposals--> Proposal of each leg --> Calibration

The artefact's own distance from PyTorch is measured too, and only shown: a tolerance that is made from it would
excuse whatever is wrong with the artefact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from conversion.guards.torch_defaults import with_torch_defaults
from conversion.images import find_images, read_pixels
from parity.backends import RECORDED, Predict, backends_for, find_backend
from parity.backends.pytorch import load_reference
from parity.backends.reference import Reference, make_reference
from parity.calibration import noise
from parity.calibration.noise import Noise, Source, measure
from parity.calibration.proposals import Proposal, check_quantile, propose
from parity.calibration.sources import (
    FLOAT64,
    FP16,
    FP16_ONLY,
    REPEATED,
    backend_sources,
    compression_source,
    fp16_sources,
    pytorch_sources,
)
from parity.contract.settle import IMAGES
from parity.core.environment import environment
from parity.core.results import Environment, Subject
from parity.core.tolerance import Tolerance, tolerances_for
from parity.diagnosis.compression_cost import compression_tolerance
from parity.entries import convert_entry
from parity.pipeline import Progress, no_progress
from parity.suite.images import SMALLEST, load_images, unique_names
from parity.suite.models import load_model
from parity.suite.suite import ALL, Selection

if TYPE_CHECKING:
    from conversion import Artifact, Classifier
    from conversion.artifact import Precision
    from parity.suite.suite import ModelEntry, Suite

QUANTILE = 0.999


@dataclass(frozen=True)
class ModelNoise:
    """Hold the noise of one model's sources; trouble: why no tolerance can be proposed for the model at all."""

    name: str
    images: tuple[str, ...]
    noises: tuple[Noise, ...]
    trouble: str = ""


@dataclass(frozen=True)
class Calibration:
    """Hold all that was measured, and what is proposed."""

    quantile: float
    models: tuple[ModelNoise, ...]
    proposals: tuple[Proposal, ...]
    environment: Environment

    @property
    def exit_code(self) -> Literal[0, 3]:
        """0 something is proposed, 3 nothing could be."""
        return 0 if any(proposal.state == "proposed" for proposal in self.proposals) else 3


@with_torch_defaults
def calibrate(
    suite: Suite,
    selection: Selection = ALL,
    images: Sequence[str] = (),
    quantile: float = QUANTILE,
    artifacts: Path = Path(".parity"),
    progress: Progress = no_progress,
) -> Calibration:
    """Measure the noise of a suite's models and propose a tolerance for each leg that is selected.

    images: paths, directories or globs in the place of the suite's. artifacts: where converted models are kept.
    Images that cannot be read and models that cannot be loaded raise ParityError or ConversionError.
    """
    check_quantile(quantile)
    entries = selection.entries(suite)
    measured: list[ModelNoise] = []
    proposals: list[Proposal] = []
    for index, entry in enumerate(entries):
        chosen = selection.routes_of(entry)
        classifier = load_model(entry, suite.directory)
        paths = find_images(images, Path()) if images else find_images(entry.images, suite.directory)
        # PyTorch and every route look at all images once.
        share = 1 / len(entries) / (1 + len(chosen)) / len(paths)
        step = _steps(progress, index / len(entries), share)
        bench = _Bench(entry, classifier, load_reference(classifier), paths, step)
        pytorch = _measure_pytorch(bench, chosen)
        noises = dict(pytorch.noises)
        for route in chosen:
            if pytorch.trouble:
                precision = entry.recipe(route).precision or ""
                proposals.append(Proposal(entry.name, route, "-", precision, reason=pytorch.trouble))
                continue
            step(f"{entry.name}: converting by {route}", 0)
            artifact = convert_entry(classifier, entry, route, artifacts, partial(_reference, classifier, paths))
            if isinstance(artifact, Subject):
                proposals.append(Proposal(entry.name, route, "-", artifact.precision, reason=artifact.reason))
                continue
            backends = selection.backends_of(backends_for(artifact.format, entry.records))
            proposals += _calibrate_artifact(bench, pytorch, noises, artifact, backends, quantile)
        measured.append(ModelNoise(entry.name, tuple(unique_names(paths)), tuple(noises.values()), pytorch.trouble))
    return Calibration(quantile, tuple(measured), tuple(proposals), environment())


def _reference(classifier: Classifier, paths: Sequence[Path]) -> Reference:
    """Let PyTorch answer for as many of the images as a contract is measured on."""
    step = max(1, len(paths) // IMAGES)
    return make_reference(classifier, load_images(list(paths[::step][:IMAGES]), classifier.preprocessing))


@dataclass(frozen=True)
class _Bench:
    """Hold what the passes over one model's images share. step: called with a message and a number of images."""

    entry: ModelEntry
    classifier: Classifier
    reference: Predict
    paths: tuple[Path, ...]
    step: Callable[[str, int], None]

    def measure(self, what: str, sources: Sequence[Source]) -> dict[str, Noise]:
        """Run sources over all images, a few at a time: the memory does not grow with their number."""
        return measure(sources, self._batches(what))

    def _batches(self, what: str) -> Iterator[np.ndarray]:
        for start in range(0, len(self.paths), noise.BATCH):
            part = self.paths[start : start + noise.BATCH]
            self.step(f"{self.entry.name}: {what}, image {start + 1} of {len(self.paths)}", len(part))
            yield np.stack([read_pixels(path, self.classifier.preprocessing, at_least=SMALLEST) for path in part])


def _steps(progress: Progress, start: float, share: float) -> Callable[[str, int], None]:
    done = 0

    def step(message: str, images: int) -> None:
        nonlocal done
        progress(message, start + share * done)
        done += images

    return step


@dataclass(frozen=True)
class _PyTorch:
    """Hold what PyTorch alone tells: its noise by name, each image's margin, and why it is no measure."""

    noises: Mapping[str, Noise]
    margins: np.ndarray
    trouble: str

    def cost(self, precision: Precision) -> float:
        """Return what a precision costs PyTorch itself on all images, as a run would measure it."""
        return max(self.noises[name].largest for name in (FLOAT64 if precision == "fp32" else (FP16,)))


def _measure_pytorch(bench: _Bench, routes: Sequence[str]) -> _PyTorch:
    margin = Source("margin", (bench.reference,), reduce=noise.margin)
    flat = Source("flat", (bench.reference,), reduce=noise.flat)
    sources = [*pytorch_sources(bench.classifier, bench.reference), margin, flat]
    if any(bench.entry.recipe(route).precision != "fp32" for route in routes):
        sources += fp16_sources(bench.classifier, bench.reference)
    noises = bench.measure("PyTorch", sources)
    margins, flats = (np.array(noises.pop(source.name).differences) for source in (margin, flat))
    repeated = noises[REPEATED]
    trouble = repeated.trouble
    if repeated.trouble and repeated.differences:
        trouble = (
            f"PyTorch answers the same image differently when it is asked again (by up to {repeated.largest:.1e}): "
            "something in the module is random, dropout left on perhaps; nothing that is measured on it is innocent"
        )
    elif flats.all():
        trouble = (
            "PyTorch answers about the same for every class of every image (an untrained network?): "
            "what is measured on it says nothing of a trained one; give trained weights"
        )
    return _PyTorch(noises, margins, trouble)


def _calibrate_artifact(
    bench: _Bench,
    pytorch: _PyTorch,
    noises: dict[str, Noise],
    artifact: Artifact,
    backends: Sequence[str],
    quantile: float,
) -> Iterator[Proposal]:
    """Propose a tolerance for an artefact on each backend; what is measured goes into `noises`."""
    name, route = bench.entry.name, artifact.route
    chosen = {backend: _why_not(backend) for backend in backends}
    runnable = [backend for backend, reason in chosen.items() if not reason]
    sources = backend_sources(artifact, runnable, bench.reference)
    compressed = compression_source(bench.classifier, artifact, bench.reference) if runnable else None
    shared = [compressed[1]] if compressed else []
    all_sources = [*shared, *(source for one in sources.values() for source in (*one.noise, one.distance))]
    measured = bench.measure(route, all_sources) if all_sources else {}
    noise_alone = [*shared, *(source for one in sources.values() for source in one.noise)]
    noises.update((source.name, measured[source.name]) for source in noise_alone)
    for backend, reason in chosen.items():
        leg = Proposal(name, route, backend, artifact.precision, reason=reason)
        if backend not in sources:
            yield leg
            continue
        own = [measured[source.name] for source in (*shared, *sources[backend].noise)]
        *_, default = tolerances_for(artifact, pytorch.cost)
        if compressed:
            default = compression_tolerance(compressed[0], artifact, measured[compressed[1].name].largest)
        leg = _beside(leg, bench.entry, default, measured[sources[backend].distance.name])
        # Where the backend gave no answer at all, nothing is known of its noise.
        failed = [one.trouble for one in own if not one.differences]
        if len(failed) == len(own):
            yield replace(leg, reason=failed[0])
        elif artifact.precision == "fp16" and pytorch.noises[FP16].trouble:
            yield replace(leg, reason=f"{FP16}: {pytorch.noises[FP16].trouble}")
        else:
            alone = [one for one in pytorch.noises.values() if leg.precision == "fp16" or one.name not in FP16_ONLY]
            yield propose(leg, [*alone, *own], pytorch.margins, quantile)


def _why_not(backend: str) -> str:
    if backend.startswith(RECORDED):
        return "its answers were given elsewhere; calibrate where they are made"
    return find_backend(backend).why_not() or ""


def _beside(leg: Proposal, entry: ModelEntry, default: Tolerance, distance: Noise) -> Proposal:
    """Put beside a leg what does not enter its proposal: what is allowed today, and its own distance."""
    stated = entry.tolerance.get(leg.route)
    return replace(
        leg,
        allowed_today=(stated or default).probability,
        given=stated is not None,
        distance=distance.largest if distance.differences else None,
        distance_reason=distance.trouble,
    )
