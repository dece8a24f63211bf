"""Registration: a duplicate fails at import, a look-up takes the newest kernel that the opset has."""

from __future__ import annotations

import pytest
import torch

from parity.core.errors import CoreMLError
from parity.coreml import registry


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.operations()  # load the real ones first, so that they do not land in the empty one
    registry.layers()
    monkeypatch.setattr(registry, "_OPERATIONS", {})
    monkeypatch.setattr(registry, "_LAYERS", {})


def test_a_duplicate_names_its_holder() -> None:
    @registry.op("twist")
    def first(x: torch.Tensor) -> torch.Tensor:
        return x

    with pytest.raises(ValueError, match="twist since iOS15 is registered by .*first"):
        registry.op("twist")(first)


def test_a_duplicate_layer_names_its_holder() -> None:
    registry.layer("twist")(lambda message: lambda x: x)

    with pytest.raises(ValueError, match="layer twist is registered by"):
        registry.layer("twist")(lambda message: lambda x: x)


def test_an_unknown_opset_is_refused_at_import() -> None:
    def kernel(x: torch.Tensor) -> torch.Tensor:
        return x

    with pytest.raises(ValueError, match="unknown opset iOS3"):
        registry.op("twist", since="iOS3")(kernel)


def test_the_newest_meaning_up_to_the_opset_is_found() -> None:
    @registry.op("twist")
    def old(x: torch.Tensor) -> torch.Tensor:
        return x

    @registry.op("twist", since="iOS17")
    def new(x: torch.Tensor) -> torch.Tensor:
        return -x

    found = {opset: registry.find_operation("twist", opset) for opset in registry.OPSETS}

    assert [k.function.__name__ for k in found.values() if k] == ["old", "old", "new", "new", "new"]


def test_an_operation_of_a_later_opset_is_not_found_in_an_earlier_one() -> None:
    @registry.op("twist", since="iOS17")
    def new(x: torch.Tensor) -> torch.Tensor:
        return x

    assert registry.find_operation("twist", "iOS16") is None


def test_a_file_with_an_unknown_opset_is_an_error() -> None:
    with pytest.raises(CoreMLError, match="unknown opset `iOS99`"):
        registry.find_operation("twist", "iOS99")
