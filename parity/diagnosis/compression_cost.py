"""What a file with compressed weights is allowed: by what compression costs PyTorch's own module on the images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from conversion.task import PROBABILITIES
from parity.core.noise import COMPRESSION_CAP, COMPRESSION_FACTOR, FP16_FLOOR, FP32
from parity.core.tolerance import Apart, CostUnknownError, Tolerance, differences, fp16_answers
from parity.diagnosis.compression import Compressed, Compression, compressed_copy, pair_compressed
from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact, Model
    from parity.backends.reference import Reference
    from parity.formats.compression import CompressedWeight

LOG = logging.getLogger(__name__)

# Takes a model, pixels, PyTorch's answers to them and what measures distances; gives a largest distance.
Measure = Callable[..., float]


def allowed_for(reference: Reference, artifact: Artifact) -> Iterator[Tolerance]:
    """Give the default tolerances of an artefact, the strictest first, by what its file says of its weights."""
    defaults = reference.tolerances(artifact)
    if reference.prediction.measured[0].kind != PROBABILITIES:
        return defaults
    known = reference.compression_costs

    def measured(measure: Measure) -> float:
        # One file runs on several backends.
        if artifact.path not in known:
            known[artifact.path] = reference.measured_by(measure)
        return known[artifact.path]

    return with_compression(defaults, reference.model, artifact, measured, reference.measured_on)


def with_compression(
    defaults: Iterator[Tolerance],
    model: Model,
    artifact: Artifact,
    measured_by: Callable[[Measure], float],
    measured_on: str = "these images",
) -> Iterator[Tolerance]:
    """Give the default tolerances; of compressed weights, one of their own in the place of all but the first.

    An artefact without compressed weights is judged by the defaults, as they are. measured_by: calls a measurement
    on the images. What cannot be measured leaves the defaults, and their reasons say so.
    """
    yield next(defaults)
    weights = _compressed_weights(artifact)
    if not weights:
        yield from defaults
        return
    try:
        compression = pair_compressed(model, artifact, weights)
        cost = measured_by(partial(measure_compression_cost, compression, artifact.precision))
    except Exception as error:  # the module's own, or one of torch: its operations are recorded, and run again
        LOG.info("what the compressed weights of %s cost cannot be measured", artifact.path, exc_info=True)
        said = " ".join(str(error).split()) or type(error).__name__
        for tolerance in defaults:
            reason = f"{tolerance.reason}; what compressed weights cost cannot be measured: {said}"
            yield Tolerance(tolerance.probability, reason, tolerance.cost)
        return
    yield compression_tolerance(compression, artifact, cost, measured_on)


def _compressed_weights(artifact: Artifact) -> Sequence[CompressedWeight]:
    try:
        return format_of(artifact).compressed_weights(artifact)
    except Exception:  # of a damaged file, which has its own line where it is run
        LOG.info("the compressed weights of %s cannot be read", artifact.path, exc_info=True)
        return ()


def compression_tolerance(
    compression: Compression, artifact: Artifact, cost: float, measured_on: str = "these images"
) -> Tolerance:
    """Allow a file with compressed weights what they cost PyTorch's own module, times a factor, within bounds."""
    floor = FP32[artifact.format][0] if artifact.precision == "fp32" else FP16_FLOOR
    manner = f"{compression.manner} weights"
    less = ", which is less than they cost" if cost > COMPRESSION_CAP else ""
    rounded = "" if artifact.precision == "fp32" else " in fp16"
    return Tolerance(
        min(max(COMPRESSION_FACTOR * cost, floor), COMPRESSION_CAP),
        f"{manner}: {COMPRESSION_FACTOR:g} times what they cost the PyTorch module{rounded} on {measured_on} "
        f"({cost:.1e}), at least {floor:g}, at most {COMPRESSION_CAP:g}{less}{_left_exact(compression)}",
        cost=cost,
        compressed=manner,
    )


def _left_exact(compression: Compression) -> str:
    """Say which compressed weights count as exact, because nothing could be measured of them."""
    parts = []
    if compression.unpaired:
        of = len(compression.unpaired) + len(compression.sound) + len(compression.absurd)
        parts.append(f"{len(compression.unpaired)} of {of} compressed weights have no weight of PyTorch's")
    if compression.absurd:
        worst = max(compression.absurd, key=lambda one: one.worse)
        parts.append(
            f"the grid of {len(compression.absurd)} is none that compression makes (`{worst.weight.name}`: "
            f"{worst.worse:.3g} times the error of the best one)"
        )
    return "".join(f"; {part}, and count as exact" for part in parts)


def measure_compression_cost(
    compression: Compression,
    precision: str,
    model: Model,
    pixels: np.ndarray,
    reference: np.ndarray,
    apart: Apart = differences,
) -> float:
    """Measure the largest distance over these images when the PyTorch module's own weights are compressed alike.

    Where the file computes in fp16 the module's arithmetic is rounded too, operation by operation. Never measured
    on the artefact under test. pixels: uint8 [N, H, W, 3]; reference: [N, ...]. A module that cannot be run so is a
    CostUnknownError.
    """
    if not len(pixels):
        return 0.0
    try:
        answers = compressed_answers(model, compression.sound, pixels, precision)
    except Exception as error:  # the module's own, or one of torch, whose every operation is met here
        raise CostUnknownError(" ".join(str(error).split()) or type(error).__name__) from error
    costs = apart(answers, reference).reshape(len(pixels), -1).max(axis=1)
    return float(np.where(np.isfinite(costs), costs, 1.0).max())


def compressed_answers(
    model: Model, weights: Sequence[Compressed], pixels: np.ndarray, precision: str
) -> np.ndarray:
    """Answer with PyTorch's module whose own weights are compressed: [N, classes], in the file's precision."""
    from conversion.deployed import answer_singly, deployed_module

    changed = compressed_copy(deployed_module(model), weights)
    return fp16_answers(changed, pixels) if precision == "fp16" else answer_singly(changed, pixels)
