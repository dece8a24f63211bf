"""What the evaluator runs of Apple's operations and layers: the lists are Apple's, the bar is all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parity.cli import main
from parity.coreml import coverage
from parity.coreml.coverage import layer_coverage, missing, operation_coverage
from parity.coreml.registry import Kernel, find_operation


def test_every_operation_of_every_opset_runs() -> None:
    assert missing(operation_coverage()) == []


def test_every_layer_runs_but_those_of_an_app() -> None:
    assert [name for name, runs in layer_coverage().items() if not runs] == ["custom"]


def test_operations_are_listed_in_the_opsets_that_define_them() -> None:
    found = operation_coverage()

    # Typed in from coremltools' files defs/iOS15 to defs/iOS18.
    assert [*found["relu"]] == ["iOS15", "iOS16", "iOS17", "iOS18"]
    assert [*found["pixel_unshuffle"]] == ["iOS16", "iOS17", "iOS18"]
    assert [*found["quantize"]] == ["iOS17", "iOS18"]
    assert [*found["scaled_dot_product_attention"]] == ["iOS18"]
    assert [*found["coreml_update_state"]] == ["iOS18"]
    assert len(found) >= 165
    assert not [name for name in found if name.startswith(("_", "tf_", "torch_"))]


def test_what_has_no_kernel_or_one_without_a_parameter_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, opset: str) -> Kernel | None:
        kernel = None if name == "quantize" else find_operation(name, opset)
        if name != "crop_resize" or kernel is None:
            return kernel
        return replace(kernel, parameters={p: kind for p, kind in kernel.parameters.items() if p != "pad_value"})

    monkeypatch.setattr(coverage, "find_operation", find)

    # Typed in: crop_resize has pad_value from iOS16 on, quantize came with iOS17.
    assert missing(operation_coverage()) == ["crop_resize (iOS16, iOS17, iOS18)", "quantize (iOS17, iOS18)"]


def test_a_layer_without_a_factory_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "find_layer", lambda name: None if name == "lrn" else object())

    assert [name for name, runs in layer_coverage().items() if not runs] == ["lrn"]


def test_the_command_prints_a_row_for_each_and_the_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "operation_coverage", lambda: {
        "relu": {"iOS15": True, "iOS16": True}, "quantize": {"iOS16": False},
    })  # fmt: skip
    monkeypatch.setattr(coverage, "layer_coverage", lambda: {"custom": False, "lrn": True})

    with pytest.raises(SystemExit) as stopped:
        main(["ops"])

    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert stopped.value.code == 0
    assert ["relu", "yes", "yes"] in rows
    assert ["quantize", "no"] in rows
    assert ["custom", "no"] in rows
    assert ["lrn", "yes"] in rows
    assert printed.splitlines()[-3:] == ["iOS15: 1 of 1 operations", "iOS16: 1 of 2 operations", "layers: 1 of 2"]
    assert "\x1b" not in printed  # plain where there is no terminal


def test_the_command_prints_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ops"])

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["conv", "yes", "yes", "yes", "yes"] in rows
    assert ["innerProduct", "yes"] in rows
