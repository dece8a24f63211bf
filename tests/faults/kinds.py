"""A fault of a kind: it changes one setting, one weight or one function of a module that has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.catalogue import MODERN, Fault
from tests.faults.changing import in_module

# In fp16 numbers that are 255 times too small lose their last bits: another fault comes to the first.
EXACT = ("onnx", "mlprogram-fp32")


def kind(name: str, cause: str, networks: tuple[str, ...], change: Callable[[Any], bool | None]) -> Fault:
    return Fault(f"kind: {name}", (cause,), in_module(change), MODERN, networks=networks)
