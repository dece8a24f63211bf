"""Settings of operations are compared with what PyTorch was called with, and set right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from conversion import Classifier, convert
from conversion.variants import variant_route
from parity import check
from parity.diagnosis.locate import MOST
from tests.parity.diagnosis.faulty import broken, causes, explained, good, node, reference, set_attribute
from tests.parity.test_injected_faults import mil_constant, mil_operations
from tests.parity.tiny import LABELS, PREPROCESSING, Tiny, pictures, tiny


def set_on(kind: str, place: int, name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: set_attribute(node(model, kind, place), name, value)


@pytest.mark.parametrize(
    ("fault", "break_it", "figures"),
    [
        (
            "g-avgpool-include-pad",
            set_on("AveragePool", 0, "count_include_pad", 1),
            "`pool` has count_include_pad 1",
        ),
        ("g-avgpool-ceil-divisor", set_on("AveragePool", 0, "ceil_mode", 1), "ceil_mode 1 instead of 0"),
        ("g-norm-eps", set_on("LayerNormalization", 0, "epsilon", 0.3), "epsilon 0.3 instead of 1e-05"),
        ("g-activation", set_on("LeakyRelu", 0, "alpha", 0.01), "alpha 0.01 instead of 0.1"),
        ("g-pad-asymmetric", set_on("Conv", 1, "pads", [0, 0, 2, 2]), "pads [0, 0, 2, 2] instead of [1, 1, 1, 1]"),
    ],
)
def test_a_setting_is_named_and_set_right(fault: str, break_it: Callable[[Any], None], figures: str) -> None:
    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == [fault]
    assert figures in explanation.diagnoses[0].message


def program_pads(specification: Any) -> None:
    for operation in mil_operations(specification):
        if operation.type == "conv":
            values = mil_constant(
                specification, operation.inputs["pad"].arguments[0]
            ).immediateValue.tensor.ints.values
            values[:] = [0, 2, 0, 2]
            return


def network_pads(specification: Any) -> None:
    layer = next(x for x in specification.neuralNetworkClassifier.layers if x.WhichOneof("layer") == "convolution")
    for border in layer.convolution.valid.paddingAmounts.borderAmounts:
        border.startEdgeSize, border.endEdgeSize = 0, 2


@pytest.mark.parametrize(("route", "break_it"), [("mlprogram", program_pads), ("onnx-coreml", network_pads)])
def test_padding_of_core_ml(route: str, break_it: Callable[[Any], None]) -> None:
    explanation = explained(broken(good(route, tiny), break_it), reference(tiny))

    assert causes(explanation) == ["g-pad-asymmetric"]


def test_an_epsilon_of_an_ml_program() -> None:
    def break_it(specification: Any) -> None:
        norm = next(op for op in mil_operations(specification) if op.type == "layer_norm")
        value = mil_constant(specification, norm.inputs["epsilon"].arguments[0]).immediateValue.tensor
        if value.WhichOneof("value") == "bytes":
            import numpy as np

            value.bytes.values = np.array(0.5, np.float16).tobytes()
        else:
            value.floats.values[:] = [0.5]

    explanation = explained(broken(good("mlprogram"), break_it), reference())

    assert causes(explanation) == ["g-norm-eps"]
    assert "epsilon 0.5 instead of" in explanation.diagnoses[0].message


class Smooth(Tiny):
    """The tiny network with a GELU of tanh, whose head weighs small differences."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = torch.nn.GELU(approximate="tanh")
        with torch.no_grad():
            self.linear.weight.copy_(4 * self.linear.weight.abs())
            self.linear.weight[::2] *= -1
            self.linear.bias.zero_()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = self.pool(self.activation(self.norm(self.convolution(image))))
        logits: torch.Tensor = self.linear(torch.flatten(values - values.mean(dim=(1, 2, 3), keepdim=True), 1))
        return logits


