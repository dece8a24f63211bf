"""Functions of one element, or of two. Core AI's definitions: the texts of its operations; ML Program's: MIL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, numbers, one_tensor, tensors


def _unary(
    name: str, core: str, reference: Callable[..., Any], *kinds: str, exact: bool = False, scale: float = 0.0
) -> Operation:
    """One element to one; MIL's name, Core AI's, PyTorch's function, and which numbers.

    scale: what its rounding is measured by where its result is smaller.
    """
    return Operation(
        name,
        tensors(*(kinds or ("normal", "wide", "special"))),
        one_tensor,
        lambda b, a, x: getattr(b, name)(x=x),
        lambda c, a, x: getattr(c, core)(x),
        lambda a, x: reference(x),
        rounding="none" if exact else "each",
        scale=lambda a, inputs: scale,
    )


def _pair_of_shapes(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a shape, and one that broadcasts to it: axes of one element, and fewer axes."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    other = [draw(st.sampled_from([1, size])) for size in shape]
    return {"shape": shape, "other": other[draw(st.integers(0, len(shape) - 1)) :], "swapped": draw(st.booleans())}


@st.composite
def _pairs(draw: st.DrawFn, *kinds: str) -> dict[str, Any]:
    return _pair_of_shapes(draw) | {"numbers": draw(st.sampled_from(kinds or ("normal", "wide", "special")))}


def _two_tensors(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = [a["other"], a["shape"]] if a["swapped"] else [a["shape"], a["other"]]
    if a["numbers"] == "truth":
        return {name: random.random(shape) < 0.5 for name, shape in zip("xy", shapes, strict=True)}
    if a["numbers"] == "integers":
        return {
            name: random.integers(-9, 10, shape).astype(np.int32) for name, shape in zip("xy", shapes, strict=True)
        }
    return {name: numbers(a["numbers"], shape, random) for name, shape in zip("xy", shapes, strict=True)}


def _binary(
    name: str, core: Callable[..., Any], reference: Callable[..., Any], *kinds: str, exact: bool = False
) -> Operation:
    """Two elements to one; MIL's name, what Core AI calls it, PyTorch's function, and which numbers."""
    return Operation(
        name,
        _pairs(*kinds),
        _two_tensors,
        lambda b, a, x, y: getattr(b, name)(x=x, y=y),
        lambda c, a, x, y: core(c, x, y),
        lambda a, x, y: reference(x, y),
        rounding="none" if exact else "each",
    )


def _whole_divisors(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Two tensors of which the second is never zero."""
    made = _two_tensors(a, random)
    return made | {"y": np.where(made["y"] == 0, made["y"].dtype.type(3), made["y"])}


