"""How large the values of a plan may become: what keeps them finite, without looking at them.

A bound follows from those of what an operation reads. An operation on one value whose results are largest at an end
of its range is asked itself, with the bound in every place; a convolution and a product know the sums of their
weights. Infinity stands for no bound.

    what is read <= MULTIPLIABLE or bounded --> what is computed <= COMPUTABLE --> a value <= LARGEST of its type
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from parity.coreml.program import Node

_ACTIVATIONS = ("clip", "gelu", "leaky_relu", "relu", "relu6", "sigmoid", "sigmoid_hard", "silu", "tanh")
_AFFINE = ("add", "avg_pool", "batch_norm", "max_pool", "mul", "pad", "sub", "thresholded_relu")
# One value in, and no result is larger than those for the bound everywhere, or for its opposite everywhere.
_LARGEST_AT_ENDS = frozenset((*_ACTIVATIONS, *_AFFINE))
_SHAPING = ("concat", "expand_dims", "reshape", "slice_by_index", "squeeze", "transpose")
# They give elements that they read, or means of those.
_KEEPING = frozenset((*_SHAPING, "reduce_mean"))
# Above it nothing is said of a value: fp16's largest number; for fp32 what leaves room for a layer's weights.
LARGEST: Mapping[str, float] = {"fp16": 65504.0, "fp32": 1e30}
# Both types are computed in float32, which ends at 3e38.
COMPUTABLE = 1e37
# A product of two such numbers, summed over any layer, stays below that.
MULTIPLIABLE = 1e15


def computed(node: Node, read: Sequence[float], values: Sequence[torch.Tensor]) -> float:
    """Bound the magnitude of what a node computes, before that is brought to its type.

    read: bounds of what it reads; values: an example of it, for its shape.
    """
    if node.role == "softmax":
        return 1.0
    if node.role in _KEEPING:
        return max(read)
    if node.gain is not None and len(read) == 1:
        factor, offset = node.gain()
        return factor * read[0] + offset
    if node.role in ("add", "sub") and len(read) == 2:
        return sum(read)
    if node.role == "mul" and len(read) == 2:
        return math.prod(read)
    if node.role in _LARGEST_AT_ENDS and len(read) == 1:
        (value,) = values
        ends = [node.run(torch.full_like(value, end))[0] for end in (read[0], -read[0])]
        return max(float(end.abs().amax().nan_to_num(math.inf, math.inf)) for end in ends)
    return math.inf


def bound(node: Node, largest: float) -> float:
    """Bound what a node gives; infinity where bringing it to its type may have made one of `largest`."""
    # The comparison is false where it is NaN.
    return largest if all(largest <= LARGEST[value.dtype] for value in node.outputs) else math.inf
