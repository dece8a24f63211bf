"""The reference of one model: what PyTorch answers for its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from conversion.guards.torch_defaults import with_torch_defaults
from parity.backends.pytorch import check_repeatable, load_reference
from parity.core.results import Prediction
from parity.core.tolerance import measure_fp16_cost, measure_fp32_cost
from parity.suite.images import ImageSet

if TYPE_CHECKING:
    from conversion import Classifier
    from conversion.artifact import Precision


@dataclass
class Reference:
    """Hold what PyTorch answers for one model, and what rounding costs it, measured when first asked for."""

    classifier: Classifier
    images: ImageSet
    prediction: Prediction

    @cached_property
    def fp16_cost(self) -> float:
        """Return what rounding to fp16 costs PyTorch itself on these images."""
        return measure_fp16_cost(self.classifier, self.images.pixels, self.prediction.probabilities)

    @cached_property
    def fp32_cost(self) -> float:
        """Return what fp32 costs PyTorch itself on these images."""
        return measure_fp32_cost(self.classifier, self.images.pixels, self.prediction.probabilities)

    def cost(self, precision: Precision) -> float:
        """Return what a precision costs PyTorch itself on these images."""
        return self.fp16_cost if precision == "fp16" else self.fp32_cost


@with_torch_defaults
def make_reference(classifier: Classifier, images: ImageSet) -> Reference:
    """Let PyTorch answer for every image; a module that does not answer twice the same is a ParityError."""
    predict = load_reference(classifier)
    if not images.names:
        return Reference(classifier, images, Prediction(np.zeros((0, len(classifier.labels))), classifier.labels))
    check_repeatable(classifier, predict, images.pixels)
    return Reference(classifier, images, predict(images.pixels))
