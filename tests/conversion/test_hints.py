"""Errors of converters that say little, and what to do about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conversion import ConversionError
from conversion.guards.quiet import import_coremltools
from conversion.hints import hint
from conversion.routes import ROUTES, convert_by
from parity.versions.toolchain_environment import ToolChainFailure
from tests.parity.tiny import tiny


@pytest.mark.parametrize("format_", ["mlprogram", "neuralnetwork"])
def test_a_scale_for_each_channel_is_told_to_move_into_the_module(format_: str, tmp_path: Path) -> None:
    def write(classifier: Any, path: Path, *rest: Any) -> None:
        ct = import_coremltools()
        traced = torch.jit.trace(classifier.module, torch.zeros(1, 3, 32, 32))
        image = ct.ImageType(name="image", shape=(1, 3, 32, 32), scale=[0.1, 0.2, 0.3], bias=[0, 0, 0])
        ct.convert(traced, inputs=[image], convert_to=format_, skip_model_load=True)

    with pytest.raises(ConversionError) as caught:
        convert_by(replace(ROUTES["mlprogram"], name="own", write=write), tiny(), tmp_path)

    message = str(caught.value)
    assert "ImageType takes one number as scale, not one for each channel" in message
    assert "inside the torch module" in message
    assert message.endswith("[pre-perchannel-scale-rejected]")


def test_a_tool_chain_that_fails_so_says_the_same() -> None:
    failure = ToolChainFailure("convert", ("Traceback:", "TypeError: must be real number, not list"))

    assert str(failure).startswith("convert: TypeError: must be real number, not list; coremltools' ImageType")


@pytest.mark.parametrize(
    "text", ["", "Incompatible dim 3 in shapes (1, 3, 32, 32) vs. (1, 3, 16, 32)", "no such file"]
)
def test_of_other_errors_nothing_is_known(text: str) -> None:
    assert hint(text) == ""
    assert str(ToolChainFailure("convert", (text,))) == f"convert: {text}"
