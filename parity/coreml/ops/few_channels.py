"""Images of few channels that lie with these last, and a number for each channel.

PyTorch goes over such an image three numbers at a time. Over whole rows, with the numbers repeated along them, it
takes a fifth of the time and computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch

_Binary = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# With more channels a row of them is long enough.
_FEW = 8


def row_by_row(function: _Binary) -> _Binary:
    """Make of a function of two tensors, element by element, one that goes over rows where that is quicker.

    function: may write over its first argument. The first is an image [N, C, H, W], the second [C, 1, 1] or
    [1, C, 1, 1]; whatever else the two are, they go to the function as they are.
    """

    @wraps(function)
    def over_rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if not _few_channels(x, y):
            return function(x, y)
        channels, width = y.numel(), x.shape[3]
        numbers = y.flatten().expand(width, channels).flatten()
        rows = function(x.permute(0, 2, 3, 1).flatten(2), numbers)
        image: torch.Tensor = rows.unflatten(2, (width, channels))
        return image.permute(0, 3, 1, 2)

    return over_rows


def _few_channels(x: torch.Tensor, y: torch.Tensor) -> bool:
    if x.ndim != 4 or not 1 < x.shape[1] < _FEW or y.shape not in ((x.shape[1], 1, 1), (1, x.shape[1], 1, 1)):
        return False
    channels_last: bool = x.is_contiguous(memory_format=torch.channels_last)
    return channels_last and not x.is_contiguous() and x.numel() > 0
