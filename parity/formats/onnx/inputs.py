"""The inputs of an ONNX file, as a session or the file itself declares them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from parity.formats.arrays import Input

# ONNX Runtime's names of the types of numbers that NumPy calls otherwise.
_NUMPY = {"float": "float32", "double": "float64"}


def session_inputs(session: Any, without: Collection[str] = ()) -> dict[str, Input]:
    """Read the inputs of ONNX Runtime's session, by name. without: names that are left out."""
    return {
        value.name: Input(value.shape, _dtype(value.type.removeprefix("tensor(").removesuffix(")")))
        for value in session.get_inputs()
        if value.name not in without
    }


def graph_inputs(model: Any) -> dict[str, Input]:
    """Read the inputs of a ModelProto that are no weights, by name."""
    from onnx import helper

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {}
    for value in model.graph.input:
        if value.name not in weights:
            kind = value.type.tensor_type
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type) if kind.elem_type else np.dtype(np.float32)
            inputs[value.name] = Input([dim.dim_value or None for dim in kind.shape.dim], dtype)
    return inputs


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(_NUMPY.get(name, name))
    except TypeError:  # what NumPy has not, as bfloat16: the runtime says so
        return np.dtype(np.float32)
