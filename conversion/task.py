"""What a model is for: the outputs that it has as the phone sees it, and what follows its module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The one output of a classifier: its kind, and its name, which is Core ML's own for it.
PROBABILITIES, CLASS_PROBABILITIES = "probabilities", "classLabelProbs"
# The same where each label is right or wrong by itself.
LABELS_APART, LABEL_PROBABILITIES = "probabilities of labels apart", "labelProbs"
# How many images of normalised noise a module is tried on before it is converted.
NOISE = 4


@dataclass(frozen=True)
class OutputSpec:
    """Describe one output of a model.

    name: what converted files call it.
    kind: what its numbers are; by this the metric is chosen that measures them (parity.core.metric).
    labels: of its columns, where they have names.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()


def _as_it_is(answer: Any) -> Any:
    return answer


@dataclass(frozen=True)
class Task:
    """Say what a model answers.

    outputs: in the order in which the deployed module gives them.
    head: what follows the module in the deployed model; takes what the module answers, gives one tensor
        [N, ...], or a tuple of them where there are several outputs.
    check: refuses a module by what it answers to NOISE images, as a ConversionError that begins with the model's
        name, which is given first; None takes all.
    """

    outputs: tuple[OutputSpec, ...]
    head: Callable[[Any], Any] = _as_it_is
    check: Callable[[str, Any], None] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of its classes; empty where it has none."""
        return next((output.labels for output in self.outputs if output.labels), ())
