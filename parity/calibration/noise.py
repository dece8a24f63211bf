"""Noise that is innocent by construction: how far one computation lies from itself when it is done another way.

    images --ways of one Source--> answers --spread--> Noise: the largest |dp| of each image

No source sets an artefact against PyTorch: what the artefact does wrong must not count as noise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from conversion.errors import ConversionError
from parity.backends import Predict
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.metrics.classification.labels import align
from parity.metrics.classification.variety import variety_of

LOG = logging.getLogger(__name__)

# How many images are held, and given to PyTorch at once where that is the noise.
BATCH = 16
# Nothing is further apart than two probabilities can be.
_FARTHEST = 1.0


def spread(answers: Sequence[Prediction]) -> np.ndarray:
    """Measure how far the answers of several ways lie apart: the largest |dp| of each image.

    An answer that is not finite lies as far from the others as probabilities can.
    """
    values = np.stack([np.asarray(answer.probabilities, dtype=np.float64) for answer in answers])
    with np.errstate(invalid="ignore"):
        apart = np.asarray(np.ptp(values, axis=0).max(axis=1))
    return np.where(np.isfinite(apart), apart, _FARTHEST)


def farthest(answers: Sequence[Prediction]) -> np.ndarray:
    """Measure how far any way's answers lie from the first way's; one number per image."""
    first, *others = answers
    return np.asarray(np.max([spread((first, other)) for other in others], axis=0))


def distance(answers: Sequence[Prediction]) -> np.ndarray:
    """Measure how far a candidate, the second, is from the reference, by label; one number per image."""
    reference, candidate = answers
    assert reference.labels is not None
    aligned, trouble = align(reference.labels, candidate)
    if aligned is None or aligned.shape != reference.probabilities.shape:
        shape = list(candidate.probabilities.shape)
        raise ParityError(trouble or f"outputs of shape {shape} for {len(reference.labels)} labels")
    return spread((reference, Prediction(aligned)))


def margin(answers: Sequence[Prediction]) -> np.ndarray:
    """Measure how far the most probable class is ahead of the next; one number per image."""
    (reference,) = answers
    best = np.sort(reference.probabilities.astype(np.float64), axis=1)[:, -2:]
    return np.asarray(np.ptp(best, axis=1) if best.shape[1] == 2 else best[:, 0])


def flat(answers: Sequence[Prediction]) -> np.ndarray:
    """Tell for each image, as 1 or 0, whether the answer is about the same for every class."""
    (reference,) = answers
    return np.array([float(variety_of(row[None]).flat) for row in reference.probabilities])


@dataclass(frozen=True)
class Source:
    """Name ways to compute the same answers.

    limit: ways that lie further apart do not compute the same; what they differ by is a fault, and no noise.
    reduce: the answers of all ways -> one number per image.
    """

    name: str
    ways: tuple[Predict, ...]
    limit: float = _FARTHEST
    reduce: Callable[[Sequence[Prediction]], np.ndarray] = spread


@dataclass(frozen=True)
class Noise:
    """Hold what a source measured: one number per image, in the order of the images; none where it failed.

    trouble: why it is not to be counted; empty where it is.
    """

    name: str
    differences: tuple[float, ...] = ()
    trouble: str = ""

    @property
    def largest(self) -> float:
        """Return the largest difference."""
        return max(self.differences, default=0.0)


def measure(sources: Iterable[Source], batches: Iterable[np.ndarray]) -> dict[str, Noise]:
    """Run the ways of all sources on the same images; a way that fails is the trouble of its sources.

    sources: by name; a name that comes twice is measured once. batches: uint8 pixels [N, H, W, 3], a part of the
    images each. A way that several sources share runs once.
    """
    named = {source.name: source for source in sources}
    differences: dict[str, list[float]] = {name: [] for name in named}
    failed: dict[str, str] = {}
    for pixels in batches:
        answers: dict[Predict, Prediction] = {}
        for source in named.values():
            if source.name not in failed:
                try:
                    for way in source.ways:
                        if way not in answers:
                            answers[way] = way(pixels)
                    differences[source.name] += source.reduce([answers[way] for way in source.ways]).tolist()
                except (ParityError, ConversionError) as error:
                    failed[source.name] = " ".join(str(error).split())
                except Exception as error:  # a module or a runtime may break in ways of its own; the others count
                    LOG.info("%s", source.name, exc_info=True)
                    failed[source.name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return {name: _noise(source, differences[name], failed.get(name, "")) for name, source in named.items()}


def _noise(source: Source, differences: list[float], failure: str) -> Noise:
    if failure:
        return Noise(source.name, (), f"cannot be measured: {failure}")
    noise = Noise(source.name, tuple(differences))
    if noise.largest <= source.limit:
        return noise
    return Noise(
        source.name,
        noise.differences,
        f"the answers lie {noise.largest:.1e} apart, more than the {source.limit:g} that rounding explains: "
        "a fault, and no noise",
    )
