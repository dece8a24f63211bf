"""What an operation of a file has to say in order to be the one that PyTorch ran: PyTorch's arguments, translated.

Names and meanings of the settings are the format's: `parity.formats.<format>.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from parity.formats import find_format
from parity.formats.translation import Convolution, Pooling, Resize, Settings, Sides, Translation

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.source import Step
    from parity.formats.graph import Operation


def expected_settings(
    format_name: str, operation: Operation, step: Step, examination: Examination
) -> Mapping[str, Any]:
    """Return the settings that an operation must have; None stands for one that must be absent."""
    kind = operation.plain_type
    target = find_format(format_name).settings
    if step.type in ("convolution", "conv2d") and kind in ("conv", "convolution"):
        return _convolution(target, operation, step, examination)
    if "pool" in step.type and "pool" in kind and "global" not in kind:
        return _pooling(target, operation, step)
    if "norm" in step.whole and ("norm" in kind):
        return _norm(target, operation, step, examination)
    translate = _SIMPLE.get((step.whole, kind)) or _SIMPLE.get((step.type, kind))
    return translate(target, operation, step, examination) if translate else {}


def _argument(step: Step, place: int, name: str, default: Any) -> Any:
    if len(step.args) > place:
        return step.args[place]
    return step.kwargs.get(name, default)


def _two(value: Any) -> list[int]:
    listed = [int(v) for v in value] if isinstance(value, Sequence) else [int(value)]
    return listed * 2 if len(listed) == 1 else listed


def _convolution(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    stride, padding, dilation = (_two(step.args[i]) for i in (3, 4, 5))
    if len(stride) != 2 or _argument(step, 6, "transposed", False):
        return {}
    top, bottom, left, right = padding[0], padding[0], padding[1], padding[1]
    before = pad_before(step, examination)
    if before:
        left, right, top, bottom = (a + b for a, b in zip((left, right, top, bottom), before, strict=True))
    wanted = Convolution(stride, dilation, int(step.args[8]), (top, bottom, left, right))
    return target.convolution(operation, wanted)


def pad_before(step: Step, examination: Examination) -> list[int]:
    """Find zeros that PyTorch puts around the image in an operation of its own: left, right, top, bottom."""
    program = examination.torch.program
    if program is None or not step.inputs:
        return []
    index = program.producer.get(step.inputs[0])
    if index is None or program.steps[index].type != "constant_pad_nd":
        return []
    sides = [int(v) for v in program.steps[index].args[1]]
    return sides if len(sides) == 4 else []


def _pooling(target: Translation, operation: Operation, step: Step) -> Settings:
    average = step.type.startswith("avg")
    if not average and not step.type.startswith("max_pool2d"):
        return {}
    own = operation.attributes.get("pooling.type", operation.type).lower()
    if ("max" in own) == average:  # a pool of the other kind, which no setting makes this one
        return {}
    kernel = _two(step.args[1])
    padding = _two(_argument(step, 3, "padding", 0))
    wanted = Pooling(
        average=average,
        kernel=kernel,
        stride=_two(_argument(step, 2, "stride", kernel) or kernel),
        sides=(padding[0], padding[0], padding[1], padding[1]),
        ceil=bool(_argument(step, 4 if average else 5, "ceil_mode", False)),
        include=bool(_argument(step, 5, "count_include_pad", True)) if average else True,
    )
    return target.pooling(operation, wanted)


def _norm(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    eps = getattr(_module(step, examination), "eps", None)
    return {} if eps is None else target.norm(operation, float(eps))


def functional_norm(
    format_name: str, operation: Operation, step: Step, examination: Examination
) -> Mapping[str, Any]:
    """Return the settings of a norm that PyTorch calls as a function, without a module of its own."""
    program = examination.torch.program
    if program is None or "norm" not in step.whole or "norm" not in operation.plain_type:
        return {}
    if step.type == "native_batch_norm":
        epsilons = [step.args[-1]]
    else:  # recorded in its parts, of which one adds the epsilon
        place = program.steps.index(step)
        others = takewhile(lambda one: one.whole == step.whole, reversed(program.steps[: place + 1]))
        epsilons = [one.args[1] for one in others if one.type == "add" and len(one.args) == 2]
    numbers = [one for one in epsilons if isinstance(one, float)]
    return find_format(format_name).settings.norm(operation, numbers[0]) if len(numbers) == 1 else {}


def _leaky(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    return target.leaky_relu(operation, float(_argument(step, 1, "negative_slope", 0.01)))


def _elu(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    return target.elu(operation, float(_argument(step, 1, "alpha", 1.0)))


def _gelu(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    approximate = getattr(_module(step, examination), "approximate", step.kwargs.get("approximate", "none"))
    return target.gelu(operation, str(approximate))


def _clip(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    low, high = float(_argument(step, 1, "min_val", -1.0)), float(_argument(step, 2, "max_val", 1.0))
    return target.clip(operation, low, high)


def _padding(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    mode = next(ours for name, ours in _PADDINGS.items() if step.type.startswith(name))
    return target.padding(operation, mode)


def _no_epsilon(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    # Of an operation that PyTorch does without one.
    return {"epsilon": 0.0} if "epsilon" in operation.attributes else {}


def _resize(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    align = bool(_argument(step, 2, "align_corners", False))
    return target.resize(operation, Resize("bicubic" in step.type, step.type.endswith("_aa"), align))


def _softmax(target: Translation, operation: Operation, step: Step, examination: Examination) -> Settings:
    axis, own = _argument(step, 1, "dim", None), operation.attributes.get("axis")
    values = examination.candidate.values(examination.torch.probe) or {}
    result = values.get(operation.outputs[0])
    # Recorded in its parts, it is the largest number along an axis that is taken off first.
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if not isinstance(axis, int) or own is None or result is None:
        return {}
    return {} if int(own) % result.ndim == axis % result.ndim else {"axis": axis % result.ndim}


def _module(step: Step, examination: Examination) -> Any:
    return dict(examination.reference.model.module.named_modules()).get(step.module)


def own_padding(format_name: str, operation: Operation) -> Sides | None:
    """Read what a convolution or a pool itself puts around the image; None where it depends on the image's size."""
    return find_format(format_name).settings.own_padding(operation)


# PyTorch's operations that surround an image -> what with.
_PADDINGS = {"reflection_pad": "reflect", "replication_pad": "replicate", "constant_pad_nd": "constant"}
_EDGES = [
    *((name, axes, "pad") for name in ("reflection_pad", "replication_pad") for axes in ("1d", "2d")),
    ("constant_pad_nd", "", "pad"),
]
_Translate = Callable[[Translation, "Operation", "Step", "Examination"], Settings]
# PyTorch's operation and the format's type, in lower case without underscores -> how to translate.
_SIMPLE: Mapping[tuple[str, str], _Translate] = {
    ("leaky_relu", "leakyrelu"): _leaky,
    ("leaky_relu", "activation"): _leaky,
    ("elu", "elu"): _elu,
    ("elu", "activation"): _elu,
    ("gelu", "gelu"): _gelu,
    ("hardtanh", "clip"): _clip,
    **{(name, kind): _no_epsilon for name in ("reciprocal", "rsqrt", "log") for kind in ("inverse", name, "unary")},
    **{(f"{name}{axes}", kind): _padding for name, axes, kind in _EDGES},
    ("softmax", "softmax"): _softmax,
    ("_softmax", "softmax"): _softmax,
    **{
        (name, kind): _resize
        for name in (
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "_upsample_bilinear2d_aa",
            "_upsample_bicubic2d_aa",
        )
        for kind in ("resize", "upsample", "upsamplebilinear")
    },
}
