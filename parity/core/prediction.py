"""What a model answers to a list of images: the numbers of each output, and what the model itself says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from conversion.task import CLASS_PROBABILITIES, PROBABILITIES, OutputSpec
from parity.core.errors import ParityError


@dataclass(frozen=True)
class Prediction:
    """Hold a model's answers to a list of images.

    probabilities: [images, classes], of a classifier; it is the output of that name, else the only one there is.
    labels: class names in the order of the columns; None where the format has none, then columns count.
    top1: the name that the model itself gave each image (Core ML's classLabel); None: the largest column.
    source: who answered and where, if it was not this process.
    same_pixels: whether answers from elsewhere are known to be to the very pixels that are asked for.
    same_file: whether they are known to be of the very file that is asked about.
    answer_shape: of the array that the file gives for one batch; empty for a dictionary, or where it is not known.
    outputs: name -> [images, ...], every output that is measured.
    specs: what a reference's outputs are; empty for a classifier, whose `labels` say it.
    """

    probabilities: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    labels: tuple[str, ...] | None = None
    top1: tuple[str, ...] | None = None
    source: str = ""
    same_pixels: bool = False
    same_file: bool = False
    answer_shape: tuple[int, ...] = ()
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    specs: tuple[OutputSpec, ...] = ()

    def __post_init__(self) -> None:
        """Let the probabilities be one of the outputs, whichever of the two there is."""
        name = _answer_among(self.outputs)
        if not self.outputs or (name and self.probabilities.size):
            object.__setattr__(self, "outputs", {**self.outputs, name: self.probabilities})
        elif name:
            object.__setattr__(self, "probabilities", self.outputs[name])

    @property
    def measured(self) -> tuple[OutputSpec, ...]:
        """Return what a reference's outputs are; one that does not say it is a ParityError."""
        if not self.specs and self.labels is None:
            raise ParityError("the reference has no labels; a Classifier always gives them")
        return self.specs or (OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, self.labels or ()),)

    def answering(self, outputs: Mapping[str, np.ndarray]) -> Prediction:
        """Return the same with other numbers."""
        return replace(self, outputs=outputs, probabilities=outputs.get(_answer_among(outputs), self.probabilities))

    def of(self, rows: Any) -> Prediction:
        """Return the answers to some of the images alone. rows: what indexes an array of them."""
        chosen = self.answering({name: answers[rows] for name, answers in self.outputs.items()})
        return replace(chosen, top1=self.top1 and tuple(np.array(self.top1, dtype=object)[rows]))


def _answer_among(outputs: Mapping[str, np.ndarray]) -> str:
    """Name the output that the probabilities are: a classifier's, else the only one; empty where several are."""
    alone = next(iter(outputs), CLASS_PROBABILITIES) if len(outputs) < 2 else ""
    return CLASS_PROBABILITIES if CLASS_PROBABILITIES in outputs else alone
