"""Arguments for what networks are made of: products, convolutions, pooling, resizing, recurrence, attention."""

from __future__ import annotations

import numpy as np

from tests.coreml.random_programs.drawing import Arguments, Drawing, MisfitError, generates
from tests.coreml.random_programs.program import NUMPY, TYPES, Ref


def _type(d: Drawing, x: Ref) -> str:
    return TYPES[d.array(x).dtype]


@generates("linear")
def linear(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(1, 3))
    dtype, width, out = _type(d, x), d.shape(x)[-1], d.integer(1, 5)
    arguments: Arguments = {"x": x, "weight": d.constant((out, width), dtype, -1, 1)}
    return arguments | ({"bias": d.constant((out,), dtype)} if d.flag() else {})


@generates("matmul")
def matmul(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(2, 4))
    turn_x, turn_y = d.flag(), d.flag()
    batch, inner = d.shape(x)[:-2], d.shape(x)[-2 if turn_x else -1]
    columns = d.integer(1, 4)
    shape = (*batch[d.integer(0, len(batch)) :], *((columns, inner) if turn_y else (inner, columns)))
    y = d.constant(shape, _type(d, x)) if d.flag() else d.tensor("y", shape=shape, dtype=_type(d, x))
    return {"x": x, "y": y, "transpose_x": turn_x, "transpose_y": turn_y}


@generates("einsum")
def einsum(d: Drawing) -> Arguments:
    equation = d.choice(["nchw,nwhu->nchu", "chw,whr->chr"])
    left, right = (equation.split("->")[0]).split(",")
    first = d.tensor("values", (len(left), len(left)), dtype=d.choice([d.real, "fp32"]))
    sizes = dict(zip(left, d.shape(first), strict=True))
    shape = tuple(sizes.get(letter) or d.integer(1, 4) for letter in right)
    return {"values": [first, d.tensor("values", shape=shape, dtype=_type(d, first))], "equation": equation}


