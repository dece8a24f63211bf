"""How far apart two probabilities may be, and why just so far."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.core.errors import ParityError
from parity.core.noise import (
    COMPRESSION_CAP,
    COMPRESSION_FACTOR,
    FP16_CAP,
    FP16_FACTOR,
    FP16_FLOOR,
    FP32,
    FP32_CAP,
    FP32_FACTOR,
)
from parity.core.rounding import fp16_answers as fp16_answers

if TYPE_CHECKING:
    import torch

    from conversion import Artifact, Model
    from conversion.artifact import Precision

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SecondLook:
    """Say how an image beyond the tolerance is looked at again.

    factor, cap: an image's own allowance is so many times what rounding costs on it, and no more than the cap.
    measured: how many images the tolerance was measured on.
    """

    factor: float
    cap: float
    measured: int

    def scaled(self, scale: float) -> SecondLook:
        """Multiply what an image is allowed; as a tolerance it stays below 1."""
        return replace(self, factor=self.factor * scale, cap=min(self.cap * scale, 0.999))


@dataclass(frozen=True)
class Tolerance:
    """Bound the distance between reference and candidate: of probabilities the largest difference, |dp|.

    reason: where the number comes from; printed beside it. cost: what the precision costs PyTorch itself, as a
    largest |dp|; None where nobody measured it. compressed: which compressed weights are among that cost.
    second: how images beyond it are looked at again; None: they are not.
    """

    probability: float
    reason: str = "given"
    cost: float | None = None
    compressed: str = ""
    second: SecondLook | None = None

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1:
            raise ParityError(
                f"a tolerance is a difference of probabilities between 0 and 1, not {self.probability}"
            )

    @property
    def distance(self) -> float:
        """Return the largest distance that is allowed, by whatever metric."""
        return self.probability


class CostUnknownError(ParityError):
    """Say why nobody can measure what a precision costs a module."""


def tolerances_for(
    artifact: Artifact, cost: Callable[[Precision], float], measured_on: str = "these images"
) -> Iterator[Tolerance]:
    """Give the default tolerances of an artefact, the strictest first; what passes one needs no further.

    cost: measures what a precision costs PyTorch itself for this model and these images, as `measure_fp32_cost` and
    `measure_fp16_cost` do. Called only if the floor is not enough: it costs as much as another backend.
    Where it raises CostUnknownError the floor decides, and the reason says so. measured_on: what on.
    """
    if artifact.precision == "fp32":
        floor, reason = FP32[artifact.format]
        yield Tolerance(floor, reason)
        factor, cap, what = FP32_FACTOR, FP32_CAP * floor, "the PyTorch module in fp32 is off float64"
    else:
        floor, reason = FP16_FLOOR, "fp16"
        yield Tolerance(floor, f"{reason}: {floor:g}, within which no cause is sought")
        factor, cap, what = FP16_FACTOR, FP16_CAP, "rounding the PyTorch module costs"
    try:
        measured = cost(artifact.precision)
    except CostUnknownError as error:
        yield Tolerance(floor, f"{reason}: {floor:g}; {error}")
        return
    less = ", which is less than it costs" if measured > cap else ""
    yield Tolerance(
        min(max(factor * measured, floor), cap),
        f"{reason}: {factor:g} times what {what} on {measured_on} ({measured:.1e}), "
        f"at least {floor:g}, at most {cap:g}{less}",
        cost=measured,
    )


def too_costly(precision: str, allowed: Tolerance, max_abs_diff: float | None) -> str:
    """Say that rounding, or compression, is what a failing artefact fails by; empty where more may be wrong.

    So it is where that moves PyTorch's own answers by more than is ever allowed, and the artefact is no further
    off than they are. precision: the artefact's. allowed: as it was judged by. max_abs_diff: its largest |dp|.
    """
    cost = allowed.cost
    if cost is None or max_abs_diff is None or not allowed.probability < cost or max_abs_diff > cost:
        return ""
    if allowed.compressed:
        return (
            f"{allowed.compressed} move PyTorch's own answers by {cost:.1e}, more than the "
            f"{allowed.probability:.1e} allowed, and this file is no further off ({max_abs_diff:.1e}): leave the "
            "layers that cost most uncompressed, which `parity explain` names, or compress less"
        )
    if precision == "fp32":
        return (
            f"in float64 PyTorch's own answers are others by {cost:.1e}, more than the {allowed.probability:.1e} "
            f"allowed, and this file is no further off ({max_abs_diff:.1e}): no file can agree better with answers "
            "that rounding moves so far"
        )
    return (
        f"rounding to fp16 moves PyTorch's own answers by {cost:.1e}, more than the {allowed.probability:.1e} "
        f"allowed, and this file is no further off ({max_abs_diff:.1e}): fp16 cannot hold this network; "
        "convert it in fp32"
    )


def check_scale(scale: float) -> None:
    """Raise ParityError for a number that no tolerance can be multiplied by."""
    if not (scale > 0 and np.isfinite(scale)):
        raise ParityError(f"a tolerance is multiplied by a number above 0, not {scale}")


def scaled(tolerance: Tolerance, scale: float) -> Tolerance:
    """Multiply a tolerance, to look closer or to let more pass; the reason says so."""
    check_scale(scale)
    if scale == 1:
        return tolerance
    # Nothing differs by 1 or more that is a probability at all.
    probability = min(tolerance.probability * scale, 0.999)
    second = tolerance.second and tolerance.second.scaled(scale)
    reason = f"{tolerance.reason}, times {scale:g}"
    return replace(tolerance, probability=probability, reason=reason, second=second)


def with_second_look(tolerance: Tolerance, precision: str, measured: int) -> Tolerance:
    """Let images beyond a tolerance be looked at again, where it is what rounding costs on some images.

    So it is of fp16 and of compressed weights. On each image rounding was drawn once, and that of the artefact is
    another draw: where one image is many times as sensitive as the rest, or there are few, it is three times as far
    on it with every fifth artefact. A tolerance that was not measured says what it says.
    measured: on how many images.
    """
    rounded = precision == "fp16" or tolerance.compressed
    if tolerance.cost is None or not rounded or not measured:
        return tolerance
    compressed = (COMPRESSION_FACTOR, COMPRESSION_CAP)
    factor, cap = compressed if tolerance.compressed else (FP16_FACTOR, FP16_CAP)
    return replace(tolerance, second=SecondLook(factor, cap, measured))


# Takes two answers [N, ...] to the same images, gives numbers [N, ...] whose largest is the distance of an image.
Apart = Callable[[np.ndarray, np.ndarray], np.ndarray]


def differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far apart two answers are, number by number."""
    apart: np.ndarray = np.abs(one - other)
    return apart


