"""A module whose own arithmetic is rounded to fp16, operation by operation, while PyTorch computes in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# fp16 keeps so many bits fewer of a fraction than fp32 does, its smallest normal number, and the step below that.
_DROPPED, _SMALLEST_NORMAL, _STEP = 13, 2.0**-14, 2.0**-24


def fp16_answers(module: torch.nn.Module, pixels: np.ndarray, draw: int = 0) -> np.ndarray:
    """Answer with a deployed module whose own arithmetic is rounded to fp16: [N, classes], one image at a time.

    module: of conversion.deployed; it keeps its weights. pixels: uint8 [N, H, W, 3], at least one image. draw: 0
    rounds the weights to nearest; any other number up or down by chance, each time the same for the same number.
    A converter folds the batch norms in before it rounds: which weights go up and which go down is a choice that is
    free of bias, and moves all that comes behind.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from conversion.deployed import answer_singly, without_mha_fastpath

    # Attention as its single operations: a fused kernel would be one, and nothing inside it rounded.
    with without_mha_fastpath(), sdpa_kernel(SDPBackend.MATH), _rounding_mode(draw):
        return answer_singly(module, pixels)


def _rounding_mode(draw: int) -> Any:
    """Make a torch mode that rounds what every operation reads and gives to fp16, computing in fp32.

    Not for use under inference_mode: a view of a weight is there a view of its rounded copy, and torch keeps no
    count of versions for a tensor that comes from inference mode.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    chance = torch.Generator().manual_seed(draw) if draw else None

    def half(value: torch.Tensor) -> torch.Tensor | None:
        """Return a rounded copy; None for a tensor that holds fp16 numbers already."""
        copied = value.to(torch.float16).to(torch.float32)
        # By their bits, because NaN differs from itself.
        return None if torch.equal(copied.view(torch.int32), value.view(torch.int32)) else copied

    def is_rounded(value: Any) -> bool:
        return not isinstance(value, torch.Tensor) or value.dtype is not torch.float32

    class Rounding(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            # Weights stay what they are: the memory of each has one copy, which stands for it to the end. So what a
            # module writes into a buffer is there when it reads it again, through whichever view. The memory is
            # kept with its copy, so that no other can take over its address.
            self.copies: dict[int, tuple[torch.UntypedStorage, torch.Tensor]] = {}

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # Inside a mode torch calls its own operations without the mode, so this does not recurse.
            result = func(*tree_map(self.rounded, args), **tree_map(self.rounded, kwargs or {}))
            return tree_map(self.round_in_place, result)

        def rounded(self, value: Any) -> Any:
            """Return the tensor itself where it holds fp16 numbers already: ReLU(inplace=True) writes into it."""
            if is_rounded(value):
                return value
            memory = value.untyped_storage()
            if memory._cdata not in self.copies:
                if half(value) is None:
                    return value
                whole = torch.empty(0, dtype=value.dtype).set_(memory)
                drawn = rounded_by_chance(whole, chance) if chance else whole
                self.copies[memory._cdata] = memory, drawn.to(torch.float16).to(value.dtype)
            copied = self.copies[memory._cdata][1]
            return copied.as_strided(value.size(), value.stride(), value.storage_offset())

        def round_in_place(self, value: Any) -> Any:
            """Round a result where it lies: it may be what an operation wrote into, or what a view shows."""
            if is_rounded(value) or (copied := half(value)) is None:
                return value
            return value.copy_(copied)

    return Rounding()


def rounded_by_chance(exact: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Round float32 to numbers of fp16, up or down by chance, the nearer the likelier; beyond its range they stay.

    exact: of one dimension.
    """
    import torch

    bits = exact.contiguous().view(torch.int32)
    # Some bits more may carry into those that are kept; all of this is of the magnitude, whatever the sign.
    more = torch.randint(0, 1 << _DROPPED, bits.shape, generator=chance, dtype=torch.int32)
    normal = ((bits + more) & -(1 << _DROPPED)).view(torch.float32)
    small = torch.floor(exact / _STEP + more / (1 << _DROPPED)) * _STEP
    # In between, fp16 has infinity alone, which is no chance but an overflow.
    largest = torch.finfo(torch.float16).max
    return torch.where(exact.abs() < _SMALLEST_NORMAL, small, torch.where(exact.abs() < largest, normal, exact))
