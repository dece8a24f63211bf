"""What hardware may answer, as plain frozen data: made by parity.envelope, read by every report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parity.core.comparison import CaseVerdict, Proportion

Basis = Literal["known", "in part", "assumed"]
EnvelopeVerdict = Literal["safe", "sensitive", "unsafe", "inconclusive"]
ENVELOPE_VERDICTS: tuple[EnvelopeVerdict, ...] = ("safe", "sensitive", "unsafe", "inconclusive")


@dataclass(frozen=True)
class Band:
    """Hold the range of one probability of one image over all arithmetics; None where a number is not finite."""

    label: str
    answered: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class EnvelopeCase:
    """Hold what one image may be answered.

    verdict: the worst of all arithmetics against round-once, as between a candidate and a reference. label: of
    round-once; labels: of any arithmetic, that one first. max_abs_diff: the largest |dp| of any; None: not finite.
    bands: of the labels with the largest probabilities.
    """

    image: str
    verdict: CaseVerdict
    label: str
    labels: tuple[str, ...]
    max_abs_diff: float | None
    bands: tuple[Band, ...]


@dataclass(frozen=True)
class VariantAnswers:
    """Say how far the answers of one arithmetic are from those of round-once.

    basis: whether it is documented or measured, in part, or assumed. other_labels: images with another label.
    """

    name: str
    title: str
    source: str
    basis: Basis
    max_abs_diff: float | None
    other_labels: int


@dataclass(frozen=True)
class Contribution:
    """Name an operation, with what is left of |dp| once it is computed as the file declares.

    before, after: the largest |dp| of an image, in the mean of the worst images. What stands before it in a list is
    computed so already. index: its place among the `of` operations.
    """

    operation: str
    type: str
    index: int
    of: int
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Advice:
    """Say what to do, and what it was measured to change on the worst images: |dp|, in their mean, and flips."""

    what: str
    before: float | None
    after: float | None
    flips_before: int
    flips_after: int


@dataclass(frozen=True)
class Outside:
    """Name an image whose recorded answer no arithmetic gives, and the label that is furthest outside."""

    image: str
    label: str
    recorded: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Near:
    """Say how far a record is from one arithmetic: the largest |dp| over all images; None: not finite."""

    name: str
    max_abs_diff: float | None


@dataclass(frozen=True)
class HeldRecord:
    """Hold a record against the envelope; outside: the images that are, the furthest first; nearest: first."""

    recorded_by: str
    images: int
    inside: bool
    outside: tuple[Outside, ...]
    nearest: tuple[Near, ...]


@dataclass(frozen=True)
class Envelope:
    """Hold what hardware may answer to a set of images.

    unsafe_share: of images, that get another label from any arithmetic. variants: of all that were computed, the
    furthest first. worst: which contributions and advice are about. cost: in evaluations of the file, all of it.
    """

    verdict: EnvelopeVerdict
    reason: str
    images: int
    unsafe_share: Proportion
    max_abs_diff: float | None
    tolerance: float
    variants: tuple[VariantAnswers, ...]
    cases: tuple[EnvelopeCase, ...]
    worst: str = ""
    contributions: tuple[Contribution, ...] = ()
    advice: tuple[Advice, ...] = ()
    records: tuple[HeldRecord, ...] = ()
    cost: float | None = None

    @property
    def exit_code(self) -> Literal[0, 1, 3]:
        """Return 0 for what is safe or sensitive, 1 for unsafe or for a record outside, 3 for inconclusive."""
        if self.verdict == "inconclusive":
            return 3
        outside = any(not record.inside for record in self.records)
        return 1 if self.verdict == "unsafe" or outside else 0
