"""Every kernel takes the parameters that coremltools' own definition of the operation has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from conversion.guards.quiet import chatter_to
from parity.coreml.registry import OPSETS, Kernel, operations

with chatter_to():
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

# What coremltools' exporter makes of coreml_update_state: in files, but nowhere defined.
_UNDEFINED = {"write_state"}
KERNELS = [
    kernel for kind, versions in operations().items() for kernel in versions.values() if kind not in _UNDEFINED
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


def faults(kernel: Kernel) -> Iterator[str]:
    """Say where a kernel is not what coremltools defines, in each opset in which it holds."""
    since = OPSETS.index(kernel.since)
    later = [opset for opset in operations()[kernel.type] if OPSETS.index(opset) > since]
    held = [_in_force(kernel.type, opset) for opset in OPSETS[since : OPSETS.index(later[0]) if later else None]]
    if held[0] is None:
        yield f"{kernel.type} is unknown to coremltools in {kernel.since}"
    # A name with an underscore stands for a Python function, which becomes a block in the file.
    specs = [
        {name: kind for name, kind in definition.input_spec.input_types.items() if not name.startswith("_")}
        for definition in held
        if definition is not None
    ]
    theirs = {name for spec in specs for name in spec}
    if set(kernel.parameters) != theirs:
        yield f"{kernel.type} of {kernel.since} takes {sorted(kernel.parameters)}, and Apple's {sorted(theirs)}"
    required = {name for name in theirs if all(name in spec and not spec[name].optional for spec in specs)}
    if kernel.required != required:
        yield f"{kernel.type} of {kernel.since} needs {sorted(kernel.required)}, and Apple's {sorted(required)}"


def test_parameters_and_opsets_are_apples() -> None:
    assert len(KERNELS) > 150
    assert [fault for kernel in KERNELS for fault in faults(kernel)] == []


def test_a_kernel_that_differs_is_told() -> None:
    kernel = operations()["softmax"]["iOS15"]
    (name, *_) = kernel.parameters

    older = [fault for one in KERNELS if one.since != "iOS15" for fault in faults(replace(one, since="iOS15"))]
    assert any("is unknown to coremltools in iOS15" in fault for fault in older)
    other = replace(kernel, parameters={key: kernel.parameters[key] for key in kernel.parameters if key != name})
    assert [fault.startswith("softmax of iOS15 takes ['axis']") for fault in faults(other)][:1] == [True]