def _powers(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Whole exponents from -3 to 3 of numbers of both signs, and others of numbers above zero."""
    made = _two_tensors(a, random)
    if a["numbers"] == "halves":
        return {"x": made["x"], "y": np.clip(np.floor(made["y"]), -3, 3)}
    return {"x": np.abs(made["x"]) + np.float32(0.1), "y": np.clip(made["y"], -3, 3)}


def _same_sign(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Numbers above zero, halves: the remainders of MIL (floored) and Core AI (truncated) are one there alone."""
    made = _two_tensors(a, random)
    return {"x": np.abs(made["x"]), "y": np.abs(made["y"]) + np.float32(0.5)}


_UNARY = (
    _unary("abs", "abs_", torch.abs, exact=True),
    _unary("acos", "acos", torch.acos, "unit"),
    _unary("asin", "asin", torch.asin, "unit"),
    _unary("atan", "atan", torch.atan),
    _unary("atanh", "atanh", torch.atanh, "unit"),
    _unary("cos", "cos", torch.cos, "normal", "special"),
    _unary("cosh", "cosh", torch.cosh),
    _unary("erf", "erf", torch.erf),
    _unary("exp", "exp", torch.exp),
    _unary("log", "log", torch.log, "positive"),
    _unary("relu", "relu", torch.relu, exact=True),
    _unary("round", "round_", torch.round, "halves", "normal", "special", exact=True),
    _unary("rsqrt", "rsqrt", torch.rsqrt, "positive"),
    _unary("sigmoid", "sigmoid", torch.sigmoid, scale=1.0),
    _unary("silu", "silu", lambda x: x * torch.sigmoid(x), scale=1.0),
    _unary("sin", "sin", torch.sin, "normal", "special"),
    _unary("sinh", "sinh", torch.sinh),
    _unary("sqrt", "sqrt", torch.sqrt, "positive", "special"),
    _unary("tan", "tan", torch.tan, "unit"),
    _unary("tanh", "tanh", torch.tanh),
)

_BINARY = (
    _binary("add", lambda c, x, y: c.broadcasting_add(x, y), torch.add),
    _binary("sub", lambda c, x, y: c.broadcasting_sub(x, y), torch.sub),
    _binary("mul", lambda c, x, y: c.broadcasting_mul(x, y), torch.mul),
    _binary("real_div", lambda c, x, y: c.broadcasting_divide(x, y), torch.div),
    _binary("maximum", lambda c, x, y: c.broadcasting_maximum(x, y), torch.maximum, exact=True),
    _binary("minimum", lambda c, x, y: c.broadcasting_minimum(x, y), torch.minimum, exact=True),
    _binary("equal", lambda c, x, y: c.broadcasting_equal(x, y), torch.eq, "halves", "special", exact=True),
    _binary("not_equal", lambda c, x, y: c.broadcasting_not_equal(x, y), torch.ne, "halves", "special", exact=True),
    _binary("greater", lambda c, x, y: c.broadcasting_greater(x, y), torch.gt, "halves", "special", exact=True),
    _binary("less", lambda c, x, y: c.broadcasting_greater(y, x), torch.lt, "halves", "special", exact=True),
    _binary("logical_and", lambda c, x, y: c.broadcasting_and(x, y), torch.logical_and, "truth", exact=True),
    _binary("logical_or", lambda c, x, y: c.broadcasting_or(x, y), torch.logical_or, "truth", exact=True),
    _binary("logical_xor", lambda c, x, y: c.broadcasting_xor(x, y), torch.logical_xor, "truth", exact=True),
    replace(
        _binary("pow", lambda c, x, y: c.broadcasting_pow(x, y), torch.pow, "normal", "halves"),
        inputs=_powers,
    ),
    replace(
        _binary("mod", lambda c, x, y: c.broadcasting_modulo(x, y), torch.remainder, "halves", "normal"),
        inputs=_same_sign,
        rounding="sum",
    ),
    replace(
        _binary(
            "floor_div",
            lambda c, x, y: c.broadcasting_floor_divide(x, y),
            lambda x, y: torch.div(x, y, rounding_mode="floor"),
            "halves",
            "integers",
            exact=True,
        ),
        inputs=_whole_divisors,
    ),
)

_GELU = {"EXACT": "none", "TANH_APPROXIMATION": "tanh", "SIGMOID_APPROXIMATION": "sigmoid"}


def _gelu(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    if a["mode"] == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate=_GELU[a["mode"]])


_CASTS = {
    "fp16": (np.float16, torch.float16),
    "int32": (np.int32, torch.int32),
    "int16": (np.int16, torch.int16),
    "int8": (np.int8, torch.int8),
    "uint8": (np.uint8, torch.uint8),
    "bool": (np.bool_, torch.bool),
}


def _small(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Numbers within every type's range, halves too; what lies outside is defined by neither."""
    made = numbers(a["numbers"], a["shape"], random)
    return {"x": np.abs(made) if a["dtype"] == "uint8" else made}


def _adds(a: Attributes) -> bool:
    """Tell whether one is added to what was cast; two casts alone might be taken for none."""
    return bool(a["used"]) and a["dtype"] in ("int32", "fp16")


def _mil_cast(b: Any, a: Attributes, x: Any) -> Any:
    result = b.cast(x=x, dtype=a["dtype"])
    return b.add(x=result, y=_CASTS[a["dtype"]][0](1)) if _adds(a) else result


def _core_cast(c: Any, a: Attributes, x: Any) -> Any:
    kind = _CASTS[a["dtype"]][0]
    result = c.cast(x, kind)
    return c.broadcasting_add(result, np.ones([1] * len(a["shape"]), kind)) if _adds(a) else result


def _cast(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    result = x.to(_CASTS[a["dtype"]][1])
    return result + 1 if _adds(a) else result


def _chosen(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {"cond": random.random(a["shape"]) < 0.5} | {n: numbers(a["numbers"], a["shape"], random) for n in "xy"}


_OTHERS = (
    Operation(
        "gelu",
        tensors("normal", "wide", "special", mode=st.sampled_from(list(_GELU))),
        one_tensor,
        lambda b, a, x: b.gelu(x=x, mode=a["mode"]),
        lambda c, a, x: c.gelu(x, approximate=_GELU[a["mode"]]),
        _gelu,
        scale=lambda a, inputs: 1.0,
    ),
    Operation(
        "cast",
        tensors("normal", "halves", dtype=st.sampled_from(list(_CASTS)), used=st.booleans()),
        _small,
        _mil_cast,
        _core_cast,
        _cast,
        rounding="none",
    ),
    Operation(
        "logical_not",
        tensors(),
        lambda a, random: {"x": random.random(a["shape"]) < 0.5},
        lambda b, a, x: b.logical_not(x=x),
        lambda c, a, x: c.not_(x),
        lambda a, x: torch.logical_not(x),
        rounding="none",
    ),
    Operation(
        "select",
        tensors("normal", "special"),
        _chosen,
        lambda b, a, cond, x, y: b.select(cond=cond, a=x, b=y),
        lambda c, a, cond, x, y: c.where(cond, x, y),
        lambda a, cond, x, y: torch.where(cond, x, y),
        rounding="none",
    ),
)

OPERATIONS = (*_UNARY, *_BINARY, *_OTHERS)
