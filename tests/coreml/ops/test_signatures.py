"""Every kernel takes the parameters that coremltools' own definition of the operation has."""

from __future__ import annotations

from typing import Any

import pytest

from conversion.guards.quiet import chatter_to
from parity.coreml.registry import OPSETS, Kernel, operations

with chatter_to():
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

# What coremltools' exporter makes of coreml_update_state: in files, but nowhere defined.
_UNDEFINED = {"write_state"}
_CASES = [
    pytest.param(kernel, id=f"{kind}-{since}")
    for kind, versions in sorted(operations().items())
    for since, kernel in versions.items()
    if kind not in _UNDEFINED
]


def _definitions(kind: str) -> dict[str, Any]:
    """Return coremltools' definitions of an operation by the opset since which they hold."""
    if kind in SSAOpRegistry.dialect_ops:
        return {"iOS18": SSAOpRegistry.dialect_ops[kind]}
    return {version.name: definition for version, definition in SSAOpRegistry.core_ops[kind].items()}


def _in_force(kind: str, opset: str) -> Any:
    definitions = _definitions(kind)
    known = [since for since in OPSETS[: OPSETS.index(opset) + 1] if since in definitions]
    return definitions[known[-1]] if known else None


@pytest.mark.parametrize("kernel", _CASES)
def test_parameters_are_apples(kernel: Kernel) -> None:
    later = [since for since in operations()[kernel.type] if OPSETS.index(since) > OPSETS.index(kernel.since)]
    until = OPSETS.index(later[0]) if later else len(OPSETS)
    held = [_in_force(kernel.type, opset) for opset in OPSETS[OPSETS.index(kernel.since) : until]]
    # A name with an underscore stands for a Python function, which becomes a block in the file.
    specs = [
        {name: kind for name, kind in definition.input_spec.input_types.items() if not name.startswith("_")}
        for definition in held
        if definition is not None
    ]

    assert specs, f"{kernel.type} is unknown to coremltools in {kernel.since}"
    assert set(kernel.parameters) == {name for spec in specs for name in spec}
    assert kernel.required == {
        name for name in specs[0] if all(name in spec and not spec[name].optional for spec in specs)
    }


@pytest.mark.parametrize("kernel", _CASES)
def test_an_operation_is_not_older_than_its_definition(kernel: Kernel) -> None:
    assert _in_force(kernel.type, kernel.since) is not None