def test_the_tanh_of_a_gelu_that_coremltools_loses_on_the_way_from_torch_export(tmp_path: Path) -> None:
    classifier = Classifier("smooth", Smooth().eval(), PREPROCESSING, LABELS)
    artifact = convert(classifier, variant_route("exported", "mlprogram-fp32", frontend="export"), tmp_path)
    run = check(classifier, artifact, pictures(), backends=["coreml-evaluator"])

    (subject,) = run.subjects
    assert subject.verdict == "fail"
    (diagnosis,) = subject.diagnoses
    assert (diagnosis.fault, diagnosis.confirmed) == ("g-gelu-variant", True)
    assert diagnosis.message == "gelu `activation` has mode EXACT instead of TANH_APPROXIMATION."
    assert diagnosis.fix == (
        'ct.convert(torch.jit.trace(model.eval(), example), ...), for approximate="tanh" is lost on the way from '
        "torch.export"
    )
    # It is a remark too, for where the tolerance is wide enough to pass it.
    assert 'made 1 GELU of approximate="tanh" exact' in subject.remarks[0]


class Weighing(torch.nn.Module):
    """Weigh the places of each channel against one another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution, self.linear = torch.nn.Conv2d(3, 6, 4, 4), torch.nn.Linear(6, len(LABELS))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        places = self.convolution(image).flatten(2)
        logits: torch.Tensor = self.linear((places * (9 * places).softmax(-1)).sum(-1) * 9)
        return logits


def weighing() -> Classifier:
    return Classifier("weighing", Weighing().eval(), PREPROCESSING, LABELS)


def test_the_axis_that_an_old_softmax_has_by_default() -> None:
    def break_it(model: Any) -> None:
        # To opset 13 it is 1, and all behind it is normalised with it.
        model.opset_import[0].version = 12
        del node(model, "Softmax").attribute[:]
        del node(model, "Reshape").attribute[:]
        reduced = node(model, "ReduceSum")
        del reduced.input[1:]
        set_attribute(reduced, "axes", [-1])

    explanation = explained(broken(good("onnx-torchscript", weighing), break_it), reference(weighing))

    assert causes(explanation) == ["g-attribute"]
    assert "has axis 1 instead of 2" in explanation.diagnoses[0].message


class Normed(torch.nn.Module):
    """Normalise more often than operations are located at a time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution, self.linear = torch.nn.Conv2d(3, 6, 4, 4), torch.nn.Linear(6, len(LABELS))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(6) for _ in range(MOST + 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = self.convolution(image).flatten(2).transpose(1, 2)
        for norm in self.norms:
            values = values + 0.2 * norm(values)
        logits: torch.Tensor = self.linear(values.mean(1))
        return logits


def test_what_is_wrong_wherever_it_is_looked_at_is_set_right_everywhere() -> None:
    def normed() -> Classifier:
        return Classifier("normed", Normed().eval(), PREPROCESSING, LABELS)

    def break_it(model: Any) -> None:
        for operation in model.graph.node:
            if operation.op_type == "LayerNormalization":
                set_attribute(operation, "epsilon", 0.05)

    explanation = explained(broken(good("onnx-torchscript", normed), break_it), reference(normed))

    assert causes(explanation) == ["g-norm-eps"]
    assert f"epsilon 0.05 instead of 1e-05; so have {MOST + 2} more" in explanation.diagnoses[0].message


class Called(torch.nn.Module):
    """Call three norms as functions, each with an epsilon of its own."""

    scale: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution, self.linear = torch.nn.Conv2d(3, 6, 4, 4), torch.nn.Linear(6, len(LABELS))
        for name in ("scale", "mean", "variance"):
            self.register_buffer(name, torch.rand(6) + 0.2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = self.convolution(image).relu()
        values = functional.batch_norm(values, self.mean, self.variance, self.scale, None, False, 0.1, 1e-3)
        values = functional.group_norm(values, 2, self.scale, None, 1e-4).flatten(2).transpose(1, 2)
        values = functional.layer_norm(values.relu(), (6,), self.scale, None, 1e-2)
        logits: torch.Tensor = self.linear(values.amax(1))
        return 3 * logits


def called() -> Classifier:
    return Classifier("called", Called().eval(), PREPROCESSING, LABELS)


@pytest.mark.parametrize(
    ("kind", "right"),
    [("BatchNormalization", 0.001), ("InstanceNormalization", 0.0001), ("LayerNormalization", 0.01)],
)
def test_the_epsilon_of_a_norm_that_is_called_as_a_function(kind: str, right: float) -> None:
    file = broken(good("onnx-torchscript", called), set_on(kind, 0, "epsilon", 0.3))

    explanation = explained(file, reference(called))

    assert causes(explanation) == ["g-norm-eps"]
    assert f"has epsilon 0.3 instead of {right:g}" in explanation.diagnoses[0].message
