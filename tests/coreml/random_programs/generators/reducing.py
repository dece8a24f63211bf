"""Arguments for what looks along axes: reductions, normalisations, sorting."""

from __future__ import annotations

from tests.coreml.random_programs.drawing import Arguments, Drawing, generates


@generates("reduce_max", "reduce_min", "reduce_mean", "reduce_sum", "reduce_l1_norm", "reduce_l2_norm")
@generates("reduce_sum_square", "reduce_log_sum", "reduce_log_sum_exp", "reduce_prod")
def reduction(d: Drawing) -> Arguments:
    low, high = {"reduce_log_sum": (0.5, 4), "reduce_prod": (-1.5, 1.5)}.get(d.kind, (-4, 4))
    x = d.tensor("x", low=low, high=high, strict=d.kind in ("reduce_log_sum", "reduce_prod", "reduce_log_sum_exp"))
    arguments: Arguments = {"x": x, "axes": d.axes(x)} if d.flag() or d.flag() else {"x": x}
    return arguments | ({"keep_dims": True} if d.flag() else {})


@generates("reduce_argmax", "reduce_argmin")
def index_of(d: Drawing) -> Arguments:
    x = d.tensor("x")
    arguments: Arguments = {"x": x, "axis": d.axis(x), "keep_dims": d.flag()}
    return arguments | ({"output_dtype": d.choice(["int32", "uint16"])} if d.since("iOS17") and d.flag() else {})


@generates("softmax")
def softmax(d: Drawing) -> Arguments:
    x = d.tensor("x", low=-8, high=8)
    return {"x": x, "axis": d.axis(x)}


@generates("argsort")
def argsort(d: Drawing) -> Arguments:
    x = d.tensor("x")
    return {"x": x, "axis": d.axis(x), "ascending": d.flag()}


@generates("cumsum")
def cumsum(d: Drawing) -> Arguments:
    x = d.tensor("x")
    return {"x": x, "axis": d.integer(-1, len(d.shape(x)) - 1), "exclusive": d.flag(), "reverse": d.flag()}


@generates("topk")
def topk(d: Drawing) -> Arguments:
    x = d.tensor("x")
    axis = d.axis(x)
    arguments: Arguments = {"x": x, "k": d.integer(1, d.shape(x)[axis]), "axis": axis, "ascending": d.flag()}
    if d.since("iOS16") and d.flag():
        arguments["return_indices"] = d.flag()
    if d.since("iOS17") and arguments.get("return_indices", True) and d.flag():
        arguments["output_indices_dtype"] = d.choice(["int32", "uint16"])
    return arguments


@generates("batch_norm")
def batch_norm(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 5))
    dtype, channels = d.dtype("mean"), d.shape(x)[1:2]
    arguments: Arguments = {"x": x, "mean": d.constant(channels, dtype)}
    arguments |= {"variance": d.constant(channels, dtype, 0.125, 4), "epsilon": d.number("epsilon", 0.0001, 0.25)}
    if d.flag():
        arguments |= {"gamma": d.constant(channels, dtype), "beta": d.constant(channels, dtype)}
    return arguments


@generates("instance_norm")
def instance_norm(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 4))
    dtype, channels = d.dtype("gamma"), d.shape(x)[1:2]
    arguments: Arguments = {"x": x, "epsilon": d.number("epsilon", 0.001, 0.25)}
    if d.flag():
        arguments |= {"gamma": d.constant(channels, dtype), "beta": d.constant(channels, dtype)}
    return arguments


@generates("layer_norm")
def layer_norm(d: Drawing) -> Arguments:
    x = d.tensor("x")
    axes = d.axes(x) if d.flag() else tuple(range(-d.integer(1, len(d.shape(x))), 0))
    dtype = d.dtype("gamma")
    shape = tuple(d.shape(x)[axis] for axis in sorted(a % len(d.shape(x)) for a in axes))
    arguments: Arguments = {"x": x, "axes": axes, "epsilon": d.number("epsilon", 0.001, 0.25)}
    if d.flag():
        arguments |= {"gamma": d.constant(shape, dtype), "beta": d.constant(shape, dtype)}
    return arguments


@generates("l2_norm")
def l2_norm(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 5))
    return {"x": x, "epsilon": d.number("epsilon", 0.001, 0.25)}


@generates("local_response_norm")
def local_response_norm(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 4))
    arguments: Arguments = {"x": x, "size": d.integer(1, 5), "alpha": d.number("alpha", 0.0625, 1)}
    return arguments | {"beta": d.number("beta", 0.25, 1), "k": d.number("k", 0.5, 2)}
