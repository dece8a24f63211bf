"""How a node computes under an arithmetic: one mechanism, which puts other functions into the nodes of a graph.

Node + Arithmetic --change_of--> Change: another run, what becomes of its results, or nothing
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.dtypes import settle
from parity.coreml.program import Form, Graph, Node, NodeRun, Value
from parity.envelope.arithmetics import Arithmetic
from parity.envelope.knots import DOMAINS, hard_swish_table, hard_swishes
from parity.envelope.products import rounded_products
from parity.envelope.sums import LARGEST, SUMMING, add_up, chunked, kernel_of, parts_of
from parity.envelope.tables import Domain, Function, look_up, make_knots, make_table

# Functions of single numbers, which hardware has in tables.
TABULATED = frozenset(
    (
        *("sigmoid", "tanh", "silu", "gelu", "exp", "exp2", "erf", "rsqrt", "sqrt", "log", "inverse"),
        *("softplus", "softsign", "elu", "scaled_tanh"),
    )
)
LARGEST_SUBNORMAL = 2.0**-14 - 2.0**-24

Adjust = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Change:
    """Say how a node computes otherwise.

    run: in the place of the node's own; None: that. adjust: for each output what brings a number that is settled to
    what the arithmetic has for it; None: nothing.
    """

    run: NodeRun | None
    adjust: tuple[Adjust | None, ...]


def changes_of(graph: Graph, arithmetic: Arithmetic) -> dict[str, Change]:
    """Say which nodes compute otherwise under an arithmetic, by the name of their first output."""
    unrounded = fused_sums(graph) if arithmetic.fused else frozenset()
    swishes = hard_swishes(graph) if arithmetic.knots else {}
    named = {node.outputs[0].name: node for node in graph.nodes if node.outputs}
    changes = {
        name: change_of(node, arithmetic, fused=name in unrounded, swish=swishes.get(name))
        for name, node in named.items()
    }
    return {name: change for name, change in changes.items() if change}


def change_of(
    node: Node, arithmetic: Arithmetic, *, fused: bool = False, swish: int | None = None
) -> Change | None:
    """Say how a node computes under an arithmetic; None: as it does.

    fused: its result is not rounded. swish: it is the hard swish of this one of its inputs.
    """
    form, run = node.form, None
    if form is not None and _in_fp16(node.outputs[0], arithmetic):
        form, rounded = _with_halves(form, arithmetic)
        function = _function(node.type, form, arithmetic)
        if function or rounded or fused:
            run = form.make(function or kernel_of(form, form.fixed), _keep if fused else settle)
        if swish is not None:
            run = _hard_swish(hard_swish_table(arithmetic.knots), swish)
    adjust = tuple(_adjust(node, value, arithmetic, fused=fused) for value in node.outputs)
    return Change(run, adjust) if run or any(adjust) else None


def fused_sums(graph: Graph) -> frozenset[str]:
    """Name the sums of products that nothing reads but one addition."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.aliases.get(name, name) for name in graph.outputs)
    added = {name for node in graph.nodes if node.type == "add" for name in node.inputs}
    sums = (node.outputs[0].name for node in graph.nodes if node.type in ("conv", "linear", "matmul"))
    return frozenset(name for name in sums if name in added and readers[name] == 1)


def _in_fp16(value: Value, arithmetic: Arithmetic) -> bool:
    return value.dtype == "fp16" or (arithmetic.halves and value.dtype == "fp32")


def _keep(value: torch.Tensor, dtype: str) -> torch.Tensor:
    return value.to(torch.float32)


def _with_halves(form: Form, arithmetic: Arithmetic) -> tuple[Form, bool]:
    """Round the constants of an operation to fp16, where the file may say fp32; and whether any was rounded."""
    if not arithmetic.halves:
        return form, False
    halved = {name: halve(value) for name, value in form.fixed.items()}
    changed = any(not same(halved[name], value) for name, value in form.fixed.items())
    return replace(form, fixed=halved), changed


def halve(value: Any) -> Any:
    """Round a tensor of fractions to fp16; anything else is itself."""
    return settle(value, "fp16") if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def same(one: Any, other: Any) -> bool:
    """Say whether two values are the same, to the last bit of a tensor."""
    if one is other:
        return True
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _function(type_: str, form: Form, arithmetic: Arithmetic) -> Callable[..., Any] | None:
    special = _SPECIAL.get(type_)
    if special and (arithmetic.table or arithmetic.sums) and form.changing == ("x",):
        return special(form, arithmetic)
    domain = DOMAINS[arithmetic.knots].get(type_)
    if domain and form.changing == ("x",):
        knots = _knots(form.function, tuple(sorted(form.fixed.items())), domain)
        return lambda x: look_up(knots, x)
    if arithmetic.table and type_ in TABULATED and form.changing == ("x",):
        table = _table(form.function, tuple(sorted(form.fixed.items())), arithmetic.table)
        return lambda x: look_up(table, x)
    if arithmetic.products and (function := rounded_products(type_, form)):
        return function
    return chunked(type_, form, arithmetic)


