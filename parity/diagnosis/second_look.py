"""The second look at images beyond a tolerance, for whoever judges an artefact, a hop or a repaired copy.

How an image is looked at again is in parity.core.second_look; here is what it costs PyTorch's own module on it,
with the file's compressed weights where these are among it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from conversion.deployed import deployed_module
from parity.backends import own_cost as costs
from parity.core.compare import compare_again
from parity.core.noise import DRAWS
from parity.core.results import FAILING_CASES, Case, Comparison, Subject
from parity.core.second_look import OwnCost, look_again, most_beyond
from parity.core.tally import tally_of
from parity.core.tolerance import Apart, Tolerance, differences, scaled
from parity.diagnosis.compression import compressed_copy, read_compression
from parity.diagnosis.compression_cost import allowed_for

if TYPE_CHECKING:
    import torch

    from conversion import Artifact, Model
    from parity.backends.reference import Reference

LOG = logging.getLogger(__name__)

# Takes cases, the pixels of their images, PyTorch's answers to them and what measures distances.
LookAgain = Callable[..., Sequence[Case]]


@dataclass(frozen=True)
class JudgeAgain:
    """Judge a comparison anew as an artefact was judged, whether it is of that, of a hop or of a repaired copy.

    allowed: the artefact's tolerance; without a second look comparisons stay what they are.
    images: how many the artefact was judged on: of all of these no more may be excused than chance explains.
    0: those that are there were chosen among more, and not by chance. own_cost: None: parity.backends.own_cost.
    """

    artifact: Artifact
    allowed: Tolerance
    images: int = 0
    own_cost: Callable[..., OwnCost] | None = None

    def __call__(self, against: Reference, comparison: Comparison) -> Comparison:
        """Judge a comparison with these answers of PyTorch's."""
        second = self.allowed.second
        if comparison.verdict != "fail" or second is None or not comparison.cases:
            return comparison
        answers, apart = against.numbers
        measure = self.own_cost or costs.own_cost
        look = looking_again(against.model, self.artifact, self.allowed, measure)
        cases = look(comparison.cases, against.images.pixels, answers, apart)
        measured = second.measured if len(cases) == self.images else 0
        return compare_again(against.prediction, comparison, cases, measured)

    @property
    def most_excused(self) -> int:
        """How many images may be beyond the tolerance, of all that the artefact was judged on."""
        second = self.allowed.second
        return most_beyond(self.images, second.measured) if second and self.images else 0

    def excuses(self, some: Comparison) -> bool:
        """Say whether a comparison of some of the images fails neither by one of them nor by their number."""
        return some.verdict != "fail" and tally_of(some.cases).excused <= max(1, self.most_excused)

    @property
    def in_fp32(self) -> JudgeAgain:
        """Judge the same file computed in fp32, which rounding to fp16 does not excuse."""
        return replace(self, artifact=replace(self.artifact, precision="fp32"))


def looking_again(
    model: Model, artifact: Artifact, allowed: Tolerance, own_cost: Callable[..., OwnCost]
) -> LookAgain:
    """Make what looks again at the images of an artefact, some at a time; nothing is loaded before it is asked.

    It takes cases, the pixels of their images, PyTorch's answers to them and what measures distances. own_cost: as
    parity.backends.own_cost. Where what rounding costs one image cannot be measured, the cases stay.
    """
    second = allowed.second

    @cache
    def module() -> torch.nn.Module:
        deployed: torch.nn.Module = deployed_module(model)
        compression = read_compression(model, artifact) if allowed.compressed else None
        return compressed_copy(deployed, compression.sound) if compression else deployed

    def again(
        cases: Sequence[Case], pixels: np.ndarray, answers: np.ndarray, apart: Apart = differences
    ) -> Sequence[Case]:
        if second is None or not any(case.verdict in FAILING_CASES for case in cases):
            return cases
        # What is computed in fp32 is the same at every draw.
        draws = DRAWS if artifact.precision == "fp16" else 1
        try:
            cost = own_cost(module(), artifact.precision, pixels, answers, apart)
            return look_again(cases, allowed.distance, second, draws, cost)
        except Exception as error:  # the module's own, or one of torch, whose every operation is met here
            LOG.info("what rounding costs single images cannot be measured: %s", error)
            return cases

    return again


def judging_again(
    subject: Subject, reference: Reference, artifact: Artifact, allowed: Tolerance | None = None
) -> JudgeAgain | None:
    """Make what judges a repaired artefact as the subject was, with its second look; None: it had none.

    allowed: what holds where the reference has some images alone of those that were judged; None: it has all.
    """
    count = 0 if allowed else len(reference.images.names)
    allowed = allowed or _settled(subject, reference, artifact)
    if allowed is None or allowed.second is None:
        return None
    return JudgeAgain(artifact, allowed, count)


def _settled(subject: Subject, reference: Reference, artifact: Artifact) -> Tolerance | None:
    """Find the tolerance that a subject was judged by, with how images beyond it were looked at."""
    if not subject.measured_on or subject.tolerance is None:
        return None
    # Whose costs are known: they were measured when the subject was judged.
    *_, last = reference.tolerances(artifact) if subject.compressed_alike else allowed_for(reference, artifact)
    allowed = reference.with_second_look(last, artifact.precision)
    return scaled(allowed, subject.tolerance / allowed.distance)
