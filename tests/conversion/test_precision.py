"""What a file computes in, and what it only stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conversion.artifact import open_artifact
from conversion.errors import ConversionError
from conversion.guards.quiet import chatter_to, import_coremltools
from conversion.precision import Step, computes_in, onnx_precision

HALF, WHOLE = TensorProto.FLOAT16, TensorProto.FLOAT
WEIGHTS = np.ones((4, 4))


def model_of(nodes: list[Any], weights: dict[str, np.ndarray], image: int = WHOLE, answer: int = WHOLE) -> Any:
    """Make a model from `image` [1, 4] to `answer` [1, 4]; the checker of onnx must take it."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", image, [1, 4])],
        [helper.make_tensor_value_info("answer", answer, [1, 4])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def cast(source: str, to: int, target: str) -> Any:
    return helper.make_node("Cast", [source], [target], to=to)


def matmul(a: str, b: str, target: str) -> Any:
    return helper.make_node("MatMul", [a, b], [target])


def branch(nodes: list[Any], name: str) -> Any:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}_answer", WHOLE, [1, 4])])


W16, W32 = WEIGHTS.astype(np.float16), WEIGHTS.astype(np.float32)
I8, SCALE16 = WEIGHTS.astype(np.int8), np.array(0.5, np.float16)
ONNX: dict[str, tuple[str, Any]] = {
    "fp32": ("fp32", lambda: model_of([matmul("image", "w", "answer")], {"w": W32})),
    "fp16 throughout": ("fp16", lambda: model_of([matmul("image", "w", "answer")], {"w": W16}, HALF, HALF)),
    "one weight stored in fp16": (
        "fp32",
        lambda: model_of([cast("w", WHOLE, "wide"), matmul("image", "wide", "answer")], {"w": W16}),
    ),
    "weights dequantised to fp16, then widened": (
        "fp32",
        lambda: model_of(
            [
                helper.make_node("DequantizeLinear", ["w", "scale"], ["half"]),
                cast("half", WHOLE, "wide"),
                matmul("image", "wide", "answer"),
            ],
            {"w": I8, "scale": SCALE16},
        ),
    ),
    "one layer in fp16": (
        "fp16",
        lambda: model_of(
            [cast("image", HALF, "half"), matmul("half", "w", "product"), cast("product", WHOLE, "answer")],
            {"w": W16},
        ),
    ),
    "a cast to fp16 and back": (
        "fp32",
        lambda: model_of(
            [cast("image", HALF, "half"), cast("half", WHOLE, "wide"), matmul("wide", "w", "answer")], {"w": W32}
        ),
    ),
    "fp16 beside the way to the answer": (
        "fp32",
        lambda: model_of(
            [cast("image", HALF, "half"), matmul("half", "w", "nowhere"), matmul("image", "v", "answer")],
            {"w": W16, "v": W32},
        ),
    ),
    "fp16 in a branch": (
        "fp16",
        lambda: model_of(
            [
                helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
                cast("most", TensorProto.BOOL, "which"),
                helper.make_node(
                    "If",
                    ["which"],
                    ["answer"],
                    then_branch=branch(
                        [
                            cast("image", HALF, "half"),
                            helper.make_node("Exp", ["half"], ["grown"]),
                            cast("grown", WHOLE, "then_answer"),
                        ],
                        "then",
                    ),
                    else_branch=branch([helper.make_node("Abs", ["image"], ["else_answer"])], "else"),
                ),
            ],
            {},
        ),
    ),
}


@pytest.mark.parametrize("kind", ONNX)
def test_an_onnx_file_is_what_it_computes_in(kind: str) -> None:
    expected, make = ONNX[kind]

    assert onnx_precision(make()) == expected


