"""Other shapes for the same elements. Source: coremltools' MIL definitions, family tensor_transformation."""

from __future__ import annotations

import torch

from parity.coreml.registry import op


@op("reshape", exact=True, view=True)
def reshape(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Give the elements another shape; 0 keeps the size of that axis, -1 is worked out."""
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])
