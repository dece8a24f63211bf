"""The verdict of the gate on accuracy: is the candidate's loss of right answers shown to be below the margin?

    right and wrong on the same images --> bounds of the loss --> pass, fail or inconclusive

A candidate passes where the upper bound is below the margin, and fails where the lower bound is above it. Each
bound is wrong in a share of 1 - confidence of all runs at most, however often the two models differ.
"""

from __future__ import annotations

from dataclasses import replace

from parity.core.accuracy import Accuracy
from parity.core.gate import Gate, GateResult, GateVerdict
from parity.core.results import Run
from parity.metrics.classification.noninferiority import images_needed, lower_bound, upper_bound

# In how many of such runs the number of images that is asked for is to decide.
POWER = 0.8
NO_LABELS = (
    "of no image it is known what it shows: run on `--images` whose directories are called like the classes, or "
    "give `--labels` with them"
)

NOT_ONE_LABEL = "its labels are judged apart (sigmoid), and accuracy is measured of models that give one label"


def judge_gate(gate: Gate, accuracy: Accuracy | None, unknown: str = NO_LABELS) -> GateResult:
    """Judge how often the two are right. unknown: why that is not known, where it is not."""
    if accuracy is None:
        return GateResult("inconclusive", gate.accuracy_loss, gate.confidence, unknown)
    margin, alpha = gate.accuracy_loss, 1 - gate.confidence
    change, total = accuracy.change, accuracy.images
    table = change.only_reference, change.only_candidate, total
    loss = (change.only_reference - change.only_candidate) / total
    low, high = lower_bound(*table, alpha, margin), upper_bound(*table, alpha, margin)
    verdict: GateVerdict = "pass" if high < margin else "fail" if low > margin else "inconclusive"
    reason, needed = "", None
    if blind := _blind(accuracy, alpha):
        verdict, reason = "inconclusive", blind
    elif verdict == "inconclusive":
        needed = images_needed(*table, margin, alpha, POWER)
        reason = _straddling(needed)
    return GateResult(verdict, margin, gate.confidence, reason, total, loss, low, high, needed)


def gated(run: Run, gate: Gate | None) -> Run:
    """Ask a run that is judged, and holds all that it says of its images, whether accuracy is kept."""
    subjects = tuple(
        replace(s, gate=judge_gate(gate, s.accuracy) if gate and s.verdict not in ("error", "skipped") else None)
        for s in run.subjects
    )
    return replace(run, gate=gate, subjects=subjects)


def _blind(accuracy: Accuracy, alpha: float) -> str:
    """Say why a loss would not show; empty where it would. A reference that is not right has nothing to lose."""
    from scipy.stats import binomtest

    right, commonest = accuracy.reference.top1, accuracy.commonest
    chance = commonest / accuracy.images
    if chance < 1 and binomtest(right.count, right.total, chance, alternative="greater").pvalue <= alpha:
        return ""
    return (
        f"PyTorch itself is right on {right.count:,} of {right.total:,} images, and whoever always gives the "
        f"commonest label is on {commonest:,}: what is lost of that says nothing"
    )


def _straddling(needed: int | None) -> str:
    if needed is None:
        return "the loss is the margin itself, as far as these images show; more of them would not decide it"
    return (
        f"too few images: about {needed:,} would decide it, four times out of five, if the loss and the share of "
        "images on which the two differ stay as they are here"
    )