@cache
def _table(function: Callable[..., torch.Tensor], fixed: tuple[tuple[str, Any], ...], units: int) -> torch.Tensor:
    return make_table(lambda x: function(x, **dict(fixed)), units)


@cache
def _knots(
    function: Callable[..., torch.Tensor], fixed: tuple[tuple[str, Any], ...], domain: Domain
) -> torch.Tensor:
    return make_knots(lambda x: function(x, **dict(fixed)), domain)


def _hard_swish(table: torch.Tensor, place: int) -> NodeRun:
    return lambda *inputs: (look_up(table, inputs[place]),)


def _exp(arithmetic: Arithmetic) -> Function:
    table = _table(torch.exp, (), arithmetic.table) if arithmetic.table else None
    return lambda x: halve(torch.exp(x)) if table is None else look_up(table, x)


def _softmax(form: Form, arithmetic: Arithmetic) -> Callable[..., Any]:
    """Make the softmax of steps that are each rounded: the distance to the maximum, exp, their sum."""
    axis, exp = form.fixed.get("axis", -1), _exp(arithmetic)

    def run(x: torch.Tensor) -> torch.Tensor:
        if not arithmetic.table and arithmetic.sums and x.shape[axis] <= arithmetic.sums.chunk:
            return form.function(x=x, **form.fixed)  # type: ignore[no-any-return]
        powers = exp(halve(x - x.amax(axis, keepdim=True)))
        if sums := arithmetic.sums:
            rows = powers.movedim(axis, -1)
            parts = parts_of(rows.shape[-1], sums)
            total = add_up(lambda: (rows[..., part].sum(-1) for part in parts), sums).unsqueeze(axis)
        else:
            total = powers.sum(axis, keepdim=True)
        return powers / total

    return run


def _layer_norm(form: Form, arithmetic: Arithmetic) -> Callable[..., Any] | None:
    """Make the norm that multiplies by a reciprocal root from a table."""
    if not arithmetic.table:
        return None
    root = _table(torch.rsqrt, (), arithmetic.table)
    given = form.fixed

    def run(x: torch.Tensor) -> torch.Tensor:
        axes = sorted(axis % x.ndim for axis in (given.get("axes") or range(x.ndim)))
        shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        result = (x - mean) * look_up(root, variance + given.get("epsilon", 1e-5))
        if given.get("gamma") is not None:
            result = result * given["gamma"].reshape(shape)
        return result if given.get("beta") is None else result + given["beta"].reshape(shape)

    return run


# Operations of several steps.
_SPECIAL: Mapping[str, Callable[[Form, Arithmetic], Callable[..., Any] | None]] = {
    "softmax": _softmax,
    "layer_norm": _layer_norm,
}


def _adjust(node: Node, value: Value, arithmetic: Arithmetic, *, fused: bool) -> Adjust | None:
    if fused or not _in_fp16(value, arithmetic):
        return None
    flush = arithmetic.flush == "all" or (arithmetic.flush == "sums" and node.type in SUMMING)
    halved = value.dtype == "fp32"
    if not (flush or halved or arithmetic.saturate):
        return None
    return _Adjusting(halved, flush, arithmetic.saturate)


@dataclass(frozen=True)
class _Adjusting:
    """Round, flush and saturate a result, each where it is so."""

    halved: bool
    flush: bool
    saturate: bool

    def __call__(self, result: torch.Tensor) -> torch.Tensor:
        """Return the same tensor where nothing changes."""
        if not isinstance(result, torch.Tensor) or not result.is_floating_point():
            return result
        if self.halved:
            result = halve(result)
        if self.flush:
            result = flushed(result)
        return saturated(result) if self.saturate else result


def flushed(x: torch.Tensor) -> torch.Tensor:
    """Set what is no normal fp16 number to zero; infinities and what is no number stay."""
    return F.hardshrink(x, LARGEST_SUBNORMAL)


def saturated(x: torch.Tensor) -> torch.Tensor:
    """Set infinity to the largest fp16 number, of either sign."""
    return x.clamp(-LARGEST, LARGEST)
