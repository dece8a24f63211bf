"""What every report shows of how often reference and candidate are right."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.accuracy import Accuracy, Share
from parity.report.case_view import show_label
from parity.report.text import counted


@dataclass(frozen=True)
class AccuracyView:
    """Show how often both are right; sides, classes: rows of a table, in words."""

    images: int
    sides: tuple[tuple[str, ...], ...]
    change: str
    classes: tuple[tuple[str, ...], ...]


def show_accuracy(accuracy: Accuracy | None) -> AccuracyView | None:
    """Make what reports show of accuracy; None where it is not known."""
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
    )


def _share(share: Share) -> str:
    return f"{100 * share.share:.2f} % ({100 * share.low:.2f} to {100 * share.high:.2f})"


def _hundredths(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"
