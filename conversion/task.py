"""What a model is for: the outputs that it has as the phone sees it, and what follows its module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conversion.classifier import Model

# The one output of a classifier: its kind, and its name, which is Core ML's own for it.
PROBABILITIES, CLASS_PROBABILITIES = "probabilities", "classLabelProbs"


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


def _no_more(model: Model) -> None:
    return None


@dataclass(frozen=True)
class Task:
    """Say what a model answers.

    outputs: in the order in which the deployed module gives them.
    head: what follows the module in the deployed model; takes what the module answers, gives one tensor
        [N, ...], or a tuple of them where there are several outputs.
    check: refuses a model that does not answer what the task asks for, as a ConversionError.
    """

    outputs: tuple[OutputSpec, ...]
    head: Callable[[Any], Any] = _as_it_is
    check: Callable[[Model], None] = _no_more

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of its classes; empty where it has none."""
        return next((output.labels for output in self.outputs if output.labels), ())


def classification(labels: tuple[str, ...]) -> Task:
    """Make the task of a classifier: logits in, one probability for each label out."""
    return Task((OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, labels),), _softmax, _check_classifier)


def _softmax(logits: Any) -> Any:
    import torch

    return torch.softmax(logits, dim=1)


def _check_classifier(model: Model) -> None:
    from conversion.deployed import check_classifier

    check_classifier(model)
