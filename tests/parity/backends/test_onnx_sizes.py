"""ONNX files that ask for more memory than one value may have are refused before a runtime runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conversion import Artifact
from parity.backends import find_backend
from parity.backends.onnx_sizes import check_sizes
from parity.core.errors import ParityError
from parity.core.memory import VARIABLE
from tests.parity.tiny import converted

SIDE = 2**15
LARGE = np.int64([SIDE, SIDE])

# Name -> the operator, its inputs, and its attributes; `x` is [1, 1, 2, 2] of the image, the rest constants.
MAKERS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "fill": ("ConstantOfShape", [LARGE], {}),
    "expand": ("Expand", [np.ones((1, 1), np.float32), LARGE], {}),
    "tile": ("Tile", [np.ones((1, 1), np.float32), LARGE], {}),
    "range": ("Range", [np.int64(0), np.int64(2**40), np.int64(1)], {}),
    "pad": ("Pad", ["x", np.int64([0, 0, 0, 0, 0, 0, 0, 2**30])], {}),
    "resize": ("Resize", ["x", "", np.float32([1, 1, SIDE, SIDE])], {}),
    "one-hot": ("OneHot", [np.int64([0, 1]), np.int64(2**31), np.float32([0, 1])], {}),
    "product": ("MatMul", [np.ones((2**16, 1), np.float32), np.ones((1, 2**16), np.float32)], {}),
    "sum": ("Add", [np.ones((2**16, 1), np.float32), np.ones((1, 2**16), np.float32)], {}),
    "convolution": ("Conv", ["x", np.ones((1, 1, 1, 1), np.float32)], {"pads": [SIDE, SIDE, SIDE, SIDE]}),
}


def save(path: Path, maker: str, dims: tuple[Any, ...] = (1, 3, 32, 32)) -> Artifact:
    """Write a classifier that makes a large value and answers the means of the image."""
    kind, given, attributes = MAKERS[maker]
    arrays = {f"c{i}": array for i, array in enumerate(given) if not isinstance(array, str)}
    names = [name if isinstance(name, str) else f"c{i}" for i, name in enumerate(given)]
    constants = {"starts": np.int64([0, 0, 0]), "ends": np.int64([1, 2, 2]), "axes": np.int64([1, 2, 3]), **arrays}
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["image", "starts", "ends", "axes"], ["x"]),
            helper.make_node(kind, names, ["large"], "maker", **attributes),
            helper.make_node("ReduceMean", ["image"], ["classLabelProbs"], axes=[2, 3], keepdims=0),
            helper.make_node("Shape", ["large"], ["shape"]),
        ],
        "large",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, dims)],
        [
            helper.make_tensor_value_info("classLabelProbs", TensorProto.FLOAT, [dims[0], 3]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, None),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return Artifact(path, "onnx", "fp32")


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("backend", ["onnxruntime", "onnx-reference"])
def test_a_large_value_is_refused_before_it_is_made(maker: str, backend: str, tmp_path: Path) -> None:
    artifact = save(tmp_path / "large.onnx", maker)
    kind = MAKERS[maker][0]
    with pytest.raises(ParityError, match=rf"large.onnx: operation `maker` \({kind}\): a value .* may have 1;"):
        find_backend(backend).load(artifact)


def test_the_batch_counts_where_the_file_leaves_it_open(tmp_path: Path) -> None:
    artifact = converted("onnx")
    check_sizes(artifact, 6)
    with pytest.raises(ParityError, match=r"the value `image`: a value of the shape \[1000000, 3, 32, 32\]"):
        check_sizes(artifact, 10**6)


def test_the_limit_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "5")
    check_sizes(save(tmp_path / "large.onnx", "fill"), 1)
    with pytest.raises(ParityError):
        check_sizes(save(tmp_path / "larger.onnx", "range"), 1)


def test_what_cannot_be_read_is_left_to_the_runtimes(tmp_path: Path) -> None:
    broken = Artifact(tmp_path / "broken.onnx", "onnx", "fp32")
    broken.path.write_bytes(b"\x08\x09")
    check_sizes(broken, 1)
