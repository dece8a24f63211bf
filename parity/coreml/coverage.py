"""What the evaluator runs of what there is: operations by opset and layers, held against coremltools' own lists."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from conversion.files.coreml_messages import coreml_messages
from conversion.guards.quiet import import_coremltools
from parity.coreml.registry import OPSETS, find_layer, find_operation

# Not computed by a kernel: mil.py reads it.
_READ = frozenset({"const"})


def operation_coverage() -> dict[str, dict[str, bool]]:
    """Say of every ML Program operation, for each opset in which coremltools defines it, whether it runs.

    It runs where there is a kernel that takes every parameter of that opset's definition.
    """
    return {
        name: {opset: _runs(name, opset, definitions[opset]) for opset in OPSETS if opset in definitions}
        for name, definitions in sorted(_definitions().items())
    }


def layer_coverage() -> dict[str, bool]:
    """Say of every layer in NeuralNetwork.proto whether it runs; `custom` cannot, its code is part of an app."""
    messages = coreml_messages("NeuralNetwork_pb2")
    fields = messages.NeuralNetworkLayer.DESCRIPTOR.oneofs_by_name["layer"].fields
    return {name: find_layer(name) is not None for name in sorted(field.name for field in fields)}


def _definitions() -> dict[str, dict[str, Any]]:
    """Collect coremltools' definitions: operation -> opset -> class."""
    import_coremltools()
    importlib.import_module("coremltools.converters.mil.mil.ops.defs")
    registry = importlib.import_module("coremltools.converters.mil.mil.ops.registry").SSAOpRegistry
    operations = {
        # An underscore marks what lives in the converter only and never reaches a file.
        name: {version.name: definition for version, definition in versions.items()}
        for name, versions in registry.core_ops.items()
        if not name.startswith("_")
    }
    # Of the dialects that one is Core ML's own: states, which came with iOS18.
    own = {name: op for name, op in registry.dialect_ops.items() if name.startswith("coreml_")}
    return operations | {name: {"iOS18": definition} for name, definition in own.items()}


def _runs(name: str, opset: str, definition: Any) -> bool:
    if name in _READ:
        return True
    kernel = find_operation(name, opset)
    # A parameter with an underscore is a Python function, which becomes a block in the file.
    wanted = {p for p in definition.input_spec.input_types if not p.startswith("_")}
    return kernel is not None and wanted <= set(kernel.parameters)


def missing(coverage: Mapping[str, Mapping[str, bool]]) -> list[str]:
    """List what does not run, as `operation (opset, opset)`."""
    absent = {name: [o for o, runs in opsets.items() if not runs] for name, opsets in coverage.items()}
    return [f"{name} ({', '.join(opsets)})" for name, opsets in absent.items() if opsets]
