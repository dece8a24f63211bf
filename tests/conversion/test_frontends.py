"""What coremltools is given, and what it loses of it; tests of routes and variants convert by both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conversion import Classifier, ConversionError, convert
from conversion.frontends import exported
from conversion.mlprogram import _target
from conversion.shapes import OpenAxes
from tests.conversion.classifiers import tiny

LOST = (
    'coremltools 9.0 made 1 GELU of approximate="tanh" exact, which torch.export told it [g-gelu-variant]; '
    'torch.jit.trace (frontend = "trace") keeps the tanh'
)


def smooth(approximate: str) -> Classifier:
    gelu = torch.nn.GELU(approximate=approximate)
    return replace(tiny(), module=torch.nn.Sequential(gelu, tiny().module).eval())


def test_a_setting_that_coremltools_loses_is_a_remark_also_when_the_file_is_there(tmp_path: Path) -> None:
    remarks = [convert(smooth("tanh"), "mlprogram-export", tmp_path).remark for _ in range(2)]

    assert remarks == [LOST, LOST]


@pytest.mark.parametrize(("approximate", "route"), [("none", "mlprogram-export"), ("tanh", "mlprogram")])
def test_what_is_kept_is_no_remark(approximate: str, route: str, tmp_path: Path) -> None:
    assert convert(smooth(approximate), route, tmp_path).remark == ""


def test_an_old_coremltools_says_what_it_lacks() -> None:
    old = SimpleNamespace(__version__="7.2")
    with pytest.raises(
        ConversionError, match=r'coremltools 7\.2 cannot .* \(frontend = "export"\); versions from 8'
    ):
        exported(old, torch.nn.Identity(), torch.zeros(1), OpenAxes())


def test_an_old_coremltools_names_its_latest_target() -> None:
    from enum import IntEnum

    old = SimpleNamespace(__version__="7.2", target=IntEnum("Target", {"iOS16": 7, "iOS17": 8}))
    assert _target(old, "iOS17") is old.target.iOS17
    assert _target(old, None) is None
    with pytest.raises(ConversionError, match=r"coremltools 7\.2 has no target iOS18; its latest is iOS17"):
        _target(old, "iOS18")
