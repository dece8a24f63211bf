"""The inputs of an ONNX file, as a session or the file itself declares them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.shapes import in_nchw
from parity.core.errors import ParityError
from parity.formats.feeding import as_array

if TYPE_CHECKING:
    from conversion import Artifact

# A number where the size is fixed, anything else where it is open.
Dims = Sequence[Any]
# ONNX Runtime's names of the types of numbers that NumPy calls otherwise.
_NUMPY = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Input:
    """Hold the shape of an input and the type of its numbers."""

    dims: Dims
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, None where they are open."""
        return tuple(size if isinstance(size, int) and size > 0 else None for size in self.dims)


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


def image_name(artifact: Artifact, inputs: Mapping[str, Input]) -> str:
    """Check that a model has one input, an image [N, C, H, W] or [N, H, W, C], and return its name."""
    shapes = {name: one.shape for name, one in inputs.items()}
    ordered = [in_nchw(shape, artifact.contract.layout) for shape in shapes.values()]
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
    if len(ordered) != 1 or len(ordered[0]) != 4 or ordered[0][1] not in (3, 1, None):
        raise ParityError(
            f"{artifact.path}: a classifier takes one image [N, 3, height, width], or [N, 1, height, width] "
            f"of grey; this model takes {listed}"
        )
    wanted = artifact.contract.input
    if wanted and wanted not in shapes:
        raise ParityError(f"{artifact.path}: no input is called `{wanted}`; this model takes {listed}")
    return next(iter(shapes))


def feed(artifact: Artifact, inputs: Mapping[str, Input], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Make what the image takes of pixels, uint8 [N, H, W, 3], by the file's contract.

    inputs: with the image alone in them, as `image_name` checks once.
    """
    ((name, image),) = inputs.items()
    return {name: as_array(artifact, pixels, image.dims, image.dtype)}