def test_a_function_of_the_file_is_looked_into() -> None:
    function = helper.make_function(
        "local",
        "Halved",
        ["x"],
        ["y"],
        [cast("x", HALF, "half"), helper.make_node("Exp", ["half"], ["grown"]), cast("grown", WHOLE, "y")],
        [helper.make_opsetid("", 19)],
    )
    model = model_of([helper.make_node("Abs", ["image"], ["answer"])], {})
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[0].CopyFrom(helper.make_node("Halved", ["image"], ["answer"], domain="local"))
    onnx.checker.check_model(model)

    assert onnx_precision(model) == "fp16"


def function(name: str, *calls: str) -> onnx.FunctionProto:
    names = ["x", *(f"v{index}" for index in range(len(calls) - 1)), "y"]
    nodes = [
        helper.make_node(call, [before], [after], domain="local" if call.startswith("F") else "")
        for call, before, after in zip(calls, names[:-1], names[1:], strict=True)
    ]
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["x"], ["y"], nodes, opsets)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        # Forty functions, each of which calls the next twice.
        (
            [*(function(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(40)), function("F40", "Exp")],
            "make 1099511627776 operations, and the most that is read is 1000000",
        ),
        ([function("F0", "F1"), function("F1", "F0")], "its functions call each other in a circle, F"),
        ([function("F0", "F0")], "its functions call each other in a circle, F0 -> F0"),
    ],
)
def test_functions_without_an_end_are_refused(functions: list[onnx.FunctionProto], message: str) -> None:
    model = model_of([helper.make_node("Abs", ["image"], ["answer"])], {})
    model.graph.node[0].CopyFrom(helper.make_node("F0", ["image"], ["answer"], domain="local"))
    model.functions.extend(functions)
    with pytest.raises(ConversionError, match=message):
        onnx_precision(model)


def test_an_unknown_operator_keeps_the_type_that_it_reads() -> None:
    model = model_of([matmul("image", "w", "answer")], {"w": W16}, HALF, HALF)
    model.graph.node[0].domain = "elsewhere"
    model.graph.output[0].type.tensor_type.elem_type = WHOLE
    model.graph.node[0].output[0] = "product"
    model.graph.node.append(cast("product", WHOLE, "answer"))
    model.graph.input[0].type.tensor_type.elem_type = WHOLE
    model.graph.node.insert(0, cast("image", HALF, "half"))
    model.graph.node[1].input[0] = "half"

    assert onnx_precision(model) == "fp16"


def test_what_a_loop_carries_back_is_followed() -> None:
    steps = [Step(["state"], ["next"]), Step(["image"], ["state"]), Step(["next"], ["half"], half=True)]
    steps += [Step(["half"], ["state"]), Step(["state"], ["answer"])]

    assert computes_in(steps, ["image"], ["answer"]) == "fp16"
    assert computes_in(steps, ["elsewhere"], ["answer"]) == "fp32"


def mlprogram_file(path: Path, on_the_way: bool) -> Path:
    """Write an ML Program of one matrix product, in fp16 or with weights that are stored so."""
    ct = import_coremltools()
    with chatter_to():
        from coremltools.converters.mil import Builder as mb  # noqa: N813

        def product(x: Any) -> Any:
            if on_the_way:
                return mb.cast(x=mb.matmul(x=mb.cast(x=x, dtype="fp16"), y=W16), dtype="fp32")
            half = mb.constexpr_affine_dequantize(
                quantized_data=I8, zero_point=np.int8(0), scale=np.float16(0.5), axis=np.int32(0)
            )
            return mb.matmul(x=x, y=mb.cast(x=half, dtype="fp32"))

        target = ct.target.iOS16
        program = mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=target)(lambda x: product(x))
        model = ct.convert(
            program,
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=target,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        model.save(str(path))
    return path


@pytest.mark.parametrize(("on_the_way", "expected"), [(False, "fp32"), (True, "fp16")])
def test_an_ml_program_that_stores_fp16_is_what_it_computes_in(
    on_the_way: bool, expected: str, tmp_path: Path
) -> None:
    assert open_artifact(mlprogram_file(tmp_path / "a.mlpackage", on_the_way)).precision == expected
