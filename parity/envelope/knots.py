"""Which activations come from 33 knots, over which domains, and where hard swish is among the operations of a file.

Sigmoid's domain is published, tanh's and gelu's are those at which straight lines are as far off as was measured
(0.0017, 0.0059). For silu and hard swish nobody says one: the narrow domain of silu is off as much as gelu's, and
that of hard swish ends where it becomes straight. The wide ones were chosen by what comes out: of -3..3, -4..4 and
-8..8 the last comes nearest to what apple/coreai-torch#51 reports. Source of the tables: ane-guide, chapters 3, 25
and 26; appendix C lists `swish_hard` among their modes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache

import torch
import torch.nn.functional as F

from parity.coreml.program import Graph, Node
from parity.envelope.arithmetics import Knots
from parity.envelope.tables import Domain, make_knots

HARD_SWISH = "hard swish"
_KNOWN: Mapping[str, Domain] = {
    "sigmoid": Domain(-9.938, 8.320),
    "tanh": Domain(0.0, 4.0, odd=True),
    "gelu": Domain(-4.0, 4.0),
}
DOMAINS: Mapping[Knots, Mapping[str, Domain]] = {
    "": {},
    "narrow": {**_KNOWN, "silu": Domain(-5.0, 5.0), HARD_SWISH: Domain(-3.0, 3.0)},
    "wide": {**_KNOWN, "silu": Domain(-8.0, 8.0), HARD_SWISH: Domain(-8.0, 8.0)},
}


@cache
def hard_swish_table(knots: Knots) -> torch.Tensor:
    """Tabulate x * clip(x / 6 + 1/2, 0, 1)."""
    return make_knots(F.hardswish, DOMAINS[knots][HARD_SWISH])


def hard_swishes(graph: Graph) -> dict[str, int]:
    """Name the products of a number with its hard sigmoid, and say which of the two inputs the number is."""
    makers = {value.name: node for node in graph.nodes for value in node.outputs}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.aliases.get(name, name) for name in graph.outputs)

    def gated(node: Node) -> int | None:
        for place, name in enumerate(node.inputs):
            gate = makers.get(node.inputs[1 - place]) if node.type == "mul" and len(node.inputs) == 2 else None
            if gate and _is_hard_sigmoid(gate) and gate.inputs == (name,) and readers[gate.outputs[0].name] == 1:
                return place
        return None

    return {node.outputs[0].name: place for node in graph.nodes if (place := gated(node)) is not None}


def _is_hard_sigmoid(node: Node) -> bool:
    """Say whether a node limits x / 6 + 1/2 to 0..1, in fp16 or fp32."""
    if node.type != "sigmoid_hard" or node.form is None:
        return False
    given = node.form.fixed
    return abs(given.get("alpha", 0.0) - 1 / 6) < 1e-3 and given.get("beta") == 0.5
