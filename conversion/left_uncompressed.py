"""Which weights a compression left as they were: coremltools says nothing of them."""

from __future__ import annotations

from math import prod
from typing import Any

from conversion.artifact import operations_of
from conversion.compression import THRESHOLD, Compression, names_file

# MIL.proto: DataType, fp16 and fp32.
_FLOATS = (10, 11)
# So many weights are named in a remark.
_SHOWN = 3


def tell_left(compression: Compression, specification: Any) -> str:
    """Name the large weights that a scheme left as they were; empty where there are none.

    specification: of the compressed model. A file of settings may mean to leave some, and nothing is said of it.
    """
    if names_file(compression.text):
        return ""
    whole = [
        operation.outputs[0].name
        for operation in operations_of(specification)
        if _is_large(operation.outputs[0].type.tensorType) and (operation.type == "const" or _keeps_all(operation))
    ]
    if not whole:
        return ""
    listed = ", ".join(whole[:_SHOWN]) + (f" and {len(whole) - _SHOWN} more" if len(whole) > _SHOWN else "")
    return f"{compression.text} left {len(whole)} weight(s) of more than {THRESHOLD} numbers as they were: {listed}"


def _is_large(tensor: Any) -> bool:
    return tensor.dataType in _FLOATS and _size(tensor) > THRESHOLD


def _keeps_all(operation: Any) -> bool:
    """Say whether a weight is written as a pruned one, and no number of it is zero."""
    # An attribute up to iOS 17, an input from iOS 18 on.
    kept = operation.attributes.get("nonzero_data")
    if kept is None and "nonzero_data" in operation.inputs:
        kept = operation.inputs["nonzero_data"].arguments[0].value
    return kept is not None and _size(kept.type.tensorType) == _size(operation.outputs[0].type.tensorType)


def _size(tensor: Any) -> int:
    return prod(int(dimension.constant.size) for dimension in tensor.dimensions)
