"""Arguments for what looks at each element alone, or at two of them."""

from __future__ import annotations

import numpy as np

from tests.coreml.random_programs.drawing import Arguments, Drawing, generates
from tests.coreml.random_programs.program import TYPES, Ref

# Where an operation is defined, and its result moderate.
_DOMAINS = {
    "acos": (-1, 1),
    "asin": (-1, 1),
    "atanh": (-0.875, 0.875),
    "cosh": (-5, 5),
    "exp": (-5, 5),
    "exp2": (-5, 5),
    "sinh": (-5, 5),
    "sqrt": (0, 9),
    "tan": (-1.375, 1.375),
}


@generates("abs", "atan", "ceil", "cos", "erf", "floor", "identity", "logical_not", "relu", "relu6", "round")
@generates("sigmoid", "sign", "silu", "sin", "softplus", "softsign", "square", "tanh", "shape", "non_zero")
def plain(d: Drawing) -> Arguments:
    return {"x": d.tensor("x", low=-8, high=8)}


@generates(*_DOMAINS)
def bounded(d: Drawing) -> Arguments:
    low, high = _DOMAINS[d.kind]
    return {"x": d.tensor("x", low=low, high=high, strict=True)}


@generates("inverse", "log", "rsqrt")
def with_epsilon(d: Drawing) -> Arguments:
    arguments: Arguments = {"x": d.tensor("x", low=0.25, high=9, strict=True)}
    return arguments | ({"epsilon": d.number("epsilon", 0.001, 0.5)} if d.flag() else {})


def _other(
    d: Drawing, x: Ref, parameter: str, low: float, high: float, *, strict: bool = False
) -> Ref | np.ndarray:
    """Choose what broadcasts with a value: another value, or a constant."""
    shape = d.shape(x)
    if d.flag():
        smaller = tuple(1 if d.flag() else n for n in shape)[d.integer(0, len(shape)) :]
        return d.constant(smaller, TYPES[d.array(x).dtype], low, high)

    def fits(other: tuple[int, ...]) -> bool:
        return all(a == b or 1 in (a, b) for a, b in zip(other[::-1], shape[::-1], strict=False))

    return d.tensor(parameter, low=low, high=high, fits=fits, drawn=lambda: shape, strict=strict)


@generates("add", "sub", "mul", "maximum", "minimum", "equal", "not_equal", "less", "less_equal", "greater")
@generates("greater_equal", "logical_and", "logical_or", "logical_xor")
def binary(d: Drawing) -> Arguments:
    x = d.tensor("x")
    y = _other(d, x, "y", -4, 4)
    return {"x": y, "y": x} if isinstance(y, Ref) and d.flag() else {"x": x, "y": y}


@generates("floor_div", "mod", "real_div")
def division(d: Drawing) -> Arguments:
    x = d.tensor("x")
    y = _other(d, x, "y", 0.25, 4, strict=True) if d.is_real(x) else _other(d, x, "y", 1, 7, strict=True)
    return {"x": x, "y": y}


@generates("pow")
def power(d: Drawing) -> Arguments:
    x = d.tensor("x", low=0.25, high=3, strict=True)
    return {"x": x, "y": _other(d, x, "y", 0 if not d.is_real(x) else -2, 2.5, strict=True)}


@generates("cast")
def cast(d: Drawing) -> Arguments:
    known = ["fp32", "fp16", "int32", "bool"] + (["int8", "uint8", "int16", "uint16"] if d.since("iOS17") else [])
    wanted = d.choice(known)
    low = 0 if wanted.startswith("u") else -100
    return {"x": d.tensor("x", low=low, high=100, strict=wanted not in ("fp32", "fp16", "bool")), "dtype": wanted}


@generates("clip", "threshold")
def limits(d: Drawing) -> Arguments:
    arguments: Arguments = {"x": d.tensor("x"), "alpha": d.number("alpha", -2, 0.5)}
    return arguments | ({"beta": d.number("beta", 0.5, 2)} if d.kind == "clip" else {})


@generates(
    "elu", "leaky_relu", "thresholded_relu", "clamped_relu", "linear_activation", "scaled_tanh", "sigmoid_hard"
)
def activation(d: Drawing) -> Arguments:
    arguments: Arguments = {"x": d.tensor("x"), "alpha": d.number("alpha", 0.0625, 1.5)}
    one = d.kind in ("elu", "leaky_relu", "thresholded_relu")
    return arguments if one else arguments | {"beta": d.number("beta", -1 if "clamped" not in d.kind else 0.5, 2)}


@generates("gelu")
def gelu(d: Drawing) -> Arguments:
    return {"x": d.tensor("x"), "mode": d.choice(["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])}


@generates("prelu", "softplus_parametric")
def per_channel(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 5))
    dtype, channels = TYPES[d.array(x).dtype], d.shape(x)[1:2]
    if d.kind == "softplus_parametric":
        return {"x": x} | {name: d.constant(channels, dtype, 0.125, 1.5) for name in ("alpha", "beta")}
    alpha = d.constant(channels, dtype, 0.125, 1.5)
    # coremltools refuses different ones of other ranks.
    return {"x": x, "alpha": alpha if len(d.shape(x)) == 4 else np.full_like(alpha, alpha[0])}


@generates("select")
def select(d: Drawing) -> Arguments:
    cond = d.tensor("cond")
    shape = d.shape(cond)
    a = d.tensor("a", shape=shape)
    return {"cond": cond, "a": a, "b": d.tensor("b", shape=shape)}


@generates("quantize")
def quantize(d: Drawing) -> Arguments:
    x = d.tensor("input", low=-9, high=9)
    kind = d.choice(["int8", "uint8"])
    axis = d.axis(x)
    vector = d.flag()
    shape = d.shape(x)[axis:][:1] if vector else ()
    arguments: Arguments = {"input": x, "scale": d.constant(shape, TYPES[d.array(x).dtype], 0.0625, 0.5)}
    arguments |= {"output_dtype": kind} | ({"axis": axis} if vector else {})
    if kind == "uint8" or d.flag():
        arguments["zero_point"] = d.constant(shape, kind, 0, 20)[()]
    return arguments


@generates("dequantize")
def dequantize(d: Drawing) -> Arguments:
    x = d.tensor("input")
    axis = d.axis(x)
    vector = d.flag()
    shape = d.shape(x)[axis:][:1] if vector else ()
    arguments: Arguments = {"input": x, "scale": d.constant(shape, d.dtype("scale"), 0.0625, 0.5)[()]}
    arguments |= {"axis": axis} if vector else {}
    if d.flag():
        arguments["zero_point"] = d.constant(shape, TYPES[d.array(x).dtype], 0, 9)[()]
    return arguments
