"""Where an envelope's width comes from: operations computed as before, by groups, and what that changes.

Measured on the worst images alone. What is said to help was undone here and looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from parity.core.comparison import Comparison
from parity.core.envelope import Advice, Contribution, Envelope
from parity.envelope.judgement import Answers, again, distance, flips, worst_of
from parity.envelope.kernels import TABULATED
from parity.envelope.knots import HARD_SWISH, hard_swishes
from parity.envelope.running import Variant

# Images that are looked at again, groups that operations are split into, operations that are named.
WORST, GROUPS, NAMED = 2, 4, 3
# What takes less than a tenth of the distance away is no advice.
LEAST = 0.9

# What to do about a part of an arithmetic.
_HELP: Mapping[str, str] = {
    "sums": "a unit that adds in fp32: CPU_ONLY, or a GPU without allowLowPrecisionAccumulationOnGPU",
    "products": "a unit that multiplies in fp32: CPU_ONLY",
    "flush": "calibrated weights: scale what is below 6.1e-05, so that nothing becomes zero",
    "saturate": "calibrated weights: scale what is above 65504, so that nothing is too large",
    "fused": "round before a residual addition as the unit does: nothing in the file says so",
    "halves": "fp32 where the file says fp32: CPU_ONLY",
}


def with_causes(envelope: Envelope, answers: Answers) -> Envelope:
    """Add the operations that contribute most, and what to do; of a safe envelope there is nothing to say."""
    if envelope.verdict not in ("sensitive", "unsafe"):
        return envelope
    index, chosen = worst_of(answers, WORST)
    variant = answers.variants[index]
    named = _contributions(answers, variant, chosen)
    advice = tuple(_advice(answers, variant, chosen, [one.operation for one in named]))
    return replace(envelope, worst=variant.arithmetic.name, contributions=tuple(named), advice=advice)


def _contributions(answers: Answers, variant: Variant, chosen: Sequence[int]) -> list[Contribution]:
    """Name the operation whose undoing brings the answers nearest, then the next with that one undone."""
    nodes = [node for node in answers.opened.plan.graph.nodes if node.outputs]
    kinds = {node.outputs[0].name: (place, node.type) for place, node in enumerate(nodes)}
    (whole,) = again(answers, [variant], chosen).judged
    contributions: list[Contribution] = []
    while len(contributions) < NAMED and variant.changes:
        name, left = _foremost(answers, variant, chosen)
        place, kind = kinds[name]
        if _amount(left) >= _amount(whole):
            break
        contributions.append(Contribution(name, kind, place, len(nodes), distance(whole), distance(left)))
        variant, whole = variant.without([name]), left
    return contributions


def _foremost(answers: Answers, variant: Variant, chosen: Sequence[int]) -> tuple[str, Comparison]:
    """Narrow the operations down by groups, each undone on its own; the group that helps most is split again."""
    order = [node.outputs[0].name for node in answers.opened.plan.graph.nodes if node.outputs]
    names = [name for name in order if name in variant.changes]
    while True:
        groups = [list(group) for group in np.array_split(names, min(GROUPS, len(names)))]
        judged = again(answers, [variant.without(group) for group in groups], chosen).judged
        best = min(range(len(groups)), key=lambda g: _amount(judged[g]))
        names = [str(name) for name in groups[best]]
        if len(names) == 1:
            return names[0], judged[best]


def _amount(judged: Comparison) -> tuple[int, float]:
    size = distance(judged)
    return flips(judged), np.inf if size is None else size


def _advice(answers: Answers, variant: Variant, chosen: Sequence[int], named: Sequence[str]) -> Iterator[Advice]:
    """Try what could be done, each alone, and give what helps, the most first."""
    graph = answers.opened.plan.graph
    types = {node.outputs[0].name: node.type for node in graph.nodes if node.type in TABULATED}
    types |= dict.fromkeys(hard_swishes(graph), HARD_SWISH)
    tabulated = {name: type_ for name, type_ in types.items() if name in variant.changes}
    tries: list[tuple[str, Variant]] = [
        (f"keep in fp32: {', '.join(named[:count])}", variant.without(named[:count]))
        for count in range(1, len(named) + 1)
    ]
    if (variant.arithmetic.table or variant.arithmetic.knots) and tabulated:
        listed = ", ".join(sorted(set(tabulated.values())))
        tries.append((f"another activation than {listed}: relu comes from no table", variant.without(tabulated)))
    tries += [
        (_HELP[part], answers.opened.variant(variant.arithmetic.without(part)))
        for part in variant.arithmetic.parts
        if part in _HELP and len(variant.arithmetic.parts) > 1
    ]
    whole, *judged = again(answers, [variant, *(tried for _, tried in tries)], chosen).judged
    found = [
        Advice(what, distance(whole), distance(one), flips(whole), flips(one))
        for (what, _), one in zip(tries, judged, strict=True)
        if _helps(whole, one)
    ]
    yield from sorted(found, key=lambda one: (one.flips_after, np.inf if one.after is None else one.after))


def _helps(before: Comparison, after: Comparison) -> bool:
    if flips(after) != flips(before):
        return flips(after) < flips(before)
    was, now = distance(before), distance(after)
    return now is not None and (was is None or now < LEAST * was)
