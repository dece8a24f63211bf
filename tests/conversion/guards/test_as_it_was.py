"""A module that went through an exporter holds the very objects that it held before."""

from __future__ import annotations

import pytest
import torch

from conversion.fingerprint.reach import reach
from conversion.guards.as_it_was import as_it_was


class Scaled(torch.nn.Module):
    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factors[0]


class Pair(torch.nn.Module):
    """Two parts that share a list."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = [2.0]
        self.part = Scaled(self.factors)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.part(x) + self.factors[0]


def test_what_parts_share_is_shared_after_an_export() -> None:
    module = Pair().eval()
    shared, before = module.factors, reach(module)

    with as_it_was(module):
        torch.export.export(module, (torch.zeros(1),))

    assert module.factors is module.part.factors is shared
    assert reach(module) == before


def test_an_exporter_alone_copies_them() -> None:
    # Where this fails, torch.export leaves modules alone, and the guard can go.
    module = Pair().eval()

    torch.export.export(module, (torch.zeros(1),))

    assert module.factors is not module.part.factors


def test_what_was_added_or_replaced_before_an_error_is_gone() -> None:
    module = Pair()
    shared = module.factors

    def fail() -> None:
        module.part.factors = [3.0]
        module.added = 1
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"), as_it_was(module):
        fail()

    assert module.part.factors is shared
    assert not hasattr(module, "added")
