"""The faults that are injected: what somebody got wrong, and the names under which it may be found.

A fault changes the recipe by which a classifier is converted, so it is the same in every format. One that a network
has no place for (a padded average pool, say) makes no recipe of it; one that changes nothing is a control.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from conversion import Classifier
from tests.faults.changing import (
    Change,
    all_started_anew,
    asymmetric,
    at_head,
    at_input,
    backwards,
    before_module,
    both,
    each,
    foreign_bias,
    in_module,
    live_dropout,
    mirrored,
    moved,
    other_eps,
    padded_average,
    permuted_inputs,
    quantised,
    renamed,
    replaced,
    rolled,
    scalar_std,
    scaled_up,
    setting,
    shuffled,
    started_anew,
    swapped,
    swapped_statistics,
    with_branch,
)
from tests.faults.deploying import FORMATS, recipe

COREML = ("mlprogram-fp32", "mlprogram", "neuralnetwork")
ONNX = ("onnx",)
# ONNX opset 9, which onnx-coreml reads, has no flip.
MODERN = ("onnx", "mlprogram-fp32", "mlprogram")


@dataclass(frozen=True)
class Fault:
    """Hold a fault.

    causes: names of the catalogue that say what is wrong; all of several faults that are there at once. Where one
        fault has two names that nobody can tell apart by what is seen, they stand with a bar between them.
    change: what is converted of a classifier.
    reference: makes that classifier out of the network, where the fault is one of a special kind of model.
    train: exported in training mode. edit: changes the file.
    networks: those that have a place for it, where it is not tried in all.
    """

    name: str
    causes: tuple[str, ...]
    change: Change
    formats: tuple[str, ...] = FORMATS
    reference: Callable[[Classifier], Classifier | None] | None = None
    train: bool = False
    edit: Callable[[Path], None] | None = None
    networks: tuple[str, ...] = ()


FAULTS: tuple[Fault, ...] = (
    Fault(
        "no normalisation",
        ("pre-missing-normalise",),
        at_input(lambda r, s: {"scale": (1.0,) * 3, "bias": (0.0,) * 3}),
    ),
    Fault(
        "0..1 without mean and std",
        ("pre-missing-normalise|pre-range-0-1-vs-0-255",),
        at_input(lambda r, s: {"scale": (1 / 255,) * 3, "bias": (0.0,) * 3}),
    ),
    Fault(
        "255 times too large",
        ("pre-range-0-1-vs-0-255",),
        at_input(lambda r, s: {"scale": tuple(255 * x for x in r.scale)}),
    ),
    Fault("one std for all channels", ("pre-scalar-std",), scalar_std),
    Fault(
        "bias not divided by std", ("pre-bias-formula",), at_input(lambda r, s: {"bias": tuple(-m for m in s.mean)})
    ),
    Fault("sign of the bias", ("pre-bias-formula",), at_input(lambda r, s: {"bias": tuple(-b for b in r.bias)})),
    Fault("red and blue swapped", ("pre-bgr-swap",), at_input(swapped)),
    Fault("mirrored", ("pre-exif-orientation",), before_module(mirrored), MODERN),
    Fault(
        "turned by 90 degrees",
        ("pre-exif-orientation",),
        before_module(lambda x: mirrored(x.transpose(2, 3))),
        MODERN,
    ),
    Fault(
        "shifted by a pixel",
        ("pre-crop-geometry|g-pad-asymmetric",),
        before_module(lambda x: nn.functional.pad(x, (1, 0, 1, 0))[:, :, :-1, :-1]),
    ),
    Fault("labels shuffled", ("lab-order-permuted",), moved(shuffled)),
    Fault("labels backwards", ("lab-order-permuted",), moved(backwards)),
    Fault("labels rolled by one", ("lab-off-by-one-background",), moved(rolled(1))),
    Fault("two labels alike", ("lab-duplicate-names",), renamed(lambda labels: (labels[1], *labels[1:])), COREML),
    Fault(
        "a label too many",
        ("lab-off-by-one-background|lab-count-mismatch",),
        renamed(lambda labels: ("background", *labels)),
        ("neuralnetwork",),
    ),
    Fault("a label too few", ("lab-count-mismatch",), renamed(lambda labels: labels[:-1]), ("neuralnetwork",)),
    Fault(
        "labels with a carriage return",
        ("lab-text-mismatch",),
        renamed(lambda labels: tuple(f"{x}\r" for x in labels)),
        COREML,
    ),
    Fault(
        "labels spelt otherwise",
        ("lab-text-mismatch",),
        renamed(lambda labels: tuple(f"{x.replace(' ', '_').title()}, sp." for x in labels)),
        COREML,
    ),
    Fault("no softmax", ("head-softmax-missing",), at_head(lambda logits: logits)),
    Fault("softmax twice", ("head-softmax-twice",), at_head(lambda logits: logits.softmax(1).softmax(1))),
    Fault("softmax over the batch", ("head-softmax-axis",), at_head(lambda logits: logits.softmax(0))),
    Fault("log softmax", ("head-log-softmax|head-logsoftmax-inf",), at_head(lambda logits: logits.log_softmax(1))),
    Fault("logits scaled", ("head-temperature",), at_head(lambda logits: (logits * 0.5).softmax(1))),
    Fault("padding averaged in or out", ("g-avgpool-include-pad",), in_module(padded_average)),
    Fault("ceil mode of the max pool", ("g-pool-ceil-shape",), in_module(setting(nn.MaxPool2d, ceil_mode=False))),
    Fault("padded at one side", ("g-pad-asymmetric",), in_module(asymmetric)),
    Fault("epsilon of the norms", ("g-norm-eps",), in_module(other_eps)),
    Fault("tanh GELU", ("g-gelu-variant",), in_module(setting(nn.GELU, approximate="tanh"))),
    Fault(
        "ReLU6 without its 6", ("g-activation",), in_module(lambda m: replaced(m, nn.ReLU6, lambda part: nn.ReLU()))
    ),
    Fault(
        "SiLU for hard swish",
        ("g-activation",),
        in_module(lambda m: replaced(m, nn.Hardswish, lambda part: nn.SiLU())),
    ),
    Fault("branch frozen by tracing", ("g-trace-constant",), lambda c, f: recipe(c), reference=with_branch),
    Fault(
        "batch norm in training mode",
        ("mode-train-bn",),
        lambda c, f: recipe(c) if each(c.module, nn.BatchNorm2d) else None,
        ("onnx", "mlprogram-fp32"),
        train=True,
    ),
    Fault(
        "dropout left on",
        ("mode-dropout-live",),
        lambda c, f: recipe(c),
        ONNX,
        edit=live_dropout,
    ),
    Fault("one layer not loaded", ("wt-not-loaded",), in_module(started_anew)),
    Fault("nothing loaded", ("wt-not-loaded",), in_module(all_started_anew)),
    # Where the batch norm stays an operation of its own, its bias is none that another has.
    Fault("bias of another convolution", ("wt-initializer-collision|wt-not-loaded",), in_module(foreign_bias)),
    Fault("mean and variance swapped", ("wt-bn-fold",), in_module(swapped_statistics)),
    Fault("input channels permuted", ("wt-permuted",), in_module(permuted_inputs)),
    Fault("weights of 4 bits", ("p-weight-quant",), in_module(quantised(4))),
    Fault("weights of 6 bits", ("p-weight-quant",), in_module(quantised(6))),
    Fault(
        "activations beyond fp16", ("p-fp16-overflow",), lambda c, f: recipe(c), ("mlprogram",), reference=scaled_up
    ),
    Fault(
        "one std, and no softmax",
        ("pre-scalar-std", "head-softmax-missing"),
        both(scalar_std, lambda r: r.but(head=lambda logits: logits)),
    ),
    Fault(
        "BGR, and softmax twice",
        ("pre-bgr-swap", "head-softmax-twice"),
        both(at_input(swapped), lambda r: r.but(head=lambda logits: logits.softmax(1).softmax(1))),
    ),
    Fault(
        "BGR, and labels rolled",
        ("pre-bgr-swap", "lab-off-by-one-background"),
        both(moved(rolled(1)), lambda r: r.but(**swapped(r, None))),
    ),
)
