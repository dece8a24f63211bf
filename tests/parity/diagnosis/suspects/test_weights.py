"""Weights that are not the classifier's are named by what was done to them, and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from tests.parity.diagnosis.faulty import (
    broken,
    causes,
    change_weight,
    explained,
    good,
    mixed,
    node,
    reference,
)

ONNX = "onnx-torchscript"


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    return lambda model: change_weight(model, name, change)


def other(was: np.ndarray) -> np.ndarray:
    return np.random.default_rng(3).normal(size=was.shape) * was.std()


def four_bits(model: Any) -> None:
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size > 60:
            step = np.abs(array).max() / 7
            change_weight(model, tensor.name, lambda was, step=step: np.round(was / step) * step)


def shared_bias(model: Any) -> None:
    wide = node(model, "Conv", 2)
    node(model, "Conv", 3).input[2] = wide.input[2]


def first_of_bgr(model: Any) -> None:
    change_weight(model, node(model, "Conv").input[1], lambda was: was[:, ::-1])


@pytest.mark.parametrize(
    ("fault", "break_it", "figures"),
    [
        ("wt-not-loaded", changed("module.wide.weight", other), "`wide`"),
        ("wt-zeroed", changed("module.depthwise.weight", lambda was: was * 0), "all zero"),
        ("wt-scaled", changed("module.shortcut.weight", lambda was: was * 3), "3 times"),
        ("wt-permuted", changed("module.wide.weight", lambda was: was[::-1]), "another order"),
        ("wt-non-finite", changed("module.wide.bias", lambda was: was * np.nan), "NaN"),
        ("wt-initializer-collision", shared_bias, "`shortcut`"),
        ("p-weight-quant", four_bits, "distinct values"),
        ("pre-bgr-swap", first_of_bgr, "which is the same"),
    ],
)
def test_weights_are_named_and_put_back(fault: str, break_it: Callable[[Any], None], figures: str) -> None:
    explanation = explained(broken(good(ONNX), break_it), reference())

    assert causes(explanation) == [fault]
    assert figures in explanation.diagnoses[0].message


def test_weights_of_an_ml_program_are_put_back() -> None:
    import copy

    import torch

    from conversion import Classifier, convert
    from tests.parity.diagnosis.faulty import _home

    module = copy.deepcopy(mixed().module)
    with torch.no_grad():
        module.wide.weight.mul_(-1)
    was = mixed()
    other_model = Classifier("mixed", module, was.preprocessing, was.labels)
    explanation = explained(convert(other_model, "mlprogram", _home()), reference())

    # The note in the file says which weights it was converted from.
    assert causes(explanation) == ["wt-stale-artifact"]
    assert "convert again" in explanation.diagnoses[0].message
