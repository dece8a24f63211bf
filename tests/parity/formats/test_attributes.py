"""Settings and weights of the same operations in two files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from conversion import Artifact, ConversionError
from conversion.guards.quiet import import_coremltools
from parity.formats.attributes import changed_attributes, operations
from tests.parity.tiny import converted, shifted, tiny

KERNEL = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)


def convolution(name: str, kernel: np.ndarray = KERNEL, **settings: Any) -> tuple[Any, Any]:
    return (
        helper.make_node("Conv", ["x", f"{name}.w"], [f"{name}.y"], name=name, **settings),
        numpy_helper.from_array(kernel, f"{name}.w"),
    )


def graph(path: Path, *parts: tuple[Any, Any], constant: np.ndarray | None = None) -> Artifact:
    """Write an ONNX file of nodes with a weight each; constant: of a node Constant that an Add reads."""
    nodes = [node for node, _ in parts]
    if constant is not None:
        value = numpy_helper.from_array(constant, "c")
        nodes = [helper.make_node("Constant", [], ["c"], value=value), *nodes]
        nodes.append(helper.make_node("Add", ["x", "c"], ["sum"], name="add"))
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 4, 4])
    y = helper.make_tensor_value_info(nodes[-1].output[0], onnx.TensorProto.FLOAT, None)
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight for _, weight in parts])), str(path)
    )
    return Artifact(path, "onnx", "fp32")


def test_the_same_operations_have_no_changes(tmp_path: Path) -> None:
    before = graph(tmp_path / "a.onnx", convolution("conv", strides=[2, 2]))
    now = graph(tmp_path / "b.onnx", convolution("conv", strides=[2, 2]))

    assert changed_attributes(before, now) == ()


def test_settings_that_changed_came_or_went_are_named(tmp_path: Path) -> None:
    before = graph(tmp_path / "a.onnx", convolution("conv", strides=[2, 2], group=1))
    now = graph(tmp_path / "b.onnx", convolution("conv", strides=[1, 1], auto_pad="VALID"))

    assert changed_attributes(before, now) == (
        "Conv auto_pad: absent -> VALID (conv)",
        "Conv group: 1 -> absent (conv)",
        "Conv strides: [2, 2] -> [1, 1] (conv)",
    )


def test_numbers_that_differ_in_their_last_bit_differ(tmp_path: Path) -> None:
    alphas = (1e-5, float(np.nextafter(np.float32(1e-5), np.float32(1))))
    node = [helper.make_node("Elu", ["x"], ["y"], name="elu", alpha=alpha) for alpha in alphas]
    unused = numpy_helper.from_array(KERNEL, "unused")
    before, now = (graph(tmp_path / f"{place}.onnx", (part, unused)) for place, part in enumerate(node))

    assert changed_attributes(before, now) == ("Elu alpha: 1e-05 -> 1.0000001e-05 (elu)",)


def test_one_change_of_many_operations_is_one_line(tmp_path: Path) -> None:
    names = ("first", "second", "third")
    before = graph(tmp_path / "a.onnx", *(convolution(name, group=1) for name in names))
    now = graph(tmp_path / "b.onnx", *(convolution(name, group=2) for name in names))

    assert changed_attributes(before, now) == ("Conv group: 1 -> 2 (3 operations, first first)",)


def test_weights_are_compared_by_shape_and_by_every_bit(tmp_path: Path) -> None:
    nearly = KERNEL.copy()
    nearly[0, 0, 2, 2] = np.nextafter(nearly[0, 0, 2, 2], 10)
    before = graph(tmp_path / "a.onnx", convolution("conv"))

    assert changed_attributes(before, graph(tmp_path / "b.onnx", convolution("conv", nearly))) == (
        "Conv input[1]: other numbers (conv)",
    )
    assert changed_attributes(before, graph(tmp_path / "c.onnx", convolution("conv", KERNEL[..., :1, :1]))) == (
        "Conv input[1]: float32[1, 1, 3, 3] -> float32[1, 1, 1, 1] (conv)",
    )


def test_not_a_number_is_the_same_as_itself(tmp_path: Path) -> None:
    both = [graph(tmp_path / f"{name}.onnx", convolution("conv", KERNEL * np.nan)) for name in "ab"]

    assert changed_attributes(*both) == ()


def test_a_constant_is_a_weight_of_who_reads_it(tmp_path: Path) -> None:
    before = graph(tmp_path / "a.onnx", constant=np.float32([1, 2]))
    now = graph(tmp_path / "b.onnx", constant=np.float32([1, 3]))

    assert [operation.type for operation in operations(before)] == ["Add"]
    assert changed_attributes(before, now) == ("Add input[1]: other numbers (add)",)


def test_operations_without_a_partner_hide_none_that_have_one(tmp_path: Path) -> None:
    relu = (helper.make_node("Relu", ["x"], ["r"], name="relu"), numpy_helper.from_array(KERNEL, "unused"))
    before = graph(tmp_path / "a.onnx", convolution("one", group=1), convolution("two", group=1))
    now = graph(tmp_path / "b.onnx", convolution("one", group=1), relu, convolution("two", group=2))

    assert changed_attributes(before, now) == ("Conv group: 1 -> 2 (two)",)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x00")

    with pytest.raises(ConversionError, match="not an ONNX model"):
        list(operations(Artifact(tmp_path / "a.onnx", "onnx", "fp32")))


def edited(artifact: Artifact, home: Path, edit: Any) -> Artifact:
    """Copy a Core ML artefact and change its specification."""
    utils = import_coremltools().utils
    path = home / artifact.path.name
    if artifact.path.is_dir():
        shutil.copytree(artifact.path, path)
        (file,) = path.rglob("*.mlmodel")
    else:
        file = Path(shutil.copy(artifact.path, path))
    specification = utils.load_spec(str(file))
    edit(specification)
    file.write_bytes(specification.SerializeToString())
    return Artifact(path, artifact.format, artifact.precision)


def test_a_neural_network_is_compared_field_by_field(tmp_path: Path) -> None:
    def edit(specification: Any) -> None:
        layers = specification.neuralNetworkClassifier.layers
        convolution = next(layer for layer in layers if layer.WhichOneof("layer") == "convolution")
        convolution.convolution.stride[0] = 3
        convolution.convolution.weights.floatValue[0] += 1
        del convolution.convolution.bias.floatValue[:]
        for layer in layers:
            layer.name = f"renamed {layer.name}"

    before = converted("onnx-coreml")
    now = edited(before, tmp_path, edit)
    name = next(o.name for o in operations(now) if o.type == "convolution")

    assert changed_attributes(before, before) == ()
    assert changed_attributes(before, now) == (
        f"convolution convolution.bias: absent -> present ({name})",
        f"convolution convolution.bias.floatValue: float32[6] -> absent ({name})",
        f"convolution convolution.stride: [2, 2] -> [3, 2] ({name})",
        f"convolution convolution.weights.floatValue: other numbers ({name})",
    )


@pytest.mark.parametrize("route", ["mlprogram", "mlprogram-fp32"])
def test_a_programs_weights_are_read_from_beside_it(route: str) -> None:
    before, now = converted(route), converted(route, shifted)

    assert changed_attributes(before, before) == ()
    assert {line.partition(" (")[0] for line in changed_attributes(before, now)} == {
        "linear bias: other numbers",
        "linear weight: other numbers",
    }


def test_a_programs_settings_are_those_of_its_constants(tmp_path: Path) -> None:
    def edit(specification: Any) -> None:
        function = specification.mlProgram.functions["main"]
        operations = {o.outputs[0].name: o for o in function.block_specializations[function.opset].operations}
        (conv,) = (operation for operation in operations.values() if operation.type == "conv")
        strides = operations[conv.inputs["strides"].arguments[0].name]
        strides.attributes["val"].immediateValue.tensor.ints.values[0] = 1

    before = converted("mlprogram")

    assert changed_attributes(before, edited(before, tmp_path, edit)) == (
        "conv strides: [2, 2] -> [1, 2] (input_cast_fp16)",
    )


def test_weights_of_a_program_are_the_modules_numbers() -> None:
    found = {operation.type: operation.attributes for operation in operations(converted("mlprogram-fp32"))}

    weight = found["linear"]["weight"]
    assert isinstance(weight, np.ndarray)
    np.testing.assert_array_equal(weight, tiny().module.linear.weight.detach().numpy())
    assert found["avg_pool"]["exclude_padding_from_average"] == "False"
