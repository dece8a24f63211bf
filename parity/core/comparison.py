"""One candidate against the reference, image by image and over all images, as plain frozen data.

How the fields serve other tasks than classification is said in parity.core.results, of which this is a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval

CaseVerdict = Literal["match", "tie", "drift", "flip", "error"]
Verdict = Literal["pass", "fail", "error", "inconclusive", "skipped"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "error", "inconclusive", "skipped")
FAILING_CASES: frozenset[CaseVerdict] = frozenset({"drift", "flip", "error"})
# A share of all, 0..1.
Proportion = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class Answer:
    """Name a top-1 label with its probability; the probability is None where it is not finite."""

    label: str
    probability: float | None


@dataclass(frozen=True)
class ClassPair:
    """Hold what both say of one class; None where the number is not finite."""

    label: str
    reference: float | None
    candidate: float | None


NO_ANSWER = Answer("-", None)


@dataclass(frozen=True)
class OutputCase:
    """Compare one output of one image; the fields are those of parity.core.metric.Measurement."""

    output: str
    verdict: CaseVerdict
    distance: float | None
    same_answer: bool = True
    margin: float | None = None
    reason: str = ""
    detail: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredOutput:
    """Name an output that was measured; distance: what its metric calls the distance."""

    name: str
    kind: str
    distance: str


@dataclass(frozen=True)
class Case:
    """Compare one image: what the reference and the candidate answered, and how far apart they are.

    max_abs_diff: the distance between the two, the largest of all outputs; of class probabilities the largest |dp|.
    outputs: an entry for each output; empty for a classifier, whose one output is the case itself.
    All between are of class probabilities.

    kl: Kullback-Leibler divergence from reference to candidate, in nats.
    worst_label: the class with the largest difference, and its two probabilities.
    top5_overlap: how many of the five most probable classes both have, 0..1.
    snr_db, psnr_db: of the candidate's vector against the reference's; None where they are equal.
    top: the classes that are among the five most probable of either, the reference's most probable first.
    truth: the label that the image really has, where it is known.
    own_allowed: what is allowed on this very image, where it is beyond the tolerance and more; None: the tolerance.
    Numbers are None where the candidate's answer is not finite.
    """

    image: str
    verdict: CaseVerdict
    reference: Answer
    candidate: Answer
    max_abs_diff: float | None = None
    kl: float | None = None
    worst_label: str | None = None
    worst_reference: float | None = None
    worst_candidate: float | None = None
    top5_overlap: Proportion | None = None
    snr_db: float | None = None
    psnr_db: float | None = None
    reason: str = ""
    top: tuple[ClassPair, ...] = ()
    truth: str | None = None
    outputs: tuple[OutputCase, ...] = ()
    own_allowed: Proportion | None = None

    @property
    def same_answer(self) -> bool:
        """Say whether both answer the same, in every output: the same label, of classes."""
        if self.reference.label != self.candidate.label:
            return False
        return not self.outputs or all(one.same_answer for one in self.outputs)

    @property
    def margin(self) -> float | None:
        """Return by how much the reference prefers its own answer; None where the case does not tell."""
        said = {pair.label: pair.reference for pair in self.top}.get(self.candidate.label)
        own = self.reference.probability
        return None if said is None or own is None else own - said


@dataclass(frozen=True)
class Comparison:
    """Judge one candidate over all images; made by `compare`.

    required_tolerance: the smallest tolerance with which the verdict would be `pass`; None where there is none.
    outputs: what was measured; empty for a classifier.
    """

    verdict: Verdict
    reason: str
    tolerance: float
    required_tolerance: float | None
    top1_agreement: float | None
    max_abs_diff: float | None
    cases: tuple[Case, ...]
    outputs: tuple[MeasuredOutput, ...] = ()
