"""The end of a classifier. Source: coremltools' MIL definitions, family classify."""

from __future__ import annotations

from typing import Any

import torch

from parity.coreml.registry import op


@op("classify")
def classify(probabilities: torch.Tensor, classes: Any) -> tuple[Any, dict[Any, float]]:
    """Return the most probable class and the dictionary of all; the first of equals wins."""
    if isinstance(classes, torch.Tensor):
        classes = tuple(classes.tolist())
    flat = probabilities.reshape(-1)
    return classes[int(flat.argmax())], dict(zip(classes, flat.tolist(), strict=True))
