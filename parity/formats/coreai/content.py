"""What is in a Core AI program: its operations with their settings, and the parts that its digest is taken of."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.coreai import ASSET_VERSION
from parity.formats.coreai.nodes import CONSTANT, OUTPUT, kind_of, settings_of
from parity.formats.coreai.runtime import Program, open_program
from parity.formats.facts import Content
from parity.formats.listing import Operation, as_text

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.formats.compression import CompressedWeight

_POOL = ("input", "kernel_size", "stride", "dilation", "ceil_mode")
_TRANSPOSED = ("input", "weight", "stride", "padding", "dilation", "output_pad", "groups")
# What operations read, in the names of coreai-core 1.0.0b3; of others a place is its number.
OPERANDS: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("input", "weight", "stride", "dilation", "groups"),
    "conv_transpose2d": _TRANSPOSED,
    "max_pool_2d": _POOL,
    "sum_pool_2d": _POOL[:4],
    "pad": ("input", "padding", "padding_value"),
    "interpolate": ("input", "output_shape", "scale", "offset"),
    "softmax": ("input", "axis"),
    "transpose": ("input", "permutation"),
    "reshape": ("input", "new_shape"),
    "reduce_mean": ("input", "axes"),
    "reduce_sum": ("input", "axes"),
}


def place_of(kind: str, index: int) -> str:
    """Name the place at which an operation reads its value of a number."""
    names = OPERANDS.get(kind, ())
    return names[index] if index < len(names) else f"input[{index}]"


def index_of(kind: str, place: str) -> int:
    """Find the number of a place."""
    return int(place[6:-1]) if place.startswith("input[") else OPERANDS[kind].index(place)


def operations(artifact: Artifact) -> Iterator[Operation]:
    """List the operations in the order of the file, without constants."""
    return listed(open_program(artifact.path))


def listed(program: Program) -> Iterator[Operation]:
    """List a program's operations; whole numbers that they read are settings, others weights."""
    names, constants = program.value_names(), program.constants()
    for name, node in program.nodes.items():
        kind = kind_of(node)
        if kind in (CONSTANT, OUTPUT):
            continue
        read = [names[operand] for operand in node.operands]
        attributes: dict[str, str | np.ndarray] = dict(settings_of(node))
        for index, value in enumerate(read):
            if value in constants:
                attributes[place_of(kind, index)] = _setting(constants[value])
        yield Operation(kind, name, attributes, tuple(read), tuple(names[result] for result in node.results))


def _setting(array: np.ndarray) -> str | np.ndarray:
    return array if array.dtype.kind not in "iub" else as_text(array.tolist())


def content(path: Path) -> Content:
    """Read what facts and digest are taken from: the operations as text, with digests of what they read."""
    program = open_program(path)
    counts: Counter[str] = Counter()
    # By their places: the converter's own numbers say nothing of what is computed.
    places: dict[Any, str] = {value: f"%in{place}" for place, value in enumerate(program.block.arguments)}
    lines = [f"{program.inputs} -> {program.outputs}"]
    for node, (name, kind) in ((n, (name, kind_of(n))) for name, n in program.nodes.items()):
        if kind == CONSTANT:
            array = program.constants()[name]
            numbers = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            places[node.results[0]] = f"{array.dtype}{list(array.shape)}{numbers}"
            continue
        if kind != OUTPUT:
            counts[kind] += 1
        read = ", ".join(places[operand] for operand in node.operands)
        lines.append(f"{node.name} {sorted(settings_of(node))} ({read}) {[str(r.type) for r in node.results]}")
        places.update({result: f"%{len(lines)}.{place}" for place, result in enumerate(node.results)})
    weights = b"".join(np.ascontiguousarray(array).tobytes() for array in program.constants().values())
    return Content(f"asset {ASSET_VERSION}", counts, {"program": "\n".join(lines).encode(), "weights": weights})


def compressed_weights(artifact: Artifact) -> tuple[CompressedWeight, ...]:
    """Read none: no route compresses weights for this format."""
    return ()