def measure_fp32_cost(model: Model, pixels: np.ndarray, reference: np.ndarray, apart: Apart = differences) -> float:
    """Measure the largest distance over these images between the PyTorch module in fp32 and the same in float64.

    Each order of additions rounds otherwise, and one may be lucky on an image: fp32 is the reference itself and
    what PyTorch's other kernels answer. Never measured on the artefact under test. A module that cannot be run in
    float64 is a CostUnknownError. pixels: uint8 [N, H, W, 3]; reference: [N, ...].
    """
    from conversion.deployed import deployed_module

    if not len(pixels):
        return 0.0
    exact, *others = fp32_ways(deployed_module(model))
    try:
        truth = exact(pixels)
    except Exception as error:  # the module's own: it was written for fp32 alone
        raise _unknown("what fp32 costs the PyTorch module", error) from error
    answers = [reference, *(_attempted(variant, pixels) for variant in others)]
    costs = np.concatenate([apart(answer, truth).ravel() for answer in answers if answer is not None])
    return float(costs[np.isfinite(costs)].max(initial=0.0))


Way = Callable[[np.ndarray], np.ndarray]


def fp32_ways(module: torch.nn.Module) -> tuple[Way, Way, Way]:
    """Make variants of a deployed module that answer: exactly, in float64; in fp32 by two other kinds of kernels.

    These are the ones for channels_last, and the plain ones without oneDNN. Each takes uint8 [N, H, W, 3], gives
    [N, classes], one image at a time, and fails where the module cannot be run so.
    """
    import torch

    from conversion.deployed import answer_singly

    def variant(change: Callable[[Any], Any], feed: Callable[[Any], Any]) -> Way:
        # The copy is taken when it is first needed, so that what cannot be copied fails there.
        changed = cache(lambda: change(copy.deepcopy(module)))
        return lambda pixels: answer_singly(changed(), pixels, feed)

    # Not its context manager, which warns of GPUs.
    onednn: Any = torch.backends.mkldnn

    def plain(pixels: np.ndarray) -> np.ndarray:
        before, onednn.enabled = onednn.enabled, False
        try:
            return answer_singly(module, pixels)
        finally:
            onednn.enabled = before

    last = torch.channels_last
    return (
        variant(lambda m: m.double(), lambda t: t.double()),
        variant(lambda m: m.to(memory_format=last), lambda t: t.contiguous(memory_format=last)),
        plain,
    )


def _attempted(variant: Way, pixels: np.ndarray) -> np.ndarray | None:
    try:
        return variant(pixels)
    except Exception as error:  # the module's own: it was written for another type or another layout
        LOG.info("what fp32 costs is measured without one variant: %s", error)
        return None


def _unknown(what: str, error: Exception) -> CostUnknownError:
    LOG.info("%s cannot be measured", what, exc_info=True)
    return CostUnknownError(f"{what} cannot be measured: {' '.join(str(error).split()) or type(error).__name__}")


def measure_fp16_cost(model: Model, pixels: np.ndarray, reference: np.ndarray, apart: Apart = differences) -> float:
    """Measure the largest distance over these images when the PyTorch module's own arithmetic is rounded to fp16.

    Weights, activations, normalisation and softmax are rounded, operation by operation. Never measured on the
    artefact under test, which would excuse its own faults. pixels: uint8 [N, H, W, 3]; reference: [N, ...].
    A module whose operations cannot be rounded one by one is a CostUnknownError.
    """
    from conversion.deployed import deployed_module

    if not len(pixels):
        return 0.0
    try:
        answers = fp16_answers(deployed_module(model), pixels)
    except Exception as error:  # the module's own, or one of torch, whose every operation is met here
        raise _unknown("what rounding the PyTorch module costs", error) from error
    costs = apart(answers, reference).reshape(len(pixels), -1).max(axis=1)
    # A network that overflows in fp16 has no bound of its own; the cap then decides.
    return float(np.where(np.isfinite(costs), costs, FP16_CAP).max())
