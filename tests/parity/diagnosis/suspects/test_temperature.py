"""Logits that are multiplied before softmax, however much: small answers lose the logits, the file has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.catalogue import Fault
from tests.faults.changing import at_head
from tests.faults.measuring import measure


@pytest.mark.parametrize("factor", [0.02, 1.5, 50.0])
@pytest.mark.parametrize("format_name", ["onnx", "mlprogram-fp32"])
def test_the_factor_is_measured(factor: float, format_name: str, tmp_path: Path) -> None:
    fault = Fault("scaled", ("head-temperature",), at_head(lambda logits: (logits * factor).softmax(1)))

    outcome = measure(fault, "plain", format_name, tmp_path)

    assert not isinstance(outcome, str)
    assert outcome.told == (f"head-temperature: The logits are multiplied by {factor:.4g} before softmax.",)
