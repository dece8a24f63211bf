"""OPERATIONS: what ML Programs and Core AI define alike, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.cross_check.operation import Operation
from tests.cross_check.operations import (
    convolutions,
    elementwise,
    halves,
    indexing,
    moving,
    normalizations,
    pooling,
    reductions,
    resizing,
)

_FAMILIES = (elementwise, convolutions, pooling, normalizations, reductions, resizing, indexing, moving, halves)
OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation for family in _FAMILIES for operation in family.OPERATIONS
}
assert len(OPERATIONS) == sum(len(family.OPERATIONS) for family in _FAMILIES), "two operations have one name"
