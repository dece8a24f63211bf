"""Choice among overlapping boxes. Source: NeuralNetwork.proto, NonMaximumSuppressionLayerParams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.ops.tensor_operation import non_maximum_suppression as choose
from parity.coreml.registry import layer

_Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@layer("NonMaximumSuppression")
def non_maximum_suppression(params: Any) -> Callable[..., _Four]:
    """Choose as the operation of ML Programs does; the thresholds and `maxBoxes` may be inputs."""
    fixed = [params.iouThreshold, params.scoreThreshold, float(params.maxBoxes)]
    per_class = bool(params.perClassSuppression)

    def run(boxes: torch.Tensor, scores: torch.Tensor, *limits: torch.Tensor) -> _Four:
        overlap, least, most = [one.item() for one in limits] + fixed[len(limits) :]
        kept, kept_scores, indices, counts = choose(boxes, scores, overlap, least, int(most), per_class)
        return kept, kept_scores, indices.float(), counts.float()

    return run
