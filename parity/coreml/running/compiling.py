"""When a plan is compiled: after so many predictions with inputs of the same shapes; no clock decides."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.coreml.running.fusing import fuse
from parity.coreml.running.plan import Plan

# Compiling takes as long as some fifty predictions save: who has made so many will make more.
AFTER = 16
# Each compiled plan holds weights of its own.
_MOST = 4


@dataclass
class Compiled:
    """Hold the plans that were compiled, each for the shapes of its inputs.

    after: how many predictions with inputs of the same shapes go the plain way first; None: all of them.
    """

    after: int | None
    _counts: dict[Hashable, int] = field(default_factory=dict)
    _plans: dict[Hashable, Plan] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, plain: Plan, feeds: Mapping[str, Any]) -> Plan:
        """Return the plan that a prediction takes."""
        if self.after is None:
            return plain
        shapes = tuple(getattr(value, "shape", None) for value in feeds.values())
        if shapes in self._plans:
            return self._plans[shapes]
        with self._lock:
            count = self._counts[shapes] = self._counts.get(shapes, 0) + 1
            if count <= self.after or len(self._plans) >= _MOST:
                return plain
            if shapes not in self._plans:
                inputs = [feeds[value.name] for value in plain.graph.inputs]
                self._plans[shapes] = fuse(plain, inputs) or plain
            return self._plans[shapes]
