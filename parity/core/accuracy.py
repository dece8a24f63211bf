"""How often a model is right, which is another question than whether two models agree: the numbers of a report.

They are counted and computed in parity/metrics/classification/accuracy.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Hold a share of images, `count` of `total`, and its 95 % interval (Wilson's)."""

    count: int
    total: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class CalibrationBin:
    """Hold the images whose top-1 probability is above `low` and at most `high`; the first bin has 0 too.

    confidence: the mean of that probability; accuracy: the share of them that is right; None without images.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Say whether a model is right as often as it is sure.

    error: the expected calibration error, the mean of |accuracy - confidence| over bins, weighted by their images.
    """

    error: float | None
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class Correctness:
    """Say how often one model is right: its first answer, and one of its first five."""

    top1: Share
    top5: Share
    calibration: Calibration


@dataclass(frozen=True)
class Change:
    """Compare how often the two are right on the same images.

    difference: the candidate's top-1 accuracy less the reference's, with its 95 % interval (Newcombe's for paired
        proportions). p_value: of McNemar's exact test that neither is right more often.
    only_reference, only_candidate: how many images only one of them gets right.
    """

    difference: float
    low: float
    high: float
    only_reference: int
    only_candidate: int
    p_value: float


@dataclass(frozen=True)
class ClassAccuracy:
    """Count the images of one class, and how many of them each of the two gets right."""

    label: str
    images: int
    reference: int
    candidate: int


@dataclass(frozen=True)
class ClassLoss:
    """Say how much less often the candidate is right on the images of one class.

    loss: the share of right answers that it loses against the reference. low, high: its bounds; all bounds of one
        side, of every class of the run, hold together with the confidence that is asked for (Bonferroni's).
    only_reference, only_candidate: how many images only one of them gets right.
    """

    label: str
    images: int
    only_reference: int
    only_candidate: int
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Taken:
    """Say which answers of a model an app takes: those at its threshold or above.

    right: the share of right ones among them; None where it takes none.
    """

    taken: Share
    right: Share | None


@dataclass(frozen=True)
class Selective:
    """Say what an app does that takes an answer only where its probability is at least the threshold.

    risen, fallen: the images whose answer it takes of the candidate alone, and of the reference alone.
    """

    threshold: float
    reference: Taken
    candidate: Taken
    risen: Share
    fallen: Share


@dataclass(frozen=True)
class Accuracy:
    """Say how often reference and candidate are right on the images of which it is known what they show.

    worst_classes: those that the candidate gets right least often, the worst first.
    commonest: how many images show the label that most of them do.
    losing_classes: those that lose most, the largest loss first. selective: None where there is no threshold.
    """

    images: int
    reference: Correctness
    candidate: Correctness
    change: Change
    worst_classes: tuple[ClassAccuracy, ...]
    commonest: int = 0
    losing_classes: tuple[ClassLoss, ...] = ()
    selective: Selective | None = None
