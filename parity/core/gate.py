"""The gate on accuracy: how much less often than PyTorch a candidate may be right, and what came of asking.

It is another question than whether the two agree, and has a verdict of its own. The verdict is reached in
parity/metrics/classification/gate.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Interval

from parity.core.errors import ParityError

# Which of the two questions decides the exit code.
Decides = Literal["both", "accuracy", "parity"]
DECIDES: tuple[Decides, ...] = ("both", "accuracy", "parity")
GateVerdict = Literal["pass", "fail", "inconclusive"]
GATE_VERDICTS: tuple[GateVerdict, ...] = ("pass", "fail", "inconclusive")


@dataclass(frozen=True)
class Gate:
    """Ask whether a candidate keeps its accuracy.

    accuracy_loss: the margin, by how much the share of right answers may fall, above 0 and below 1.
    confidence: of each bound of the loss, one-sided, above 0.5.
    threshold: the confidence from which on the app takes an answer, where it has such a threshold.
    decides: which verdicts the exit code comes from.
    """

    accuracy_loss: Annotated[float, Interval(gt=0, lt=1)]
    confidence: Annotated[float, Interval(gt=0.5, lt=1)] = 0.95
    threshold: Annotated[float, Interval(gt=0, lt=1)] | None = None
    decides: Decides = "both"

    def __post_init__(self) -> None:
        ranges = {
            "accuracy_loss": (self.accuracy_loss, 0),
            "confidence": (self.confidence, 0.5),
            "threshold": (0.5 if self.threshold is None else self.threshold, 0),
        }
        for name, (value, least) in ranges.items():
            if not least < value < 1:
                raise ParityError(f"{name} of a gate is {value:g}; give a number above {least:g} and below 1")


@dataclass(frozen=True)
class GateChange:
    """Say what of a gate somebody wants to be otherwise; None leaves it as it is."""

    accuracy_loss: float | None = None
    confidence: float | None = None
    threshold: float | None = None
    decides: Decides | None = None

    def over(self, gate: Gate | None) -> Gate | None:
        """Return the gate with what is wanted in it; None where nobody asks for one."""
        wanted = {name: value for name, value in vars(self).items() if value is not None}
        if gate is None and self.accuracy_loss is None:
            if wanted and wanted != {"decides": "parity"}:
                name = next(iter(wanted))
                option = "gate" if name == "decides" else name
                raise ParityError(
                    f"--{option} {wanted[name]}: there is no gate on accuracy; give --accuracy-loss, or `[gate]` "
                    "in the suite file"
                )
            return None
        return Gate(**wanted) if gate is None else replace(gate, **wanted)


# What somebody says who says nothing of the gate.
UNCHANGED = GateChange()


@dataclass(frozen=True)
class GateResult:
    """Say whether a candidate keeps its accuracy, and how that is known.

    verdict: `pass` where the loss is shown to be below the margin, `fail` where it is shown to be above.
    reason: why nothing can be concluded, empty where something can.
    loss: PyTorch's share of right answers less the candidate's, on the same `images`. low, high: its bounds, each
        of them with this confidence by itself.
    images_needed: how many images would decide it four times out of five, if they are like these; None where that
        cannot be said, or it is decided.
    """

    verdict: GateVerdict
    margin: float
    confidence: float
    reason: str = ""
    images: int = 0
    loss: float | None = None
    low: float | None = None
    high: float | None = None
    images_needed: int | None = None


def tell_gate(result: GateResult) -> str:
    """Tell what a candidate loses, in points of a hundred, and how sure that is."""
    if result.loss is None or result.low is None or result.high is None:
        return result.reason
    sure = f"with {100 * result.confidence:g} % confidence"
    bound = {
        "pass": f"{sure} at most {100 * result.high:.3f}",
        "fail": f"{sure} at least {100 * result.low:.3f}",
        "inconclusive": f"{sure} at least {100 * result.low:.3f}, and at most {100 * result.high:.3f}",
    }[result.verdict]
    told = f"loses {100 * result.loss:.3f} points of accuracy, {bound}; {100 * result.margin:g} may be lost"
    return f"{told}: {result.reason}" if result.reason else told
