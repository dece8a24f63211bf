"""The walk over live objects: each is numbered as it is met, and described once, by the numbers of its parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conversion.fingerprint.installed import home_of, release_of

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_COPIES = (tuple, frozenset)


@dataclass
class Walk:
    """Hold what was met.

    parts: ids of the modules whose weights are known elsewhere. queue: what is not described yet. known: whether
    all can be followed. sources: files of the user's. spaces: namespaces of the user's by id.
    """

    parts: frozenset[int]
    queue: deque[Any] = field(default_factory=deque)
    known: bool = True
    sources: set[str] = field(default_factory=set)
    spaces: dict[int, dict[str, Any]] = field(default_factory=dict)
    _numbers: dict[int, int] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)  # an object that is gone leaves its id to another

    def refer(self, value: Any) -> str:
        """Write a simple value itself, anything else as a number."""
        if type(value) in _ATOMS:
            return f"{type(value).__name__} {value!r}"
        # Whether two equal constants are one object is the compiler's affair.
        if not issubclass(type(value), _COPIES) and id(value) in self._numbers:
            return f"#{self._numbers[id(value)]}"
        number = len(self._kept)
        self._kept.append(value)
        if not issubclass(type(value), _COPIES):
            self._numbers[id(value)] = number
        self.queue.append(value)
        return f"#{number}"

    def refer_all(self, values: Iterable[Any]) -> str:
        """Write several values in their order."""
        return f"[{', '.join(map(self.refer, values))}]"

    def refer_named(self, values: Mapping[str, Any]) -> str:
        """Write values by name, in the order of the names."""
        return f"{{{', '.join(f'{name}: {self.refer(values[name])}' for name in sorted(values))}}}"

    def enter(self, file: str | None, space: dict[str, Any] | None) -> None:
        """Count a file of the user's, and what is written there; None where there is no such thing."""
        if file is not None:
            self.sources.add(file)
        if space is not None:
            self.spaces.setdefault(id(space), space)

    def files(self) -> set[str]:
        """List the user's files that were reached, and those that are imported there, one from the other."""
        left, seen = list(self.spaces.values()), set(self.spaces)
        while left:
            for value in list(left.pop().values()):
                space, file = home_of(value)
                if space is not None and id(space) not in seen and file and release_of(file) is None:
                    seen.add(id(space))
                    self.sources.add(file)
                    left.append(space)
        return {file for file in self.sources if not file.startswith("<")}
