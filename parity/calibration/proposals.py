"""From noise to a proposal: a bound of its quantile, a factor, a floor, a cap. Nothing is run here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Context, Decimal
from typing import Literal

import numpy as np

from parity.calibration.noise import Noise
from parity.core.errors import ParityError
from parity.core.noise import FP16_CAP, FP32, FP32_CAP

# How sure it is that the bound of the quantile is not below the quantile.
CONFIDENCE = 0.95
# The sources of a leg may add up, and other kernels round in another order than those that were measured.
FACTOR = 3.0
# What is proposed above would hide faults: no default is wider.
CAPS: Mapping[str, float] = {"fp32": FP32_CAP * max(floor for floor, _ in FP32.values()), "fp16": FP16_CAP}
# The step between numbers just below 1, the widest that probabilities have: answers can differ by no less there.
STEPS: Mapping[str, float] = {"fp32": 2.0**-24, "fp16": 2.0**-11}

State = Literal["proposed", "withheld", "unmeasured"]


@dataclass(frozen=True)
class Proposal:
    """Propose a tolerance for one model by one route on one backend, or say why not.

    state: `withheld` where the noise was measured and is too large to be allowed.
    sources: names of the noise that entered; left_out: of the other, and why.
    noise: bound of the quantile, before factor and floor; decided_by: the source that it comes from.
    allowed_today: what `parity run` allows; given: by the suite file.
    distance: the artefact's own largest |dp| from PyTorch, which did not enter; None for distance_reason.
    ties: share of images whose two most probable classes are within twice the proposal.
    """

    model: str
    route: str
    backend: str
    precision: str
    state: State = "unmeasured"
    reason: str = ""
    images: int = 0
    sources: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    noise: float | None = None
    decided_by: str = ""
    tolerance: float | None = None
    allowed_today: float | None = None
    given: bool = False
    distance: float | None = None
    distance_reason: str = ""
    ties: float | None = None


def propose(leg: Proposal, noises: Sequence[Noise], margins: np.ndarray, quantile: float) -> Proposal:
    """Complete a leg by the tolerance that follows from its noise.

    noises: of the same images each, in the same order; what has a trouble does not enter. margins: how far each
    image's most probable class is ahead of the next.
    """
    entering = [noise for noise in noises if not noise.trouble]
    differences = np.array([noise.differences for noise in entering])
    worst = differences.max(axis=0)
    rank = rank_of_bound(len(worst), quantile) or len(worst)
    image = int(np.argsort(worst, kind="stable")[rank - 1])
    bound = float(worst[image])
    step = STEPS[leg.precision]
    source = entering[int(differences[:, image].argmax())].name if bound > step else f"one step of {leg.precision}"
    tolerance = rounded_up(max(bound, step), FACTOR)
    leg = replace(
        leg,
        images=len(worst),
        sources=tuple(noise.name for noise in entering),
        left_out={noise.name: noise.trouble for noise in noises if noise.trouble},
        noise=bound,
        decided_by=source,
    )
    if tolerance > CAPS[leg.precision]:
        reason = (
            f"a tolerance of {tolerance:g} would follow from {source}; above {CAPS[leg.precision]:g} "
            f"it would hide faults in {leg.precision}, so none is proposed"
        )
        return replace(leg, state="withheld", reason=reason)
    return replace(leg, state="proposed", tolerance=tolerance, ties=float((margins <= 2 * tolerance).mean()))


def check_quantile(quantile: float) -> None:
    """Raise ParityError for what is no quantile, or one that no number of images could tell."""
    # Above, the images needed could not be counted: 1 - quantile is a few steps of a float.
    if not 0 < quantile <= 1 - 1e-9:
        raise ParityError(f"a quantile is a share of the images between 0 and 1, not {quantile}; give 0.999, say")


def rank_of_bound(images: int, quantile: float, confidence: float = CONFIDENCE) -> int | None:
    """Find which of the sorted values, counted from 1, is not below the quantile with this confidence.

    How many of the images lie below their quantile is distributed binomially, whatever the noise: value k is below
    it only if k images are. None where even the largest value is not sure enough.
    """
    from scipy.stats import binom

    # The smallest number of images that are all below it in at most 1 - confidence of all samples.
    rank = int(binom.isf(1 - confidence, images, quantile)) + 1
    return rank if rank <= images else None


def images_needed(quantile: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest images whose largest value is not below the quantile with this confidence."""
    return math.ceil(math.log1p(-confidence) / math.log(quantile))


def rounded_up(number: float, factor: float = 1.0) -> float:
    """Multiply, and round to two digits, upwards: what was measured must pass what is proposed."""
    # In decimal digits: three times 5e-06 is 1.5e-05, and not the 1.6e-05 that the product of floats would become.
    return float(Context(prec=2, rounding=ROUND_CEILING).multiply(Decimal(repr(number)), Decimal(repr(factor))))


def coverage(images: int, quantile: float) -> str:
    """Say how well so many images tell the quantile."""
    if rank := rank_of_bound(images, quantile):
        return (
            f"the {quantile:g} quantile of {images:,} images, bounded with {CONFIDENCE:.0%} confidence by value "
            f"{rank:,} of {images:,}"
        )
    return (
        f"from {images:,} image(s) the {quantile:g} quantile cannot be told: the largest value, which covers it "
        f"with a probability of {1 - quantile**images:.1%}, stands in; {images_needed(quantile):,} images would "
        f"give it with {CONFIDENCE:.0%} confidence"
    )
