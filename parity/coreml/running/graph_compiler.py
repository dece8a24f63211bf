"""oneDNN's graph compiler, as PyTorch has it: whether it is there, and a time in which it compiles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_COMPILING = threading.RLock()


def can_fuse() -> bool:
    """Say whether this build of PyTorch has oneDNN's graph compiler."""
    return torch.backends.mkldnn.is_available() and hasattr(torch._C, "_jit_set_llga_enabled")


@contextmanager
def compiler() -> Iterator[None]:
    """Let PyTorch compile by oneDNN, in one thread at a time; the user's own setting is back afterwards."""
    binding: Any = torch._C
    with _COMPILING:
        enabled = binding._jit_llga_enabled()
        binding._jit_set_llga_enabled(True)
        try:
            yield
        finally:
            binding._jit_set_llga_enabled(enabled)
