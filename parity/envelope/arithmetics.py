"""ARITHMETICS: the ways to compute that hardware is documented, measured or assumed to use, each with its source.

What each does is in kernels.py. What a file declares as fp16 is computed otherwise, with `halves` also fp32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from parity.core.envelope import Basis
from parity.core.errors import ParityError

Order = Literal["forward", "reversed", "tree", "lanes"]
Flush = Literal["", "sums", "all"]
Knots = Literal["", "narrow", "wide"]

ASSUMPTION = "assumption"
ENGINE = "https://github.com/sbryngelson/ane-guide/blob/main/part-1-machine/03-numerics.md (measured on M1, M5)"
TYPED = "https://apple.github.io/coremltools/docs-guides/source/typed-execution.html"
LOW = "https://developer.apple.com/documentation/coreml/mlmodelconfiguration/allowlowprecisionaccumulationongpu"
METAL = "Metal Shading Language Specification, numerical compliance"


@dataclass(frozen=True)
class Sums:
    """Say how a sum over channels is added up: in chunks, each exact and rounded to fp16, one behind the other.

    chunk: how many channels. order: forward, reversed, in a tree of pairs, or in lanes, where each chunk holds
    every n-th channel. wide: the chunks are added in fp32, not in fp16.
    """

    chunk: int
    order: Order = "forward"
    wide: bool = False


@dataclass(frozen=True)
class Arithmetic:
    """Say how numbers are computed; what is not said is as the evaluator has it, rounded once per operation.

    source: where that is documented or measured, with what it says of; `assumption`: nobody is known to say it.
    sums: of convolutions, matrix products and reductions. products: each is rounded to fp16 before it is added.
    flush: subnormal numbers become zero, as results of sums or of all operations. saturate: what is too large
    becomes the largest number. table: activations come from tables that are so many units in the last place off,
    at most; 0: none does. knots: those that bend between two straight lines come from tables of 33 knots, over the
    narrow or the wide domains of knots.py. fused: a sum goes into a residual addition unrounded. halves: what is
    declared fp32 is computed in fp16.
    """

    name: str
    title: str
    source: str
    sums: Sums | None = None
    products: bool = False
    flush: Flush = ""
    saturate: bool = False
    table: int = 0
    knots: Knots = ""
    fused: bool = False
    halves: bool = False

    @property
    def basis(self) -> Basis:
        """Say whether all of it is documented or measured, a part, or nothing."""
        if self.source.startswith(ASSUMPTION):
            return "assumed"
        return "in part" if ASSUMPTION in self.source else "known"

    @property
    def parts(self) -> tuple[str, ...]:
        """Name what it does otherwise than the evaluator: the fields that are set."""
        return tuple(name for name in PARTS if getattr(self, name) != getattr(ROUND_ONCE, name))

    def without(self, part: str) -> Arithmetic:
        """Return the same with one of its parts as the evaluator has it."""
        return replace(self, **{part: getattr(ROUND_ONCE, part)})


# The fields of an Arithmetic that say what is computed otherwise.
PARTS = ("sums", "products", "flush", "saturate", "table", "knots", "fused", "halves")

ROUND_ONCE = Arithmetic(
    "round-once",
    "every operation exact, and rounded once to the type that the file declares: the evaluator",
    f"{TYPED}: fp16 values; that they are rounded once is an {ASSUMPTION}",
)

_SINGLE = (
    *(
        Arithmetic(
            f"sums-{n}", f"sums in fp16, {n} channels at a time", f"{LOW}; the chunk is an {ASSUMPTION}", Sums(n)
        )
        for n in (8, 16, 32)
    ),
    Arithmetic(
        "sums-32-reversed",
        "the same by 32, the last channels first",
        f"{ASSUMPTION}: no order is documented",
        Sums(32, "reversed"),
    ),
    Arithmetic(
        "sums-32-tree", "the same by 32, added in pairs", f"{ASSUMPTION}: no order is documented", Sums(32, "tree")
    ),
    Arithmetic(
        "sums-32-lanes",
        "the same by 32, each of every n-th channel",
        f"{ASSUMPTION}: no order is documented",
        Sums(32, "lanes"),
    ),
    Arithmetic("tiles-4", "sums of four channels in fp16, these added in fp32", ENGINE, Sums(4, wide=True)),
    Arithmetic(
        "products",
        "products rounded to fp16, added in fp32",
        f"{ASSUMPTION}: products of fp16 numbers are exact in fp32, and no unit is known to round them",
        products=True,
    ),
    Arithmetic("flush-sums", "subnormal sums become zero", ENGINE, flush="sums"),
    Arithmetic(
        "flush", "all subnormal numbers become zero", f"{METAL}: half precision may be flushed", flush="all"
    ),
    Arithmetic(
        "saturate",
        "what is too large becomes 65504",
        f"{ASSUMPTION}: the Neural Engine was measured to give infinity",
        saturate=True,
    ),
    Arithmetic(
        "table-1", "activations from tables, within 1 unit in the last place", f"{METAL}; {ENGINE}", table=1
    ),
    *(
        Arithmetic(
            f"table-{n}",
            f"activations from tables, within {n} units in the last place",
            f"{ENGINE}: about half a unit, and in another place of it 0.0034 off for sigmoid",
            table=n,
        )
        for n in (2, 4)
    ),
    Arithmetic(
        "knots-33",
        "sigmoid, tanh, gelu, silu and hard swish from 33 knots, over the narrowest domains that they need",
        f"{ENGINE}, for sigmoid, tanh and gelu with a domain or errors; the other domains, and that hard swish is "
        f"one table, are an {ASSUMPTION}",
        knots="narrow",
    ),
    Arithmetic(
        "knots-33-wide",
        "the same, silu and hard swish over -8 to 8",
        f"{ENGINE}; the domains of silu and hard swish, and that this is one table, are an {ASSUMPTION}",
        knots="wide",
    ),
    Arithmetic(
        "fused",
        "a sum goes into a residual addition unrounded",
        f"{ASSUMPTION}: compilers fuse additions, and none says what it rounds",
        fused=True,
    ),
    Arithmetic(
        "halves",
        "in fp16 where the file says fp32",
        f"{TYPED}: a neural network's values; of an ML Program it is an {ASSUMPTION}",
        halves=True,
    ),
)

# What a unit may do all at once.
_TOGETHER = (
    Arithmetic(
        "neural-engine",
        "wide sums whose subnormals become zero, activations within 2 units or of 33 knots, fused residuals",
        f"{ENGINE}; that residuals are fused, and some domains of tables, are an {ASSUMPTION}",
        flush="sums",
        table=2,
        knots="narrow",
        fused=True,
    ),
    Arithmetic(
        "gpu-low-precision",
        "sums in fp16 by 32, activations within 1 unit, subnormals become zero",
        f"{LOW}; {METAL}; the chunk is an {ASSUMPTION}",
        Sums(32),
        flush="all",
        table=1,
    ),
    Arithmetic(
        "coarse",
        "sums in fp16 by 32, activations within 4 units or of 33 wide knots, no subnormals, no infinity",
        f"{ASSUMPTION}: the coarsest of each at once",
        Sums(32),
        flush="all",
        saturate=True,
        table=4,
        knots="wide",
    ),
)

ARITHMETICS: Mapping[str, Arithmetic] = {one.name: one for one in (*_TOGETHER, *_SINGLE)}
# Few, for one that adds in chunks takes as long as three evaluations.
DEFAULT: tuple[str, ...] = ("neural-engine", "coarse")


def chosen(names: Iterable[str]) -> tuple[Arithmetic, ...]:
    """Return arithmetics by their names; an unknown one is a ParityError."""
    listed: Sequence[str] = tuple(dict.fromkeys(names))
    for name in listed:
        if name not in ARITHMETICS:
            raise ParityError(f"no arithmetic `{name}`; there are {', '.join(ARITHMETICS)}")
    return tuple(ARITHMETICS[name] for name in listed)
