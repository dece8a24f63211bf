"""Attention. Source: coremltools' MIL definitions, family transformers."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from parity.coreml.registry import op


@op("scaled_dot_product_attention", since="iOS18")
def scaled_dot_product_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute softmax(query @ key.T / sqrt(E) + mask) @ value; query [B, ..., L, E], key and value [B, ..., S, E].

    attn_mask: broadcast to [B, ..., L, S]; false leaves a key out, a number is added to the score.
    """
    return F.scaled_dot_product_attention(query, key, value, attn_mask)