def _window(d: Drawing, sizes: tuple[int, ...], dilations: tuple[int, ...], kernel: tuple[int, ...]) -> Arguments:
    """Draw strides and padding, so that a window fits into the data."""
    kind = d.choice(["valid", "custom", "same"] + (["same_lower"] if d.since("iOS16") else []))
    pad = tuple(d.integer(0, max(0, k // 2)) for k in kernel for _ in range(2)) if kind == "custom" else None
    if kind in ("valid", "custom"):
        for axis, (n, k, dilation) in enumerate(zip(sizes, kernel, dilations, strict=True)):
            if n + (sum(pad[2 * axis : 2 * axis + 2]) if pad else 0) < (k - 1) * dilation + 1:
                raise MisfitError
    arguments: Arguments = {"strides": tuple(d.integer(1, 3) for _ in sizes), "pad_type": kind}
    return arguments | ({"pad": pad} if pad else {})


@generates("conv")
def conv(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 5))
    dtype, channels, sizes = _type(d, x), d.shape(x)[1], d.shape(x)[2:]
    groups = d.choice([1, *([channels] if channels > 1 else []), *([2] if channels % 2 == 0 else [])])
    kernel = tuple(d.integer(1, 3) for _ in sizes)
    dilations = tuple(d.integer(1, 2) for _ in sizes) if d.flag() else (1,) * len(sizes)
    out = groups * d.integer(1, 2)
    arguments: Arguments = {"x": x, "weight": d.constant((out, channels // groups, *kernel), dtype, -1, 1)}
    arguments |= _window(d, sizes, dilations, kernel) | {"dilations": dilations, "groups": groups}
    return arguments | ({"bias": d.constant((out,), dtype)} if d.flag() else {})


@generates("conv_transpose")
def conv_transpose(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 5))
    dtype, channels, sizes = _type(d, x), d.shape(x)[1], d.shape(x)[2:]
    groups = d.choice([1, *([channels] if channels > 1 else [])])
    kernel = tuple(d.integer(1, 3) for _ in sizes)
    out = d.integer(1, 2)
    strides = tuple(d.integer(1, 3) for _ in sizes)
    dilations = tuple(d.integer(1, 2) for _ in sizes) if len(sizes) < 3 else (1,) * len(sizes)
    kind = d.choice(["valid", "custom", "same"])
    full = [(n - 1) * s + (k - 1) * g + 1 for n, s, k, g in zip(sizes, strides, kernel, dilations, strict=True)]
    arguments: Arguments = {"x": x, "weight": d.constant((channels, out, *kernel), dtype, -1, 1)}
    arguments |= {"strides": strides, "dilations": dilations, "groups": groups, "pad_type": kind}
    if kind == "custom":
        arguments["pad"] = tuple(d.integer(0, min(1, (n - 1) // 2)) for n in full for _ in range(2))
    return arguments | ({"bias": d.constant((groups * out,), dtype)} if d.flag() else {})


@generates("avg_pool", "max_pool", "l2_pool")
def pooling(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 4 if d.kind == "l2_pool" else 5))
    sizes = d.shape(x)[2:]
    kernel = tuple(d.integer(1, min(3, n)) for n in sizes)
    arguments: Arguments = {"x": x, "kernel_sizes": kernel} | _window(d, sizes, (1,) * len(sizes), kernel)
    if arguments["pad_type"] in ("valid", "custom") and len(sizes) < 3 and d.flag():
        pad = arguments.get("pad", (0,) * 2 * len(sizes))
        arguments["ceil_mode"] = pad[::2] == pad[1::2]
    return arguments | ({"exclude_padding_from_average": d.flag()} if d.kind == "avg_pool" else {})


@generates("resize_bilinear", "resize_nearest_neighbor", "resize")
def resizing(d: Drawing) -> Arguments:
    # Of whole numbers nobody says how what lies between two is rounded.
    x = d.tensor("x", rank=(3, 5) if d.kind != "resize" else (1, 5), dtype=d.real)
    height, width = d.integer(1, 7), d.integer(1, 7)
    grid = ["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS"]
    if d.kind == "resize_nearest_neighbor":
        return {"x": x, "target_size_height": height, "target_size_width": width}
    if d.kind == "resize_bilinear":
        known = grid if d.since("iOS16") else grid[:4]
        sizes = {"target_size_height": height, "target_size_width": width}
        return {"x": x, **sizes, "sampling_mode": d.choice(known)}
    count = min(len(d.shape(x)), d.integer(1, 2))
    shape = np.array([height, width][:count], np.int32)
    linear = {"interpolation_mode": "LINEAR", "sampling_mode": d.choice(grid)}
    return {"x": x, "shape": shape, "resized_dims": np.uint32(count), **linear}


@generates("upsample_bilinear", "upsample_nearest_neighbor")
def upsampling(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 5))
    arguments: Arguments = {"x": x}
    for name in ("scale_factor_height", "scale_factor_width"):
        # As a float: of an integer, DEFAULT in coremltools' text is another operation.
        arguments[name] = np.float32(d.choice([2, 1, 3, 1.5, 2.5]))
    if d.kind == "upsample_bilinear":
        arguments["align_corners"] = d.flag()
        if d.since("iOS16") and not arguments["align_corners"] and d.flag():
            arguments["half_pixel_centers"] = d.flag()
    return arguments


@generates("crop")
def crop(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 5))
    height, width = d.shape(x)[-2:]
    top, left = d.integer(0, height - 1), d.integer(0, width - 1)
    rows, columns = (top, d.integer(0, height - 1 - top)), (left, d.integer(0, width - 1 - left))
    return {"x": x, "crop_height": rows, "crop_width": columns}


@generates("scaled_dot_product_attention")
def attention(d: Drawing) -> Arguments:
    query = d.tensor("query", rank=(3, 4))
    *batch, _, width = d.shape(query)
    count = d.integer(1, 4)
    key = d.tensor("key", shape=(*batch, count, width))
    value = d.tensor("value", shape=(*batch, count, d.integer(1, 3)))
    arguments: Arguments = {"query": query, "key": key, "value": value}
    if d.flag():
        arguments["attn_mask"] = d.constant((*batch, d.shape(query)[-2], count), _type(d, query))
    return arguments


@generates("rnn", "gru", "lstm")
def recurrent(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(3, 3))
    dtype, (_, batch, width), hidden = _type(d, x), d.shape(x), d.integer(1, 4)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[d.kind] * hidden
    both = d.kind == "lstm" and d.flag()
    states = ("initial_h", "initial_c") if d.kind == "lstm" else ("initial_h",)
    arguments: Arguments = {"x": x}
    arguments |= {name: d.tensor(name, shape=(batch, hidden * (1 + both))) for name in states}
    for end in ("", "_back") if both else ("",):
        arguments["weight_ih" + end] = d.constant((gates, width), dtype, -1, 1)
        arguments["weight_hh" + end] = d.constant((gates, hidden), dtype, -1, 1)
        arguments["bias" + end] = d.constant((gates,), dtype, -1, 1)
    arguments["direction"] = "bidirectional" if both else d.choice(["forward", "reverse"])
    arguments["output_sequence"] = d.flag()
    if d.kind == "gru" and d.since("iOS18"):
        arguments |= {"reset_after": d.flag(), "input_bias": d.constant((gates,), dtype, -1, 1)}
    return arguments | ({"activation": d.choice(["tanh", "relu", "sigmoid"])} if d.kind != "lstm" else {})


@generates("resample")
def resample(d: Drawing) -> Arguments:
    x = d.tensor("x", (4, 4))
    size = (d.shape(x)[0], d.integer(1, 4), d.integer(1, 4), 2)
    # PyTorch reflects at the corners that it aligns: their middles or their edges, never the others.
    aligned = d.flag()
    padding = d.choice(["constant", "border", "reflection" if aligned else "symmetric"])
    return {
        "x": x,
        "coordinates": d.tensor("coordinates", low=-1.5, high=1.5, shape=size, dtype="fp32"),
        "sampling_mode": "bilinear",
        "padding_mode": padding,
        "padding_value": NUMPY[_type(d, x)](0),
        "coordinates_mode": "normalized_minus_one_to_one",
        "align_corners": aligned,
    }
