"""Padding and joining of tensors. Source: coremltools' MIL definitions, family tensor_operation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from parity.coreml.registry import op

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}


@op("pad", exact=True)
def pad(
    x: torch.Tensor, pad: tuple[int, ...], mode: str = "constant", constant_val: float = 0.0
) -> torch.Tensor:
    """Pad the last len(pad) / 2 axes; pad is (before, after) per axis, in the axes' order."""
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    backwards = [side for pair in reversed(pairs) for side in pair]
    if mode == "constant":
        return F.pad(x, backwards, value=constant_val)
    return F.pad(x, backwards, mode=_PAD_MODES[mode])
