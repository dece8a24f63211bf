"""What an operation of a file has to say in order to be the one that PyTorch ran: PyTorch's arguments, translated.

Names and meanings of the settings: ONNX's operators, MIL's, and the fields of NeuralNetwork.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.graph import Operation
    from parity.diagnosis.source import Step

Settings = dict[str, Any]


def expected_settings(
    format_name: str, operation: Operation, step: Step, examination: Examination
) -> Mapping[str, Any]:
    """Return the settings that an operation must have; None stands for one that must be absent."""
    kind = operation.type.lower().replace("_", "")
    convolves = step.type in ("convolution", "conv2d") and kind in ("conv", "convolution")
    if convolves:
        return _convolution(format_name, operation, step, examination)
    if "pool" in step.type and "pool" in kind and "global" not in kind:
        return _pooling(format_name, operation, step)
    if "norm" in step.whole and ("norm" in kind):
        return _norm(format_name, operation, step, examination)
    translate = _SIMPLE.get((step.whole, kind)) or _SIMPLE.get((step.type, kind))
    return translate(format_name, operation, step, examination) if translate else {}


def _argument(step: Step, place: int, name: str, default: Any) -> Any:
    if len(step.args) > place:
        return step.args[place]
    return step.kwargs.get(name, default)


def _two(value: Any) -> list[int]:
    listed = [int(v) for v in value] if isinstance(value, Sequence) else [int(value)]
    return listed * 2 if len(listed) == 1 else listed


def _convolution(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    stride, padding, dilation = (_two(step.args[i]) for i in (3, 4, 5))
    if len(stride) != 2 or _argument(step, 6, "transposed", False):
        return {}
    groups = int(step.args[8])
    top, bottom, left, right = padding[0], padding[0], padding[1], padding[1]
    before = pad_before(step, examination)
    if before:
        left, right, top, bottom = (a + b for a, b in zip((left, right, top, bottom), before, strict=True))
    sides = (top, bottom, left, right)
    if format_name == "onnx":
        return _onnx_padding(operation, sides) | _unless_default(
            operation, {"strides": (stride, [1, 1]), "dilations": (dilation, [1, 1]), "group": (groups, 1)}
        )
    if format_name == "mlprogram":
        return _mil_padding(operation, sides) | _unless_default(
            operation, {"strides": (stride, [1, 1]), "dilations": (dilation, [1, 1]), "groups": (groups, 1)}
        )
    found = _unless_default(
        operation,
        {"convolution.stride": (stride, [1, 1]), "convolution.dilationFactor": (dilation, [1, 1])},
    )
    return found | _layer_padding(operation, "convolution", sides)


def pad_before(step: Step, examination: Examination) -> list[int]:
    """Find zeros that PyTorch puts around the image in an operation of its own: left, right, top, bottom."""
    program = examination.program
    if program is None or not step.inputs:
        return []
    index = program.producer.get(step.inputs[0])
    if index is None or program.steps[index].type != "constant_pad_nd":
        return []
    sides = [int(v) for v in program.steps[index].args[1]]
    return sides if len(sides) == 4 else []


def _pooling(format_name: str, operation: Operation, step: Step) -> Settings:
    average = step.type.startswith("avg")
    if not average and not step.type.startswith("max_pool2d"):
        return {}
    kernel = _two(step.args[1])
    stride = _two(_argument(step, 2, "stride", kernel) or kernel)
    padding = _two(_argument(step, 3, "padding", 0))
    ceil = bool(_argument(step, 4, "ceil_mode", False) if average else _argument(step, 5, "ceil_mode", False))
    include = bool(_argument(step, 5, "count_include_pad", True)) if average else True
    sides = (padding[0], padding[0], padding[1], padding[1])
    padded = any(sides)
    if format_name == "onnx":
        wanted: dict[str, tuple[Any, Any]] = {
            "kernel_shape": (kernel, None),
            "strides": (stride, [1, 1]),
            "ceil_mode": (int(ceil), 0),
        }
        if average and (padded or ceil):
            wanted["count_include_pad"] = (int(include), 0)
        return _unless_default(operation, wanted) | _onnx_padding(operation, sides)
    if format_name == "mlprogram":
        wanted = {"kernel_sizes": (kernel, None), "strides": (stride, [1, 1]), "ceil_mode": (ceil, False)}
        if average and (padded or ceil):
            wanted["exclude_padding_from_average"] = (not include, False)
        return _unless_default(operation, wanted) | _mil_padding(operation, sides)
    wanted = {"pooling.kernelSize": (kernel, [3, 3]), "pooling.stride": (stride, [1, 1])}
    if average and padded:
        wanted["pooling.avgPoolExcludePadding"] = (not include, False)
    return _unless_default(operation, wanted) | _layer_padding(operation, "pooling", sides)


def _norm(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    module = dict(examination.reference.classifier.module.named_modules()).get(step.module)
    eps = getattr(module, "eps", None)
    if eps is None:
        return {}
    name = "batchnorm.epsilon" if format_name == "neuralnetwork" else "epsilon"
    found = _unless_default(operation, {name: (float(eps), 1e-5)})
    if format_name == "onnx" and operation.type == "BatchNormalization":
        found |= _unless_default(operation, {"training_mode": (0, 0)})
    return found


def _leaky(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    slope = float(_argument(step, 1, "negative_slope", 0.01))
    name = "activation.leakyReLU.alpha" if format_name == "neuralnetwork" else "alpha"
    return _unless_default(operation, {name: (slope, 0.01 if format_name == "onnx" else None)})


def _elu(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    alpha = float(_argument(step, 1, "alpha", 1.0))
    name = "activation.ELU.alpha" if format_name == "neuralnetwork" else "alpha"
    return _unless_default(operation, {name: (alpha, 1.0 if format_name == "onnx" else None)})


def _gelu(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    module = dict(examination.reference.classifier.module.named_modules()).get(step.module)
    approximate = str(getattr(module, "approximate", step.kwargs.get("approximate", "none")))
    if format_name == "onnx":
        return _unless_default(operation, {"approximate": (approximate, "none")})
    if format_name == "mlprogram":
        return _unless_default(
            operation, {"mode": ("TANH_APPROXIMATION" if approximate == "tanh" else "EXACT", "EXACT")}
        )
    return {}


def _clip(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    low, high = float(_argument(step, 1, "min_val", -1.0)), float(_argument(step, 2, "max_val", 1.0))
    if format_name == "mlprogram" and operation.type == "clip":
        return {"alpha": low, "beta": high}
    if format_name == "onnx" and {"min", "max"} & set(operation.attributes):
        return {"min": low, "max": high}
    return {}


def _bilinear(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    smooth, align = step.type.endswith("_aa"), bool(_argument(step, 2, "align_corners", False))
    if format_name == "onnx":
        mode = "cubic" if "bicubic" in step.type else "linear"
        ways = ("align_corners",) if align else ("half_pixel", "pytorch_half_pixel")
        way = operation.attributes.get("coordinate_transformation_mode", "half_pixel")
        wanted: dict[str, tuple[Any, Any]] = {"mode": (mode, "nearest"), "antialias": (int(smooth), 0)}
        wanted["coordinate_transformation_mode"] = (way if way in ways else ways[0], "half_pixel")
        if mode == "cubic":
            wanted["cubic_coeff_a"] = (-0.5 if smooth else -0.75, -0.75)
        return _unless_default(operation, wanted)
    if format_name == "mlprogram" and operation.type == "upsample_bilinear":
        return _unless_default(operation, {"align_corners": (align, True)})
    return {}


def _softmax(format_name: str, operation: Operation, step: Step, examination: Examination) -> Settings:
    axis, found = _argument(step, 1, "dim", None), operation.attributes.get("axis")
    if not isinstance(axis, int):
        return {}
    return {} if found is None or int(found) == axis or int(found) < 0 else {"axis": axis}


def own_padding(format_name: str, operation: Operation) -> tuple[int, int, int, int] | None:
    """Read what a convolution or a pool itself puts around the image: top, bottom, left, right.

    None where it depends on the image's size.
    """
    if format_name == "onnx":
        if operation.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return None
        top, left, bottom, right = _numbers(operation.attributes.get("pads", "[0, 0, 0, 0]"))
        return top, bottom, left, right
    if format_name == "mlprogram":
        kind = operation.attributes.get("pad_type", "valid")
        if kind not in ("custom", "valid"):
            return None
        top, bottom, left, right = _numbers(operation.attributes.get("pad", "")) if kind == "custom" else [0] * 4
        return top, bottom, left, right
    start = f"{'convolution' if 'conv' in operation.type else 'pooling'}.valid.paddingAmounts.borderAmounts"
    names = ("[0].startEdgeSize", "[0].endEdgeSize", "[1].startEdgeSize", "[1].endEdgeSize")
    top, bottom, left, right = (int(operation.attributes.get(f"{start}{name}", "0")) for name in names)
    return top, bottom, left, right


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.strip("[]() ").replace(",", " ").split()]


def _unless_default(operation: Operation, wanted: Mapping[str, tuple[Any, Any]]) -> Settings:
    """Leave out what the file does not say where its silence means what is wanted."""
    return {n: value for n, (value, default) in wanted.items() if n in operation.attributes or value != default}


def _onnx_padding(operation: Operation, sides: tuple[int, int, int, int]) -> Settings:
    top, bottom, left, right = sides
    automatic = operation.attributes.get("auto_pad", "NOTSET")
    found = _unless_default(operation, {"pads": ([top, left, bottom, right], [0, 0, 0, 0])})
    if automatic not in ("NOTSET", "VALID") or (automatic == "VALID" and any(sides)):
        found = {"auto_pad": None, "pads": [top, left, bottom, right]}
    return found


def _mil_padding(operation: Operation, sides: tuple[int, int, int, int]) -> Settings:
    kind = operation.attributes.get("pad_type", "valid")
    if kind == "custom":
        return {"pad": list(sides)}
    return {"pad_type": "custom", "pad": list(sides)} if any(sides) and kind == "valid" else {}


def _layer_padding(operation: Operation, kind: str, sides: tuple[int, int, int, int]) -> Settings:
    start = f"{kind}.valid.paddingAmounts.borderAmounts"
    if not any(name.startswith(f"{kind}.valid") for name in operation.attributes):
        return {}
    names = ("[0].startEdgeSize", "[0].endEdgeSize", "[1].startEdgeSize", "[1].endEdgeSize")
    return {
        f"{start}{name}": size
        for name, size in zip(names, sides, strict=True)
        if size or f"{start}{name}" in operation.attributes
    }


_Translate = Callable[[str, "Operation", "Step", "Examination"], Settings]
# PyTorch's operation and the format's type, in lower case without underscores -> how to translate.
_SIMPLE: Mapping[tuple[str, str], _Translate] = {
    ("leaky_relu", "leakyrelu"): _leaky,
    ("leaky_relu", "activation"): _leaky,
    ("elu", "elu"): _elu,
    ("elu", "activation"): _elu,
    ("gelu", "gelu"): _gelu,
    ("hardtanh", "clip"): _clip,
    ("softmax", "softmax"): _softmax,
    ("_softmax", "softmax"): _softmax,
    **{
        (name, kind): _bilinear
        for name in (
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "_upsample_bilinear2d_aa",
            "_upsample_bicubic2d_aa",
        )
        for kind in ("resize", "upsample", "upsamplebilinear")
    },
}
