"""A bare network -> models.py, which makes a Classifier of it and says what is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parity.starting.files import MARK
from parity.starting.network import numbers
from parity.starting.plan import FUNCTION

if TYPE_CHECKING:
    from conversion.classifier import Classifier
    from parity.starting.network import Assumptions, StartingModel


def models_text(model: StartingModel, assumptions: Assumptions) -> str:
    """Write models.py: what is assumed of a network stands above the line that assumes it."""
    classifier, preprocessing = model.classifier, model.classifier.preprocessing
    return f"""{MARK}; yours to change. Confirm each line that is assumed.
from pathlib import Path

from conversion import Classifier, Preprocessing
from parity.suite.models import load_callable

PREPROCESSING = Preprocessing(
    # Assumed {assumptions.size}.
    size={preprocessing.size!r},
    # Assumed {assumptions.resize}.
    resize={preprocessing.resize!r},
    # Assumed {assumptions.statistics}.
    mean={preprocessing.mean!r},
    std={preprocessing.std!r},
)
# Assumed {assumptions.labels}.
LABELS = {_labels(classifier.labels)}


def {FUNCTION}() -> Classifier:
    # Assumed: {assumptions.weights}.
    network = load_callable({model.reference!r}, Path(__file__).parent)()
    # Assumed {assumptions.head}.
    return Classifier({_arguments(classifier, model)})
"""


def _arguments(classifier: Classifier, model: StartingModel) -> str:
    head = [f"{name}={value!r}" for name, value in model.head.items()]
    return ", ".join([repr(classifier.name), "network.eval()", "PREPROCESSING", "LABELS", *head])


def _labels(labels: Sequence[str]) -> str:
    if labels == numbers(len(labels)):
        return f"tuple(str(number) for number in range({len(labels)}))"
    return "\n".join(["(", *(f"    {label!r}," for label in labels), ")"])
