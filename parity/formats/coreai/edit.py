"""Changes to a Core AI program; see `parity.formats.editing`.

What needs every type of a program to change, and what an array input has not, is refused or does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.coreai import LABELS, metadata_of
from conversion.provenance import KEY, Provenance
from parity.core.errors import ParityError
from parity.formats.coreai.content import index_of
from parity.formats.coreai.runtime import (
    Program,
    constant_before,
    declare,
    open_program,
    operation_before,
    outputs_of,
    repeat_node,
    write,
)
from parity.formats.editing import Halves

if TYPE_CHECKING:
    from conversion import Artifact


@dataclass
class Content:
    """Hold a program in memory, and what its metadata says beside Core AI's own."""

    program: Program
    custom: dict[str, Any]


def read(artifact: Artifact) -> Content:
    """Read an asset."""
    return Content(open_program(artifact.path), dict(metadata_of(artifact.path)))


def save(artifact: Artifact, content: Content, path: Path) -> None:
    """Write an asset."""
    write(content.program, path, content.custom)


def replace_input(
    content: Content, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
) -> None:
    """Put a multiplication and an addition in front of all that reads the image."""
    program = content.program
    image, first = _image(program), _first(program)
    scaled = operation_before(program, first, "broadcasting_mul", image, _channels(scale))
    result = operation_before(program, first, "broadcasting_add", scaled, _channels(bias))
    replaced = _value(program, value)
    for reader in readers:
        _exchange(program.nodes[reader], replaced, result)


def set_weight(content: Content, operation: str, place: str, array: np.ndarray) -> None:
    """Let an operation read another constant; of the type and the shape that it read before."""
    node, index = _placed(content.program, operation, place)
    before = content.program.array_of(node.operands[index])
    shaped = array.astype(before.dtype).reshape(before.shape)
    node.operands[index] = constant_before(content.program, node, shaped)


def set_attribute(content: Content, operation: str, name: str, setting: Any) -> None:
    """Let an operation read another constant, or give it another word; what it must have is not taken away."""
    program = content.program
    node = program.nodes[operation]
    if name in {named.name for named in node.attributes}:
        program.set_word(node, name, str(setting))
        return
    node, index = _placed(program, operation, name)
    if setting is None:
        raise ParityError(f"{operation}: {name} cannot be taken away")
    before = program.array_of(node.operands[index])
    node.operands[index] = constant_before(program, node, np.array(setting, before.dtype).reshape(before.shape))


def set_labels(content: Content, labels: Sequence[str]) -> None:
    """Write labels into the metadata, for the app and for where the file comes from."""
    content.custom[LABELS] = list(labels)
    if KEY in content.custom:
        note = json.loads(content.custom[KEY])
        content.custom[KEY] = json.dumps({**note, "labels": list(labels)})


def labels(content: Content) -> Sequence[str] | None:
    """Read labels from the note of where the file comes from, else from the metadata."""
    note = content.custom.get(KEY)
    provenance = Provenance.from_json(note) if isinstance(note, str) else None
    listed = provenance.labels if provenance else content.custom.get(LABELS)
    return tuple(map(str, listed)) if isinstance(listed, list | tuple) and listed else None


def set_output(content: Content, was: str, value: str) -> None:
    """Give another value by the name of an output."""
    program = content.program
    given = dict(zip(program.outputs, outputs_of(program), strict=True))
    old = _value(program, was)
    declare(program, {name: _value(program, value) if one == old else one for name, one in given.items()})


def bypass(content: Content, operation: str) -> None:
    """Take an operation out: who read its result reads its first input."""
    program = content.program
    node = program.nodes[operation]
    source, result = node.operands[0], node.results[0]
    if source.type != result.type:
        raise ParityError(f"{operation}: what it reads, {source.type}, cannot stand for its result, {result.type}")
    result.replace_all_uses_with(source)


def repeat(content: Content, operation: str) -> None:
    """Do an operation twice."""
    repeat_node(content.program, operation)


def set_softmax_axis(content: Content, operation: str, axis: int) -> None:
    """Set what it reads as its axis."""
    set_attribute(content, operation, "axis", axis)


def swap_channels(content: Content) -> None:
    """Reverse the channels."""
    _behind_image(content.program, "reverse", np.array([1], np.int32))


def fix_shape(content: Content, shape: Sequence[int]) -> None:
    """Put a reshape behind the image."""
    _behind_image(content.program, "reshape", np.array(shape, np.uint32))


def declares_bgr(content: Content) -> bool:
    """Say no: an array has no colours."""
    return False


def declare_rgb(content: Content) -> None:
    """Do nothing: an array has no colours."""


def strange_input_type(content: Content) -> str:
    """Name the type of an input that is not float."""
    kind = content.program.input_type()
    return "" if kind == "float32" else kind


def take_floats(content: Content) -> None:
    """Refuse: what reads the image would have to be of another type."""
    raise ParityError("the type of a Core AI program's input is not changed here; convert again")


def take_channels_first(content: Content) -> None:
    """Refuse: what reads the image would have to be of another shape."""
    raise ParityError("the layout of a Core AI program's input is not changed here; convert again")


def training_norms(content: Content) -> list[str]:
    """Name none: norms have no switch, and are folded."""
    return []


def stop_training(content: Content) -> None:
    """Do nothing: norms have no switch."""


def halves(content: Content) -> Halves:
    """Find nothing that can be widened: every value of a program has a type of its own."""
    return Halves()


def widen(content: Content) -> None:
    """Refuse: every value of a program has a type of its own."""
    raise ParityError("the types of a Core AI program are not changed here; convert by the route coreai")


def _channels(numbers: Sequence[float]) -> np.ndarray:
    return np.array(numbers, np.float32).reshape(1, -1, 1, 1)


def _image(program: Program) -> Any:
    return program.block.arguments[0]


def _first(program: Program) -> Any:
    """Find the first operation that reads anything."""
    return next(node for node in program.nodes.values() if len(node.operands))


def _value(program: Program, name: str) -> Any:
    return next(value for value, known in program.value_names().items() if known == name)


def _placed(program: Program, operation: str, place: str) -> tuple[Any, int]:
    """Find an operation, and the number of the place at which it reads."""
    node = program.nodes[operation]
    return node, index_of(program.kind(operation), place)


def _exchange(node: Any, was: Any, value: Any) -> None:
    for index, operand in enumerate(node.operands):
        if operand == was:
            node.operands[index] = value


def _behind_image(program: Program, name: str, constant: np.ndarray) -> None:
    """Put an operation between the image and all that reads it."""
    image = _image(program)
    readers: Mapping[str, Any] = {n: o for n, o in program.nodes.items() if image in list(o.operands)}
    changed = operation_before(program, _first(program), name, image, constant)
    for node in readers.values():
        _exchange(node, image, changed)
