"""One view of three formats: operations in order, their wiring, their weights as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from conversion import open_artifact
from parity.core.errors import CoreMLError
from parity.formats.editing import Editable, edited
from parity.formats.graph import dynamic_values, read_graph
from parity.formats.onnx.graph import constants_of
from parity.formats.trace import open_trace
from tests.parity.diagnosis.networks import EXPORTS, converted, reference


@pytest.mark.parametrize("route", EXPORTS)
def test_every_value_that_an_operation_names_is_in_the_trace(route: str) -> None:
    artifact = converted("residual", route)
    graph = read_graph(artifact)
    values = open_trace(artifact)(reference("residual").images.pixels[0])

    named = {name for operation in graph.operations for name in (*operation.inputs, *operation.outputs)}
    assert named <= values.keys()
    assert {graph.input, graph.output} <= values.keys()
    np.testing.assert_allclose(
        values[graph.output].ravel(), reference("residual").prediction.probabilities[0], atol=0.02
    )


@pytest.mark.parametrize("route", EXPORTS)
def test_operations_read_what_stands_before_them(route: str) -> None:
    graph = read_graph(converted("depthwise", route))

    known = {graph.input}
    for place, operation in enumerate(graph.operations):
        assert operation.index == place
        assert set(operation.inputs) <= known
        known |= set(operation.outputs)


@pytest.mark.parametrize("route", EXPORTS)
def test_convolutions_have_their_weights_as_numbers(route: str) -> None:
    graph = read_graph(converted("residual", route))

    kernels = [
        array.shape
        for operation in graph.operations
        if "conv" in operation.type.lower()
        for array in operation.weights.values()
        if array.ndim == 4
    ]
    # networks.py: the stem, and three convolutions in each of two blocks, one of which is 1 x 1.
    small = [(8, 3, 3, 3), (12, 8, 3, 3), (12, 12, 3, 3), (12, 8, 1, 1)]
    assert sorted(kernels) == sorted([*small, (16, 12, 3, 3), (16, 16, 3, 3), (16, 12, 1, 1)])
    assert all(a.dtype == np.float32 for operation in graph.operations for a in operation.weights.values())


@pytest.mark.parametrize("route", ["onnx", "onnx-torchscript"])
def test_an_optimised_trace_has_the_same_values(route: str) -> None:
    artifact, pixels = converted("attention", route), reference("attention").images.pixels[0]
    plain, optimised = (open_trace(artifact, optimised=how)(pixels) for how in (False, True))

    assert plain.keys() == optimised.keys()
    for name, value in plain.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(optimised[name], value, rtol=1e-3, atol=1e-4)


def test_a_trace_has_the_pixels_as_the_graph_gets_them() -> None:
    pixels = reference("residual").images.pixels[0]

    for route in ("onnx", "mlprogram", "onnx-coreml"):
        artifact = converted("residual", route)
        value = open_trace(artifact)(pixels)[read_graph(artifact).input]
        np.testing.assert_array_equal(value.reshape(3, 32, 32), pixels.transpose(2, 0, 1).astype(np.float32))


def model(*nodes: Any, **weights: np.ndarray) -> Any:
    graph = helper.make_graph(
        list(nodes), "g", [], [], [numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_constants_are_worked_out_through_nodes_of_constants_alone() -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    node = helper.make_node
    found = constants_of(
        model(
            node("Transpose", ["w"], ["turned"], perm=[1, 0]),
            node("Identity", ["turned"], ["same"]),
            node("Constant", [], ["two"], value_float=2.0),
            node("Mul", ["same", "two"], ["twice"]),
            node("Mul", ["twice", "image"], ["computed"]),
            w=weight,
        )
    )

    np.testing.assert_array_equal(found["twice"], 2 * weight.T)
    assert "computed" not in found


def test_quantised_weights_are_what_they_stand_for() -> None:
    found = constants_of(
        model(
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"]),
            q=np.array([0, 10, 20], np.uint8),
            s=np.array(0.5, np.float32),
            z=np.array(10, np.uint8),
        )
    )

    np.testing.assert_array_equal(found["w"], np.array([-5, 0, 5], np.float32))


def test_values_that_depend_on_constants_alone_are_not_dynamic() -> None:
    graph = read_graph(converted("residual", "onnx-coreml"))
    moving = dynamic_values(graph)

    assert moving[0] == graph.input
    assert graph.output in moving
    assert not {"image_mean", "image_scale"}.intersection(moving)


def test_what_is_wrong_with_a_program_is_said_before_its_weights_are_read(tmp_path: Path) -> None:
    def of_another_opset(model: Editable) -> None:
        model.content.mlProgram.functions["main"].opset = "CoreML99"

    broken = edited(converted("residual", "mlprogram"), [of_another_opset], tmp_path)

    with pytest.raises(CoreMLError, match="unknown opset `CoreML99`"):
        read_graph(broken)


@pytest.mark.parametrize(("opset", "axis"), [(11, "1"), (12, "1"), (13, "-1"), (17, "-1")])
def test_an_axis_that_the_file_does_not_name_is_that_of_its_opset(opset: int, axis: str, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in ("image", "out")]
    nodes = [
        helper.make_node("Softmax", ["image"], ["shares"]),
        helper.make_node("Softmax", ["shares"], ["out"], axis=0),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "softmax", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    save(model, str(tmp_path / "softmax.onnx"))

    graph = read_graph(open_artifact(tmp_path / "softmax.onnx"))

    assert [operation.attributes["axis"] for operation in graph.operations] == [axis, "0"]
