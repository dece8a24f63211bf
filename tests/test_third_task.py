"""A task that the package knows nothing of: a toy segmenter with one dense output, and its mean difference."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Model, OutputSpec, Task
from conversion.deployed import deployed_module, example_pixels
from parity import check
from parity.core.metric import METRICS, Measurement, Metric
from parity.core.results import from_json, to_json
from parity.core.variety import bounds_of
from parity.report.terminal import make_console, print_run
from tests.parity.tiny import PREPROCESSING, pictures


def measure(_: OutputSpec, expected: np.ndarray, actual: np.ndarray, named: Any) -> Iterator[Measurement]:
    for apart in np.abs(expected - actual):
        yield Measurement(float(apart.mean()), detail={"largest": float(apart.max())})


DENSE = Metric("mean |Δ|", measure, lambda rows: bounds_of(rows, np.mean))


def segmenter(shift: float = 0.0) -> Model:
    module = torch.nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(-1, 1, 54).reshape(2, 3, 3, 3))
        module.bias.fill_(shift)
    return Model("toy", module.eval(), PREPROCESSING, Task((OutputSpec("mask", "dense"),), torch.sigmoid))


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")
@pytest.mark.parametrize(("shift", "verdict", "case"), [(0.0, "pass", "match"), (0.5, "fail", "drift")])
def test_a_segmenter_is_compared(shift: float, verdict: str, case: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(METRICS, "dense", DENSE)
    exported, file = segmenter(shift), str(tmp_path / "toy.onnx")
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["mask"], "dynamo": False}
    torch.onnx.export(deployed_module(exported), (example_pixels(exported),), file, **names)

    run = check(segmenter(), file, pictures(), ["onnxruntime"])
    print_run(run, make_console(printed := io.StringIO()))

    (subject,) = run.subjects
    assert (subject.verdict, {one.verdict for one in subject.cases}) == (verdict, {case}), subject.reason
    for image in subject.cases:
        (entry,) = image.outputs
        assert entry.distance == image.max_abs_diff < entry.detail["largest"]
    assert from_json(to_json(run)) == run
    assert "mean |Δ|" in printed.getvalue()
    assert ("output `mask`: mean |Δ|" in printed.getvalue()) == ("unexplained" in printed.getvalue()) == (shift > 0)
