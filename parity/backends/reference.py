"""The reference of one model: what PyTorch answers for its images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conversion.classifier import Classifier
from conversion.guards.torch_defaults import with_torch_defaults
from conversion.sources.transform_check import difference_told
from parity.backends.pytorch import check_repeatable, load_reference, named
from parity.core.errors import ParityError
from parity.core.metric import metric_of
from parity.core.noise import SAMPLE
from parity.core.results import Prediction
from parity.core.tolerance import (
    Apart,
    CostUnknownError,
    Tolerance,
    measure_fp16_cost,
    measure_fp32_cost,
    with_second_look,
)
from parity.suite.images import ImageSet

if TYPE_CHECKING:
    from conversion import Artifact, Model
    from conversion.artifact import Precision

# What something was measured on, as reasons say it.
ALL_IMAGES = "these images"


@dataclass
class Reference:
    """Hold what PyTorch answers for one model, and what rounding costs it, measured when first asked for."""

    model: Model
    images: ImageSet
    prediction: Prediction
    # What compressed weights cost PyTorch itself, by the file that they stand in.
    compression_costs: dict[Path, float] = field(default_factory=dict)
    # The model with a file's compressed weights in the place of its own, by that file; None: no such twin.
    twins: dict[Path, Reference | None] = field(default_factory=dict)

    @property
    def classifier(self) -> Classifier:
        """Return the model for those who look at its classes; one with another task is a ParityError."""
        if not isinstance(self.model, Classifier):
            raise ParityError(f"{self.model.name} is no classifier, and this looks at classes")
        return self.model

    @cached_property
    def own_pixels(self) -> str:
        """Say how far the pixels that the model's own library makes are from these; "" where they agree."""
        return difference_told(self.model, self.images.files) if isinstance(self.model, Classifier) else ""

    @cached_property
    def fp16_cost(self) -> float:
        """Return what rounding to fp16 costs PyTorch itself on these images, or on a sample of many."""
        return self.measured_by(measure_fp16_cost)

    @cached_property
    def fp32_cost(self) -> float:
        """Return what fp32 costs PyTorch itself on these images."""
        answers, apart = self.numbers
        return measure_fp32_cost(self.model, self.images.pixels, answers, apart)

    @property
    def sample(self) -> np.ndarray:
        """List the places of the images that rounding is measured on: all, or some of many, evenly spaced."""
        return spaced_sample(len(self.images.names))

    @property
    def measured_on(self) -> str:
        """Say on which images `measured_by` measures."""
        images, count = len(self.images.names), len(self.sample)
        return ALL_IMAGES if count == images else f"{count} images, evenly spaced over all {images}"

    def measured_by(self, measure: Callable[[Model, np.ndarray, np.ndarray, Apart], float]) -> float:
        """Return what a measurement of PyTorch's own module comes to on these images, or on a sample of many."""
        answers, apart = self.numbers
        return measure(self.model, self.images.pixels[self.sample], answers[self.sample], apart)

    def cost(self, precision: Precision) -> float:
        """Return what a precision costs PyTorch itself on these images."""
        return self.fp16_cost if precision == "fp16" else self.fp32_cost

    def tolerances(self, artifact: Artifact) -> Iterator[Tolerance]:
        """Give the default tolerances of an artefact by the metric, the strictest first."""
        # What fp32 costs is measured on all.
        measured_on = self.measured_on if artifact.precision == "fp16" else ALL_IMAGES
        return metric_of(self.prediction.measured[0].kind).tolerances(artifact, self.cost, measured_on)

    def with_second_look(self, tolerance: Tolerance, precision: str) -> Tolerance:
        """Let images beyond be looked at again, where the tolerance was measured on images."""
        return with_second_look(tolerance, precision, len(self.sample))

    @property
    def numbers(self) -> tuple[np.ndarray, Apart]:
        """Return the answers, and what measures how far others are from them."""
        specs = self.prediction.measured
        if len(specs) > 1:
            raise CostUnknownError(f"what rounding costs is measured of one output, and there are {len(specs)}")
        spec, metric = specs[0], metric_of(specs[0].kind)

        def measured(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
            one, other = expected.astype(np.float64), actual.astype(np.float64)
            distances = (measurement.distance for measurement in metric.measure(spec, one, other, None))
            return np.array([np.nan if distance is None else distance for distance in distances])

        return self.prediction.outputs[spec.name], metric.apart or measured


@with_torch_defaults
def make_reference(model: Model, images: ImageSet) -> Reference:
    """Let PyTorch answer for every image; a module that does not answer twice the same is a ParityError."""
    predict = load_reference(model)
    if not images.names:
        empty = [np.zeros((0, len(spec.labels)) if spec.labels else (0,)) for spec in model.task.outputs]
        return Reference(model, images, named(model.task, empty))
    check_repeatable(model, predict, images.pixels)
    return Reference(model, images, predict(images.pixels))


def spaced_sample(images: int) -> np.ndarray:
    """List the places of SAMPLE images among so many, evenly spaced; all where there are no more."""
    count = min(SAMPLE, images)
    return np.arange(count) * images // max(count, 1)
