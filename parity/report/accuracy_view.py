"""What every report shows of how often reference and candidate are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parity.core.accuracy import Accuracy, Calibration, ClassLoss, Selective, Share
from parity.report.case_view import show_label
from parity.report.text import counted


@dataclass(frozen=True)
class AccuracyView:
    """Show how often both are right; sides, classes, losing: rows of a table, in words.

    losing: the classes that lose most; losing_told: what their intervals mean. selective: what the app's threshold
    makes of the answers, a line each; threshold: None where there is none. calibration: of PyTorch and of the
    candidate.
    """

    images: int
    sides: tuple[tuple[str, ...], ...]
    change: str
    classes: tuple[tuple[str, ...], ...]
    losing: tuple[tuple[str, ...], ...]
    losing_told: str
    selective: tuple[str, ...]
    threshold: float | None
    calibration: tuple[Calibration, Calibration]


def show_accuracy(accuracy: Accuracy | None, confidence: float = 0.95) -> AccuracyView | None:
    """Make what reports show of accuracy; None where it is not known. confidence: of the bounds of classes."""
    if accuracy is None:
        return None
    change = accuracy.change
    points, low, high = (100 * share for share in (change.difference, change.low, change.high))
    return AccuracyView(
        accuracy.images,
        tuple(
            (name, _share(side.top1), _share(side.top5), _hundredths(side.calibration.error))
            for name, side in (("PyTorch", accuracy.reference), ("candidate", accuracy.candidate))
        ),
        f"{points:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}), "
        f"{counted(change.only_reference, 'image')} right by PyTorch alone, "
        f"{counted(change.only_candidate, 'image')} by the candidate alone, p = {change.p_value:.2g} (McNemar)",
        tuple(
            (show_label(one.label), f"{one.images:,}", f"{one.reference:,}", f"{one.candidate:,}")
            for one in accuracy.worst_classes
        ),
        tuple(map(_losing, accuracy.losing_classes)),
        f"classes that lose most ({100 * confidence:g} % for the bounds of all classes together, Bonferroni)",
        tuple(_selective(accuracy.selective)) if accuracy.selective else (),
        accuracy.selective.threshold if accuracy.selective else None,
        (accuracy.reference.calibration, accuracy.candidate.calibration),
    )


def _losing(one: ClassLoss) -> tuple[str, ...]:
    loss = f"{100 * one.loss:.2f} points ({100 * one.low:.2f} to {100 * one.high:.2f})"
    return show_label(one.label), f"{one.images:,}", f"{one.only_reference:,}", f"{one.only_candidate:,}", loss


def _selective(selective: Selective) -> Iterator[str]:
    for name, side in (("PyTorch", selective.reference), ("the candidate", selective.candidate)):
        right = f", and is right on {_share(side.right)} of them" if side.right else ""
        yield f"at the threshold {selective.threshold:g} {name} answers {_share(side.taken)} of the images{right}"
    fallen, risen = (_share(share) for share in (selective.fallen, selective.risen))
    yield f"{fallen} of the images fall below the threshold, and {risen} rise to it"


def _share(share: Share) -> str:
    return f"{100 * share.share:.2f} % ({100 * share.low:.2f} to {100 * share.high:.2f})"


def _hundredths(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"
