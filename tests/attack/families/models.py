"""ONNX files that ask for what no machine has, or are not what they say."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.attack.attack import ANY, HOLDS, NOT_GREEN, Attack
from tests.attack.families.images import SPECIAL

COMMANDS = {
    "predict": ("parity", "predict", "evil.onnx", "pictures/picture0.png"),
    "check": (
        *("parity", "check", "models.py:tiny", "evil.onnx", "--images", "pictures", "--no-explain"),
        *("--time-limit", "10"),
    ),
}


def constant(name: str, values: Any, kind: Any = np.int64) -> Any:
    """Make a node that gives these values."""
    from onnx import helper, numpy_helper

    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values, kind), name))


def graph(*nodes: Any, output: str = "big") -> Any:
    """Make a classifier of 8 classes that reads one number of a value called `output` into its answer."""
    from onnx import TensorProto, helper

    ending = (
        helper.make_node("ReduceMax", [output], ["top"], keepdims=0),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["none"]),
        constant("eighths", np.full((1, 8), 0.125), np.float32),
        constant("spread", np.zeros((3, 8)), np.float32),
        helper.make_node("MatMul", ["none", "spread"], ["zeros"]),
        helper.make_node("Add", ["zeros", "eighths"], ["sure"]),
        helper.make_node("Mul", ["top", "sure"], ["product"]),
        helper.make_node("Sub", ["product", "product"], ["nothing"]),
        helper.make_node("Add", ["sure", "nothing"], ["classLabelProbs"]),
    )
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [*nodes, *ending],
        "evil",
        [value("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [value("classLabelProbs", TensorProto.FLOAT, [1, 8])],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def loop(trips: int | None, body: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Make a Loop whose condition is always true; `trips` None stands for no bound."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    inside = helper.make_graph(
        [
            *body,
            helper.make_node("Identity", ["on"], ["still"]),
            constant("one", 1.0, np.float32),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "body",
        [
            value("step", TensorProto.INT64, []),
            value("on", TensorProto.BOOL, []),
            value("sum", TensorProto.FLOAT, []),
        ],
        [value("still", TensorProto.BOOL, []), value("more", TensorProto.FLOAT, [])],
    )
    bound = [constant("trips", trips)] if trips is not None else []
    return (
        *bound,
        constant("yes", True, np.bool_),
        constant("start", 0.0, np.float32),
        helper.make_node("Loop", ["trips" if bound else "", "yes", "start"], ["big"], body=inside),
    )


def _huge() -> Iterator[tuple[str, Any]]:
    """Give graphs with one value of many gigabytes, and those that never end."""
    from onnx import helper

    node = helper.make_node
    for name, shape in (("2^36", [2**18, 2**18]), ("2^40", [2**40]), ("2^34", [2**17, 2**17])):
        yield f"ConstantOfShape of {name}", graph(constant("s", shape), node("ConstantOfShape", ["s"], ["big"]))
    one = constant("x", [[1.0]], np.float32)
    yield "Expand", graph(one, constant("s", [2**18, 2**17]), node("Expand", ["x", "s"], ["big"]))
    yield "Tile", graph(one, constant("s", [2**18, 2**17]), node("Tile", ["x", "s"], ["big"]))
    ends = (constant("a", 0.0, np.float32), constant("b", 2.0**35, np.float32), constant("c", 1.0, np.float32))
    yield "Range", graph(*ends, node("Range", ["a", "b", "c"], ["big"]))
    pads = constant("p", [0, 0, 0, 0, 0, 0, 2**17, 2**17])
    yield "Pad", graph(pads, node("Pad", ["image", "p"], ["big"]))
    scales = constant("s", [1.0, 1.0, 4096.0, 4096.0], np.float32)
    yield "Resize", graph(scales, node("Resize", ["image", "", "s"], ["big"]))
    wide = (constant("l", [2**18, 1]), constant("r", [1, 2**18]))
    fills = (node("ConstantOfShape", ["l"], ["left"]), node("ConstantOfShape", ["r"], ["right"]))
    yield "MatMul", graph(*wide, *fills, node("MatMul", ["left", "right"], ["big"]))
    yield "Add of a row and a column", graph(*wide, *fills, node("Add", ["left", "right"], ["big"]))
    doubling = [constant("x0", [[1.0]], np.float32)]
    doubling += [node("Concat", [f"x{k}", f"x{k}"], [f"x{k + 1}"], axis=0) for k in range(36)]
    yield "Concat 36 times", graph(*doubling, output="x36")
    indices = (constant("i", [[0]]), constant("d", 2**36), constant("v", [0.0, 1.0], np.float32))
    yield "OneHot", graph(*indices, node("OneHot", ["i", "d", "v"], ["big"]))
    yield "Loop without an end", graph(*loop(None))
    yield "Loop of 2^62 steps", graph(*loop(2**62))


def _strange() -> Iterator[tuple[str, Any]]:
    """Give graphs that are not what a classifier is."""
    from onnx import TensorProto, helper

    small = (constant("x", [1.0], np.float32), helper.make_node("Identity", ["x"], ["big"]))

    def changed(change: Callable[[Any], Any]) -> Any:
        model = graph(*small)
        change(model)
        return model

    for kind in ("STRING", "COMPLEX64", "BOOL", "UINT8", "INT64", "DOUBLE", "UNDEFINED"):
        number = getattr(TensorProto, kind)
        yield f"output {kind}", changed(lambda m, n=number: _type(m.graph.output[0], n))
        yield f"input {kind}", changed(lambda m, n=number: _type(m.graph.input[0], n))
    yield "no outputs", changed(lambda m: m.graph.ClearField("output"))
    yield "no inputs", changed(lambda m: m.graph.ClearField("input"))
    yield "no nodes", changed(lambda m: m.graph.ClearField("node"))
    yield "two inputs", changed(lambda m: m.graph.input.add().CopyFrom(m.graph.output[0]))
    yield "opset 0", changed(lambda m: setattr(m.opset_import[0], "version", 0))
    yield "opset 2^40", changed(lambda m: setattr(m.opset_import[0], "version", 2**40))
    yield "no opset", changed(lambda m: m.ClearField("opset_import"))
    yield "IR 2^40", changed(lambda m: setattr(m, "ir_version", 2**40))
    yield "a circle", changed(lambda m: m.graph.node[-1].input.__setitem__(1, "classLabelProbs"))
    yield "an unknown operation", changed(lambda m: setattr(m.graph.node[1], "op_type", "Steal"))
    yield "another domain", changed(lambda m: setattr(m.graph.node[1], "domain", "evil"))
    yield "a value that nobody gives", changed(lambda m: m.graph.node[1].input.__setitem__(0, "nobody"))
    yield "negative sizes", changed(lambda m: _size(m.graph.input[0], -7))
    yield "sizes of 2^40", changed(lambda m: _size(m.graph.input[0], 2**40))


def _type(value: Any, kind: int) -> None:
    value.type.tensor_type.elem_type = kind


def _size(value: Any, size: int) -> None:
    for axis in value.type.tensor_type.shape.dim[2:]:
        axis.dim_value = size


def _save(make: Callable[[], Any], place: Path) -> None:
    (place / "evil.onnx").write_bytes(make().SerializeToString())


def _named(source: Callable[[], Iterator[tuple[str, Any]]], name: str) -> Any:
    return dict(source())[name]


def _cut(place: Path, share: float) -> None:
    whole = (place / "keep.onnx").read_bytes()
    (place / "evil.onnx").write_bytes(whole[: int(share * len(whole))])


def _flip(place: Path, seed: int) -> None:
    content, generator = bytearray((place / "keep.onnx").read_bytes()), random.Random(seed)
    for _ in range(8):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    (place / "evil.onnx").write_bytes(content)


def _external(place: Path, location: str) -> None:
    import onnx

    model = onnx.load(str(place / "keep.onnx"))
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    size = len(tensor.raw_data)
    (place.parent / "secret.bin").write_bytes(bytes(size))
    (place / "inside").symlink_to(place.parent / "secret.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (place / "evil.onnx").write_bytes(model.SerializeToString())


def _sparse(place: Path) -> None:
    """Write the tiny network with one weight as a sparse initializer: the same numbers."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(place / "keep.onnx"))
    weight = next(t for t in model.graph.initializer if len(t.dims) == 2)
    values = numpy_helper.to_array(weight)
    numbers = helper.make_tensor(weight.name, weight.data_type, [values.size], values.ravel().tolist())
    indices = helper.make_tensor("where", onnx.TensorProto.INT64, [values.size], list(range(values.size)))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(numbers, indices, list(values.shape)))
    model.graph.initializer.remove(weight)
    (place / "evil.onnx").write_bytes(model.SerializeToString())


