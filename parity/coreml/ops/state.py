"""State. Source: coremltools' MIL definitions, iOS18, and its exporter (backend/mil/load.py)."""

from __future__ import annotations

from typing import Any

import torch

from parity.coreml.registry import op


@op("read_state", since="iOS18", exact=True, view=True)
def read_state(input: Any) -> torch.Tensor:  # noqa: A002 - Apple's name
    """Take the state's value as it is now."""
    value: torch.Tensor = input.tensor
    return value


@op("write_state", since="iOS18", view=True)
def write_state(input: Any, data: torch.Tensor) -> tuple[()]:  # noqa: A002 - Apple's name
    """Give the state a value. Only files have this operation: coreml_update_state without its result."""
    input.write(data)
    return ()


@op("coreml_update_state", since="iOS18", exact=True, view=True)
def coreml_update_state(state: Any, value: torch.Tensor) -> torch.Tensor:
    """Give the state a value and take it."""
    state.write(value)
    taken: torch.Tensor = state.tensor
    return taken
