"""One operation of a Core AI program, as MLIR gives it: its type, its words, the numbers of a constant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from conversion.coreai import numpy_name
from parity.core.errors import ParityError

CONSTANT, OUTPUT = "constant", "output"
# What is done to constants alone, and what it is in NumPy. All else of constants the converter works out itself.
WORKED_OUT: Mapping[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "transpose": lambda read: read[0].transpose([int(axis) for axis in read[1]]),
    "reshape": lambda read: read[0].reshape([int(size) for size in read[1]]),
    "expand_dims": lambda read: np.expand_dims(read[0], tuple(int(axis) for axis in np.atleast_1d(read[1]))),
}
# coreai.decomposable.broadcasting_add is what PyTorch and people call add.
_PREFIX = re.compile(r"^coreai\.(decomposable\.)?(broadcasting_)?")
# The text of a program ends with its large constants: four bytes of alignment, then their numbers.
_RESOURCE = re.compile(r'(resource_\w+|dense_resource\w*): "0x([0-9A-F]{8})([0-9A-F]*)"')
_USES = re.compile(r"dense_resource<(\w+)>")


def kind_of(node: Any) -> str:
    """Name an operation's type, without what Core AI's names begin with."""
    return _PREFIX.sub("", node.name)


def settings_of(node: Any) -> Iterator[tuple[str, str]]:
    """List an operation's own attributes as text: `padding_mode` -> `constant`."""
    for named in node.attributes:
        text = str(named.attr)
        inner = re.fullmatch(r"#coreai\.\w+<(.*)>", text)
        yield named.name, inner[1] if inner else text


def kind_of_name(name: str) -> str:
    """Take the type out of a name that `open_program` gave."""
    return name.rpartition("_at_")[0] if "_at_" in name else name.rpartition("_")[0]


def resource_of(node: Any) -> str:
    """Name the resource in which a large constant stands; empty where its numbers stand with it."""
    text = str(node.attributes["value"]) if type(node.attributes["value"]).__name__ == "Attribute" else ""
    match = _USES.search(text)
    return match[1] if match else ""


def resources_of(text: str) -> dict[str, bytes]:
    """Read the large constants out of the text of a program."""
    return {match[1]: bytes.fromhex(match[3]) for match in _RESOURCE.finditer(text)}


def numbers_of(node: Any, large: Mapping[str, bytes]) -> np.ndarray:
    """Return the numbers of a constant. large: what `resources_of` read."""
    kind = node.results[0].type
    shape = [kind.get_dim_size(axis) for axis in range(kind.rank)]
    name = resource_of(node)
    if not name:
        return np.array(node.attributes["value"]).reshape(shape)
    dtype = numpy_name(str(kind.element_type))
    try:
        return np.frombuffer(large[name], np.dtype(dtype)).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:  # a type that NumPy has not, as int4
        raise ParityError(f"a constant of type {dtype} cannot be read here ({error})") from error