def attacks() -> Iterator[Attack]:
    """Give every file to predict and check."""
    for source in (_huge, _strange):
        for what, _ in source():
            for command, words in COMMANDS.items():
                if command == "predict" and "Loop" in what:
                    words = (*words, "--time-limit", "10")
                trap = partial(_save, partial(_named, source, what))
                yield Attack(f"models/{what}/{command}", words, trap, NOT_GREEN)
    for command, words in COMMANDS.items():
        for share in (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
            yield Attack(f"models/cut at {share:g}/{command}", words, partial(_cut, share=share), NOT_GREEN)
        for seed in range(12):
            yield Attack(f"models/flipped bits {seed}/{command}", words, partial(_flip, seed=seed), ANY)
        for location in (
            "../secret.bin",
            "inside",
            "/dev/zero",
            "../../../../../../etc/passwd",
            "",
            ".",
            "x" * 5000,
        ):
            trap = partial(_external, location=location)
            yield Attack(f"models/external data {location[:24]!r}/{command}", words, trap, NOT_GREEN)
        for what, place_it in SPECIAL.items():
            yield Attack(f"models/{what}/{command}", words, partial(place_it, name="evil.onnx"))
    yield Attack("models/sparse initializer/check", COMMANDS["check"], _sparse, frozenset({HOLDS}))
