"""The weight audit: each fault that a weight can have has its name, and comes with what it should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from parity.diagnosis.types import WeightFinding
from parity.diagnosis.weights import audit_weights, expected_weights
from parity.formats.graph import read_graph
from tests.parity.diagnosis.injecting import (
    change_weight,
    edited,
    layers,
    nodes,
    program_operations,
    set_constant,
)
from tests.parity.diagnosis.networks import EXPORTS, NETWORKS, classifier, converted

# What each network has: of every convolution and linear layer kernel and bias, of every layer norm two vectors, and
# the positions.
COUNTS = {"residual": 16, "depthwise": 14, "attention": 21}


@pytest.mark.parametrize("route", EXPORTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_clean_conversion_has_every_weight_and_each_is_right(name: str, route: str) -> None:
    if (name, route) == ("attention", "onnx-coreml"):
        pytest.skip("onnx-coreml has no erf")
    audit = audit_weights(classifier(name), converted(name, route))
    expected = expected_weights(classifier(name), read_graph(converted(name, route)))

    assert audit.findings == ()
    assert len(expected) == COUNTS[name]


def fold(convolution: Any, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Fold as PyTorch does."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    fused = fuse_conv_bn_eval(convolution, norm)
    return fused.weight.detach().numpy(), fused.bias.detach().numpy()


def findings(change: Callable[[Any], None], route: str = "onnx") -> tuple[WeightFinding, ...]:
    return audit_weights(classifier("residual"), edited("residual", route, change)).findings


CONV2 = 2  # layer1.conv2, the third convolution of both exporters


def changed(weight: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    return lambda model: change_weight(model, nodes(model, "Conv")[CONV2].input[weight], change)


def quantise(array: np.ndarray) -> np.ndarray:
    step = np.abs(array).max() / 7
    return np.asarray(np.round(array / step) * step)


@pytest.mark.parametrize(
    ("weight", "change", "kind"),
    [
        (1, lambda a: a[::-1], "rows permuted"),
        (1, lambda a: a[:, ::-1], "columns permuted"),
        (1, lambda a: a.swapaxes(0, 1), "transposed"),
        (1, lambda a: a.swapaxes(2, 3), "transposed"),
        (1, lambda a: a * 1.5, "scaled"),
        (1, lambda a: a * 0, "zeroed"),
        (1, lambda a: a * np.nan, "non-finite"),
        (1, quantise, "quantised"),
        (1, lambda a: a.astype(np.float16), "rounded to fp16"),
        (1, lambda a: np.random.default_rng(0).normal(size=a.shape), "not loaded"),
        (1, lambda a: a + 0.1 * np.abs(a), "other numbers"),
        (2, lambda a: a * 2, "scaled"),
        (2, lambda a: np.roll(a, 1), "rows permuted"),
    ],
)
@pytest.mark.parametrize("route", ["onnx", "onnx-torchscript"])
def test_a_changed_weight_is_named(
    weight: int, change: Callable[[np.ndarray], np.ndarray], kind: str, route: str
) -> None:
    wrong = findings(changed(weight, change), route)

    assert [(f.kind, f.module, f.place) for f in wrong] == [(kind, "layer1.conv2", f"input[{weight}]")]
    module = classifier("residual").module
    expected = fold(module.layer1.conv2, module.layer1.bn2)[weight - 1]
    np.testing.assert_allclose(wrong[0].repaired, expected, rtol=1e-4, atol=1e-6)
    assert wrong[0].harmless == (kind == "rounded to fp16")


def test_a_repair_restores_the_weight() -> None:
    broken = edited("residual", "onnx", changed(1, lambda a: a[::-1]))
    repaired = audit_weights(classifier("residual"), broken).repaired
    model = onnx.load(str(broken.path))
    node = nodes(model, "Conv")[CONV2]
    change_weight(model, node.input[1], lambda array: repaired[(node.name, "input[1]")])
    onnx.save(model, str(broken.path))

    assert audit_weights(classifier("residual"), broken).findings == ()


@pytest.mark.parametrize("route", ["onnx", "onnx-torchscript"])
def test_a_bias_that_two_convolutions_share_is_named_with_its_owner(route: str) -> None:
    def share(model: Any) -> None:
        by_input: dict[str, list[Any]] = {}
        for node in nodes(model, "Conv"):
            by_input.setdefault(node.input[0], []).append(node)
        first, second = next(pair for pair in by_input.values() if len(pair) == 2)
        first.input[2] = second.input[2]

    (finding,) = findings(share, route)

    assert (finding.kind, finding.module, finding.place) == ("shared by mistake", "layer1.conv1", "input[2]")
    assert "is that of `layer1.downsample.0`; the same constant is read by" in finding.message


def norm_of(path: str) -> tuple[np.ndarray, ...]:
    norm = classifier("residual").module.get_submodule(path)
    values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return tuple(v.detach().double().numpy() for v in values)  # type: ignore[union-attr, operator]


def refolded(
    change: Callable[[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]], eps: float
) -> Callable[[Any], None]:
    """Fold layer1.bn2 into layer1.conv2 with other statistics or another epsilon, by the formula of the papers."""
    kernel = classifier("residual").module.layer1.conv2.weight.detach().double().numpy()  # type: ignore[union-attr, operator]
    gamma, beta, mean, variance = change(norm_of("layer1.bn2"))
    deviation = np.sqrt(variance + eps)

    def edit(model: Any) -> None:
        node = nodes(model, "Conv")[CONV2]
        change_weight(model, node.input[1], lambda array: kernel * (gamma / deviation)[:, None, None, None])
        change_weight(model, node.input[2], lambda array: beta - mean * gamma / deviation)

    return edit


@pytest.mark.parametrize(
    ("change", "eps", "kind"),
    [
        (lambda n: (n[0], n[1], n[3], np.abs(n[2])), 1e-5, "batch-norm mean and variance swapped"),
        (lambda n: n, 1e-3, "batch-norm epsilon lost"),
        (lambda n: (n[0], 0 * n[1], *n[2:]), 1e-5, "batch norm folded without its bias"),
        (lambda n: (n[0], n[1], 0 * n[2], 0 * n[3] + 1), 1e-5, "batch-norm statistics not loaded"),
        (lambda n: (0 * n[0] + 1, 0 * n[1], *n[2:]), 1e-5, "batch-norm statistics not loaded"),
    ],
)
def test_a_batch_norm_that_was_folded_wrongly_is_named(
    change: Callable[[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]], eps: float, kind: str
) -> None:
    wrong = findings(refolded(change, eps))

    assert {f.kind for f in wrong} == {kind}
    assert {f.module for f in wrong} == {"layer1.conv2"}


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda k: k[::-1], "rows permuted", "output channels in another order"),
        (lambda k: k[:, ::-1], "columns permuted", "input channels in another order"),
        (lambda k: k.swapaxes(2, 3), "transposed", "is transposed (axes 2 and 3)"),
        (lambda k: k[:, :, ::-1, ::-1], "transposed", "is mirrored (its rows and columns are backwards)"),
        (
            lambda k: k * np.where(np.arange(len(k)) == 2, 4, 1)[:, None, None, None],
            "scaled",
            "multiplied (2 by 4)",
        ),
    ],
)
def test_what_was_wrong_before_a_batch_norm_was_folded_in_is_named(
    change: Callable[[np.ndarray], np.ndarray], kind: str, message: str
) -> None:
    kernel = classifier("residual").module.layer1.conv2.weight.detach().double().numpy()  # type: ignore[union-attr, operator]
    gamma, _, _, variance = norm_of("layer1.bn2")
    scale = (gamma / np.sqrt(variance + 1e-5))[:, None, None, None]

    def edit(model: Any) -> None:
        change_weight(model, nodes(model, "Conv")[CONV2].input[1], lambda array: change(kernel) * scale)

    (wrong,) = findings(edit)

    assert (wrong.kind, wrong.module) == (kind, "layer1.conv2")
    assert message in wrong.message


def test_a_batch_norm_that_was_folded_rightly_is_not_found() -> None:
    assert findings(refolded(lambda norm: norm, 1e-5)) == ()


@pytest.mark.parametrize("route", ["mlprogram", "mlprogram-fp32"])
def test_weights_of_a_program(route: str) -> None:
    def change(specification: Any) -> None:
        conv = program_operations(specification, "conv")[1]
        set_constant("residual", route, specification, conv, "weight", lambda array: array[::-1])

    wrong = findings(change, route)

    assert [(f.kind, f.module, f.place, f.type) for f in wrong] == [
        ("rows permuted", "layer1.conv1", "weight", "conv")
    ]


def test_weights_of_a_network() -> None:
    def change(specification: Any) -> None:
        weights = layers(specification, "convolution")[0].convolution.bias
        weights.floatValue[:] = [0.0] * len(weights.floatValue)

    wrong = findings(change, "onnx-coreml")

    assert [(f.kind, f.module, f.place) for f in wrong] == [("zeroed", "conv1", "bias")]


def test_palettised_weights_of_a_program_are_decompressed_and_counted(tmp_path: Any) -> None:
    from conversion.artifact import open_artifact
    from conversion.guards.quiet import chatter_to, import_coremltools

    ct = import_coremltools()
    from coremltools.optimize import coreml as cto

    with chatter_to():
        model = ct.models.MLModel(str(converted("depthwise", "mlprogram-fp32").path), skip_model_load=True)
        settings = cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=512)
        small = cto.palettize_weights(model, cto.OptimizationConfig(global_config=settings))
        small.save(str(tmp_path / "small.mlpackage"))

    wrong = audit_weights(classifier("depthwise"), open_artifact(tmp_path / "small.mlpackage")).findings

    # The one weight of more than 512 numbers.
    assert [(f.kind, f.module) for f in wrong] == [("quantised", "head.1")]
    assert wrong[0].distinct <= 16
    assert 10 < wrong[0].snr_db < 40


def test_a_square_matrix_that_was_transposed_is_named() -> None:
    def change(model: Any) -> None:
        squares = [
            tensor.name
            for tensor in model.graph.initializer
            if tuple(tensor.dims) == (16, 16) and any(tensor.name in node.input for node in nodes(model, "MatMul"))
        ]
        change_weight(model, squares[3], lambda array: array.T)

    broken = edited("attention", "onnx", change)
    wrong = audit_weights(classifier("attention"), broken).findings

    assert [(f.kind, f.module) for f in wrong] == [("transposed", "project")]
    expected = classifier("attention").module.project.weight  # type: ignore[union-attr]
    assert isinstance(expected, torch.Tensor)
    np.testing.assert_allclose(wrong[0].repaired, expected.detach().numpy().T, rtol=1e-6)


def test_constants_are_seen_through_the_nodes_between_them_and_their_reader() -> None:
    def change(model: Any) -> None:
        node = nodes(model, "Conv")[CONV2]
        tensor = next(t for t in model.graph.initializer if t.name == node.input[1])
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array.transpose(1, 0, 2, 3)), "turned"))
        steps = [
            onnx.helper.make_node("Transpose", ["turned"], ["back"], "turn", perm=[1, 0, 2, 3]),
            onnx.helper.make_node("Identity", ["back"], [node.input[1]], "same"),
        ]
        for step in reversed(steps):
            model.graph.node.insert(0, step)

    assert findings(change) == ()
