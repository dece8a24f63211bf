"""Whole NeuralNetworks: names, layers that cannot be read, what may be overwritten, converted models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion.guards.quiet import chatter_to
from conversion.guards.torchvision_guard import torchvision
from parity.core.errors import CoreMLError, UnsupportedOperationsError
from parity.coreml import Evaluator, registry
from tests.coreml.networks import Model, check_nodes, close, ct, positive, run, specify


def evaluate(specification: Any) -> Evaluator:
    return Evaluator(Model(specification))


def copy(b: Any) -> None:
    """Add one layer that changes nothing."""
    b.add_activation("a", "LINEAR", "x", "y")


# Names


def test_copy_layers_may_overwrite_a_blob_and_an_input() -> None:
    def add(b: Any) -> None:
        b.add_activation("a", "LINEAR", "x", "t", params=(1.0, 1.0))
        b.add_elementwise("before", ["t", "x"], "p", "MULTIPLY")
        b.add_copy("c", "p", "t")
        b.add_copy("d", "t", "x")
        b.add_elementwise("after", ["t", "x"], "y", "ADD")

    network = evaluate(specify(add, {"x": (2,)}, outputs=("y", "t")))
    x = np.array([2.0, 3.0])

    found = network.predict({"x": x})

    close(found["y"], 2 * (x + 1) * x)
    close(found["t"], (x + 1) * x)
    assert list(network.trace({"x": x})) == ["t (1)", "p", "t", "x (1)", "y"]


def test_only_a_copy_may_overwrite() -> None:
    def twice(b: Any) -> None:
        b.add_unary("first", "x", "y", "exp")
        b.add_unary("second", "x", "y", "abs")

    def onto_the_input(b: Any) -> None:
        b.add_unary("u", "x", "x", "exp")
        copy(b)

    for add, name in ((twice, "second"), (onto_the_input, "u")):
        with pytest.raises(CoreMLError, match=rf"layer `{name}` \(unary\): the output `.` is given before"):
            evaluate(specify(add, {"x": (2,)}))


def test_an_input_that_no_layer_gives_is_named() -> None:
    with pytest.raises(CoreMLError, match=r"layer `u` \(unary\): the input `z` is given by no layer before it"):
        evaluate(specify(lambda b: b.add_unary("u", "z", "y", "exp"), {"x": (2,)}))


def test_an_output_that_no_layer_gives_is_named() -> None:
    with pytest.raises(CoreMLError, match="the output `z` is given by no layer"):
        evaluate(specify(copy, {"x": (2,)}, outputs=("y", "z")))


def test_a_custom_layer_is_refused_by_its_class() -> None:
    def add(b: Any) -> None:
        b.add_custom("mine", ["x"], ["y"], ct.proto.NeuralNetwork_pb2.CustomLayerParams(className="Mine"))

    with pytest.raises(CoreMLError, match=r"layer `mine` \(custom\): its code, the class `Mine`"):
        evaluate(specify(add, {"x": (2,)}))


def test_all_layers_that_the_evaluator_lacks_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("unary", "softmax"):
        assert kind in registry.layers()
        monkeypatch.delitem(registry._LAYERS, kind)

    def add(b: Any) -> None:
        b.add_unary("noise", "x", "n", "abs")
        b.add_unary("more noise", "n", "m", "abs")
        b.add_softmax("choice", "m", "y")
        b.nn_spec.layers.add(name="new", input=["y"], output=["z"])

    with pytest.raises(UnsupportedOperationsError) as caught:
        evaluate(specify(add, {"x": (2,)}))

    assert caught.value.missing == {
        "unary": ("noise", "more noise"),
        "softmax": ("choice",),
        "of an unknown type": ("new",),
    }


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_inputs_than_the_layer_takes_is_refused(count: int) -> None:
    specification = specify(lambda b: b.add_activation("a", "RELU", "x", "y"), {"x": (2,)})
    layer = specification.neuralNetwork.layers[0]
    del layer.input[:]
    layer.input.extend(["x"] * count)

    with pytest.raises(CoreMLError, match=rf"layer `a` \(activation\): does not take {count} input\(s\)"):
        evaluate(specification)


def test_what_fails_at_run_time_names_the_layer() -> None:
    network = evaluate(specify(lambda b: b.add_reshape_static("r", "x", "y", [3]), {"x": (2,)}))

    with pytest.raises(CoreMLError, match=r"`r` \(reshapeStatic\)"):
        network.predict({"x": [1, 2]})


# In place


def test_onnx_coreml_s_three_layers_of_a_clip_run_as_one() -> None:
    def add(b: Any) -> None:
        b.add_unary("e", "x", "e", "exp")
        b.add_unary("1", "e", "min_x_a", "threshold", alpha=1.0, shift=0, scale=1.0)
        b.add_unary("2", "min_x_a", "min_minus_x_minus_b", "threshold", alpha=-6.0, shift=0, scale=-1.0)
        b.add_activation("3", "LINEAR", "min_minus_x_minus_b", "y", params=[-1.0, 0])

    x = np.linspace(-2, 3, 11)
    network = evaluate(specify(add, {"x": (11,)}))
    trace = network.trace({"x": x})

    close(network.predict({"x": x})["y"], np.clip(np.exp(x), 1, 6))
    assert [step.node.name for step in network._runnable.plan.steps] == ["e", "3"]
    close(trace["min_x_a"], np.maximum(np.exp(x), 1))
    close(trace["min_minus_x_minus_b"], -np.clip(np.exp(x), 1, 6))
    close(trace["y"], np.clip(np.exp(x), 1, 6))


def test_a_value_between_two_clips_may_be_read_by_others() -> None:
    def add(b: Any) -> None:
        b.add_unary("e", "x", "e", "exp")
        b.add_clip("c", "e", "m", 1.0, 6.0)
        b.add_clip("d", "m", "n", 0.0, 2.0)
        b.add_elementwise("a", ["n", "m", "e"], "y", "ADD")

    x = np.linspace(-2, 3, 11)

    close(run(add, x=x), np.clip(np.exp(x), 1, 2) + np.clip(np.exp(x), 1, 6) + np.exp(x), 1e-5)


def test_views_of_a_value_keep_it_from_being_overwritten() -> None:
    def add(b: Any) -> None:
        b.add_unary("u", "x", "u", "exp")
        b.add_split("s", "u", ["p", "q"])
        b.add_unary("v", "u", "v", "log")
        b.add_unary("w", "p", "w", "sqrt")
        b.add_elementwise("a", ["w", "q"], "t", "ADD")
        b.add_elementwise("c", ["t", "v"], "y", "CONCAT")

    x = positive(1, 4, 2, 2)
    expected = np.exp(x)

    close(run(add, x=x), np.concatenate([np.sqrt(expected[:, :2]) + expected[:, 2:], x], 1), 1e-5)


def test_images_stay_channels_last_from_layer_to_layer() -> None:
    """What makes convolutions fast: no layer between two of them changes the memory format."""
    weights = {"kernel_channels": 4, "output_channels": 4, "height": 3, "width": 3, "groups": 1}
    fixed = {"stride_height": 1, "stride_width": 1, "border_mode": "valid", "b": None, "has_bias": False}

    def add(b: Any) -> None:
        b.add_convolution("c", **weights, **fixed, W=positive(3, 3, 4, 4), input_name="x", output_name="c")
        b.add_unary("u", "c", "u", "sqrt")
        b.add_padding("d", 1, 1, 1, 1, 0.0, "u", "d")
        b.add_pooling("p", 2, 2, 1, 1, "MAX", "VALID", "d", "p")
        b.add_batchnorm("n", 4, positive(4), positive(4), positive(4), positive(4), "p", "n")
        b.add_load_constant("l", "l", positive(4), (4, 1, 1))
        b.add_elementwise("m", ["n", "l"], "m", "MULTIPLY")
        b.add_elementwise("e", ["m", "n"], "e", "ADD")
        b.add_elementwise("y", ["e", "m"], "y", "CONCAT")

    network = evaluate(specify(add, {"x": (4, 8, 8)}, rank5=True))
    with torch.inference_mode():
        values = network._runnable.plan.trace(network._runnable.feeds({"x": positive(4, 8, 8)}))

    images = {name: value for name, value in values.items() if name not in ("l", "x (rank 5)")}
    assert list(images) == ["c", "u", "d", "p", "n", "m", "e", "y"]
    for name, value in images.items():
        # As torch reads it from the strides; `is_contiguous` would be content with less.
        assert torch.empty_like(value.squeeze(0)).stride()[1] == 1, name


# Converted models

_SIDES = {
    "resnet18": 48,
    "mobilenet_v3_small": 48,
    "squeezenet1_1": 48,
    "shufflenet_v2_x0_5": 48,
    "googlenet": 64,
}


def trained_looking(name: str) -> torch.nn.Module:
    """Make a torchvision model whose batch norms have statistics, so that they are more than the identity."""
    more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    model = getattr(torchvision().models, name)(weights=None, num_classes=20, **more).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model


@pytest.mark.parametrize("name", _SIDES)
def test_a_converted_torchvision_model_gives_pytorchs_logits(name: str, tmp_path: Path) -> None:
    model = trained_looking(name)
    x = torch.rand(1, 3, _SIDES[name], _SIDES[name])
    with chatter_to(), torch.no_grad():
        expected = model(x).numpy()
        converted = ct.convert(
            torch.jit.trace(model, x), inputs=[ct.TensorType("x", x.shape)], convert_to="neuralnetwork"
        )
        converted.save(str(tmp_path / "model.mlmodel"))

    evaluator = Evaluator(tmp_path / "model.mlmodel")
    found = next(iter(evaluator.predict({"x": x.numpy()}).values()))

    close(found, expected, 1e-5)
    check_nodes(evaluator, {"x": x.numpy()})
