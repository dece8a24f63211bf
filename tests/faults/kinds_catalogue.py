"""Faults by kind: each changes one setting, one weight or one function of a module that has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.faults import written
from tests.faults.catalogue import MODERN, ONNX, Fault
from tests.faults.changing import (
    at_head,
    at_input,
    before_module,
    both,
    in_module,
    replaced,
    setting,
)
from tests.faults.changing_parts import (
    Computed,
    behind,
    drawn,
    faint_tokens,
    in_both,
    is_dense,
    is_depthwise,
    is_grouped,
    is_square,
    is_wide,
    one_scaled,
    one_statistic_not_loaded,
    other_heads,
    padded_by,
    palettised,
    parameter,
    reciprocal,
    shuffled_columns,
    shuffled_rows,
    small_squares,
    statistics_not_loaded,
    swapped_for,
    undilated,
    weight,
    zeros_become,
)
from tests.faults.deploying import recipe

# In fp16 numbers that are 255 times too small lose their last bits: another fault comes to the first.
EXACT = ("onnx", "mlprogram-fp32")


def _kind(name: str, cause: str, networks: tuple[str, ...], change: Callable[[Any], bool | None]) -> Fault:
    return Fault(f"kind: {name}", (cause,), in_module(change), MODERN, networks=networks)


KINDS: tuple[Fault, ...] = (
    # The answer.
    Fault("kind: logits times 50", ("head-temperature",), at_head(lambda x: (x * 50).softmax(1)), MODERN),
    Fault("kind: logits times 3", ("head-temperature",), at_head(lambda x: (x * 3).softmax(1)), MODERN),
    Fault("kind: sigmoid for softmax", ("head-sigmoid",), at_head(torch.sigmoid), MODERN),
    Fault("kind: softmax over all there is", ("head-percent",), at_head(lambda x: 100 * x.softmax(1)), MODERN),
    _kind(
        "bias of the head lost",
        "wt-zeroed",
        ("sliced", "attentive", "shuffled", "resnet18"),
        weight(nn.Linear, torch.zeros_like, "bias", lambda p: p.out_features == 8),
    ),
    # The image.
    Fault(
        "kind: normalised twice",
        ("pre-normalisation",),
        before_module(
            lambda x: (
                (x - torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
                / torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
            )
        ),
        MODERN,
    ),
    Fault(
        "kind: divided by 255 twice",
        ("pre-range-0-1-vs-0-255",),
        at_input(lambda r, s: {"scale": tuple(x / 255 for x in r.scale)}),
        EXACT,
    ),
    Fault(
        "kind: -1 to 1 for mean and std",
        ("pre-normalisation|pre-missing-normalise",),
        at_input(lambda r, s: {"scale": (2 / 255,) * 3, "bias": (-1.0,) * 3}),
        MODERN,
    ),
    Fault(
        "kind: std of another data set",
        ("pre-normalisation",),
        at_input(lambda r, s: {"scale": tuple(1 / 255 / v for v in (0.2471, 0.2435, 0.2616))}),
        MODERN,
    ),
    # Weights.
    _kind(
        "statistics of one norm not loaded",
        "wt-bn-fold|wt-not-loaded",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        statistics_not_loaded,
    ),
    _kind(
        "mean of one norm not loaded",
        "wt-bn-fold|wt-not-loaded",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        one_statistic_not_loaded,
    ),
    _kind(
        "scale of one norm not loaded",
        "wt-bn-fold|wt-not-loaded|wt-other-numbers",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.BatchNorm2d, torch.ones_like),
    ),
    _kind(
        "depthwise filters permuted",
        "wt-permuted",
        ("sliced", "mobilenet_v3_small", "plain"),
        weight(nn.Conv2d, shuffled_rows, fits=is_depthwise),
    ),
    _kind(
        "outputs of a convolution permuted",
        "wt-permuted",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, shuffled_rows, fits=is_dense),
    ),
    _kind(
        "inputs of a convolution permuted",
        "wt-permuted",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, shuffled_columns, fits=is_dense),
    ),
    _kind(
        "groups of a convolution permuted",
        "wt-permuted",
        ("shuffled",),
        weight(nn.Conv2d, lambda t: t.roll(len(t) // 4, 0), fits=is_grouped),
    ),
    _kind(
        "kernel turned",
        "wt-transposed",
        ("sliced", "shuffled", "resnet18", "plain"),
        weight(nn.Conv2d, lambda t: t.transpose(2, 3), fits=is_wide),
    ),
    _kind(
        "kernel backwards",
        "wt-transposed|wt-permuted",
        ("sliced", "shuffled", "resnet18", "plain"),
        weight(nn.Conv2d, lambda t: t.flip(2, 3), fits=is_wide),
    ),
    _kind(
        "one channel scaled",
        "wt-scaled|wt-other-numbers|wt-bn-fold",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, one_scaled, fits=is_dense),
    ),
    _kind(
        "a linear layer transposed",
        "wt-transposed",
        ("attentive", "vision_transformer"),
        weight(nn.Linear, torch.t, fits=is_square),
    ),
    _kind(
        "a linear layer's inputs permuted",
        "wt-permuted",
        ("sliced", "attentive", "shuffled", "resnet18"),
        weight(nn.Linear, shuffled_columns),
    ),
    _kind(
        "a linear layer drawn anew",
        "wt-not-loaded",
        ("sliced", "attentive", "shuffled", "resnet18"),
        weight(nn.Linear, drawn),
    ),
    _kind("a transposed convolution drawn anew", "wt-not-loaded", ("sliced",), weight(nn.ConvTranspose2d, drawn)),
    _kind(
        "a transposed convolution's inputs permuted",
        "wt-permuted",
        ("sliced",),
        weight(nn.ConvTranspose2d, shuffled_rows),
    ),
    _kind(
        "a transposed convolution's outputs permuted",
        "wt-permuted",
        ("sliced",),
        weight(nn.ConvTranspose2d, shuffled_columns),
    ),
    _kind(
        "a layer norm not loaded",
        "wt-not-loaded|wt-other-numbers",
        ("attentive", "plain", "vision_transformer"),
        weight(nn.LayerNorm, lambda t: torch.rand_like(t) * 2),
    ),
    _kind(
        "a group norm not loaded",
        "wt-not-loaded|wt-other-numbers",
        ("shuffled",),
        weight(nn.GroupNorm, lambda t: torch.rand_like(t) * 2),
    ),
    _kind(
        "a root mean square norm permuted",
        "wt-permuted",
        ("attentive",),
        weight(written.RootMeanSquare, shuffled_rows),
    ),
    _kind(
        "a layer scale not loaded",
        "wt-not-loaded|wt-other-numbers",
        ("attentive",),
        parameter(written.Layer, "gamma", lambda t: torch.full_like(t, 1e-2)),
    ),
    _kind("positions not loaded", "wt-not-loaded", ("attentive",), parameter(written.Attentive, "position", drawn)),
    _kind(
        "positions permuted",
        "wt-permuted",
        ("attentive",),
        parameter(written.Attentive, "position", lambda t: t[:, torch.randperm(t.shape[1])]),
    ),
    _kind(
        "the class token zeroed",
        "wt-zeroed",
        ("attentive",),
        parameter(written.Attentive, "token", torch.zeros_like),
    ),
    _kind(
        "slopes of PReLU not loaded",
        "wt-not-loaded|wt-other-numbers|wt-scaled|g-activation",
        ("shuffled",),
        weight(nn.PReLU, lambda t: torch.rand_like(t)),
    ),
    _kind("directions drawn anew", "wt-not-loaded", ("shuffled",), parameter(written.Likeness, "weight", drawn)),
    _kind(
        "responses not loaded",
        "wt-zeroed",
        ("shuffled",),
        parameter(written.Responses, "weight", torch.zeros_like),
    ),
    # Functions.
    _kind("slope of LeakyReLU", "g-activation", ("sliced",), setting(nn.LeakyReLU, negative_slope=0.01)),
    _kind("alpha of ELU", "g-activation", ("sliced",), setting(nn.ELU, alpha=1.0)),
    _kind("beta of Softplus", "g-activation", ("shuffled",), setting(nn.Softplus, beta=1.0)),
    _kind(
        "slope of a hard sigmoid",
        "g-activation|g-scale|wt-scaled",
        ("sliced",),
        setting(written.HardGate, slope=0.2),
    ),
    _kind("slope of quick GELU", "g-activation|g-scale", ("attentive",), setting(written.QuickGelu, slope=1.0)),
    _kind(
        "GELU for quick GELU",
        "g-activation|g-gelu-variant",
        ("attentive",),
        swapped_for(written.QuickGelu, lambda p: nn.GELU()),
    ),
    _kind(
        "ReLU for GELU",
        "g-activation|g-gelu-variant",
        ("shuffled", "plain", "vision_transformer"),
        swapped_for(nn.GELU, lambda p: nn.ReLU()),
    ),
    _kind("SiLU for Mish", "g-activation", ("shuffled",), swapped_for(nn.Mish, lambda p: nn.SiLU())),
    _kind(
        "a hard swish of another slope",
        "g-activation|g-scale",
        ("sliced", "mobilenet_v3_small"),
        swapped_for(nn.Hardswish, lambda p: Computed(lambda x: x * (0.2 * x + 0.5).clamp(0, 1))),
    ),
    _kind("tanh for SiLU", "g-activation", ("shuffled",), swapped_for(nn.SiLU, lambda p: nn.Tanh())),
    _kind(
        "an activation left out",
        "g-activation|g-operation-missing",
        ("sliced", "attentive", "shuffled"),
        swapped_for((nn.LeakyReLU, nn.PReLU, written.QuickGelu), lambda p: nn.Identity()),
    ),
    # Epsilons.
    _kind(
        "epsilon of the root mean square", "g-norm-eps", ("attentive",), setting(written.RootMeanSquare, eps=0.05)
    ),
    _kind("epsilon of the cosine", "g-norm-eps|g-clip", ("shuffled",), setting(written.Likeness, eps=100.0)),
    _kind("epsilon of the responses", "g-norm-eps", ("shuffled",), setting(written.Responses, eps=1.0)),
    _kind(
        "epsilon of the layer norms",
        "g-norm-eps",
        ("attentive", "plain", "vision_transformer"),
        setting(nn.LayerNorm, eps=1e-3),
    ),
    Fault(
        "kind: usual epsilon of a layer norm",
        ("g-norm-eps",),
        in_module(setting(nn.LayerNorm, eps=1e-5)),
        EXACT,
        reference=in_both(faint_tokens),
        networks=("attentive", "vision_transformer"),
    ),
    _kind("epsilon of the group norm", "g-norm-eps", ("shuffled",), setting(nn.GroupNorm, eps=0.05)),
    _kind("offset of a reciprocal", "g-constant", ("shuffled",), setting(written.Inverse, offset=0.501)),
    # Windows.
    _kind("reflect made replicate", "g-pad-border", ("sliced",), padded_by("replicate")),
    _kind("reflect made zeros", "g-pad-border", ("sliced",), padded_by("zeros")),
    _kind(
        "zeros made reflect",
        "g-pad-border",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        zeros_become("reflect"),
    ),
    Fault(
        "kind: zeros made circular",
        ("g-pad-border",),
        in_module(zeros_become("circular")),
        ONNX,
        networks=("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
    ),
    _kind("average made maximum", "g-operation", ("sliced",), setting(written.Pooling, mode="max")),
    _kind(
        "maximum made average", "g-operation", ("sliced",), setting(written.Pooling, mode="average", divisor=None)
    ),
    Fault(
        "kind: divisor of an average pool lost",
        ("g-scale|g-avgpool-include-pad|g-operation",),
        lambda c, f: recipe(c),
        ONNX,
        reference=in_both(setting(written.Pooling, divisor=5)),
        networks=("sliced",),
    ),
    Fault(
        "kind: epsilon of coremltools' reciprocal",
        ("g-norm-eps",),
        lambda c, f: recipe(c),
        ("mlprogram-fp32",),
        reference=in_both(lambda m: replaced(m, written.Inverse, lambda part: Computed(reciprocal))),
        networks=("shuffled",),
    ),
    Fault(
        "kind: squares too small for fp16",
        ("p-fp16-underflow",),
        lambda c, f: recipe(c),
        ("mlprogram",),
        reference=in_both(small_squares),
        networks=("attentive",),
    ),
    Fault(
        "kind: division by 1 that rounds, dropped",
        ("g-operation-missing|g-cast",),
        lambda c, f: recipe(c),
        ("mlprogram-fp32",),
        reference=in_both(behind(nn.BatchNorm2d, lambda x: torch.div(x * 4, 1, rounding_mode="floor") / 4)),
        networks=("sliced", "shuffled", "resnet18"),
    ),
    Fault(
        "kind: bytes made whole numbers",
        ("g-cast|g-operation-missing",),
        lambda c, f: recipe(c),
        ("mlprogram-fp32",),
        reference=in_both(
            behind(nn.BatchNorm2d, lambda x: (x * 100).to(torch.int32).to(torch.uint8).float() / 100)
        ),
        networks=("sliced", "shuffled", "resnet18"),
    ),
    Fault(
        "kind: 16 bits made 32",
        ("g-cast|g-operation-missing",),
        lambda c, f: recipe(c),
        ("mlprogram-fp32",),
        reference=in_both(
            behind(nn.BatchNorm2d, lambda x: (x * 3e4).to(torch.int32).to(torch.int16).float() / 3e4)
        ),
        networks=("sliced", "shuffled", "resnet18"),
    ),
    Fault(
        "kind: in training mode, and palettised",
        ("mode-train-bn",),
        lambda c, f: recipe(c),
        ("mlprogram-fp32",),
        train=True,
        edit=palettised,
        networks=("sliced", "resnet18"),
    ),
    Fault(
        "kind: in percent, and an epsilon",
        ("head-percent", "g-norm-eps"),
        both(in_module(setting(nn.LayerNorm, eps=1e-1)), lambda r: r.but(head=lambda x: 100 * x.softmax(1))),
        MODERN,
        networks=("attentive", "plain"),
    ),
    Fault(
        "kind: in percent, and a layer drawn anew",
        ("head-percent", "wt-not-loaded"),
        both(in_module(weight(nn.Conv2d, drawn)), lambda r: r.but(head=lambda x: 100 * x.softmax(1))),
        MODERN,
        networks=("sliced", "resnet18"),
    ),
    _kind("ceil mode of a pool", "g-pool-ceil-shape", ("sliced",), setting(written.Pooling, ceil=False)),
    _kind("dilation left out", "g-attribute|g-pad-asymmetric", ("shuffled",), undilated),
    _kind("groups mixed otherwise", "g-channel-order", ("shuffled",), setting(written.Mixing, groups=4)),
    _kind(
        "nearest for bilinear", "g-resize-mode", ("sliced",), setting(written.Resizing, mode="nearest", align=None)
    ),
    _kind("corners aligned", "g-resize-mode", ("sliced",), setting(written.Resizing, align=True)),
    # Structure.
    _kind("a slice scaled otherwise", "g-scale|wt-scaled", ("sliced",), setting(written.Fading, factor=0.5)),
    _kind(
        "a slice of other channels",
        "g-operation|wt-scaled|g-scale",
        ("sliced",),
        setting(written.Fading, channels=12),
    ),
    _kind("attention scaled otherwise", "g-scale", ("attentive",), setting(written.Attention, scale=0.125)),
    _kind("heads of attention", "g-operation|g-shape", ("attentive",), other_heads),
    _kind(
        "an operation too many",
        "g-operation-added|g-scale|wt-scaled|wt-other-numbers",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x * 1.3),
    ),
    _kind(
        "values turned inside",
        "g-orientation|g-operation-added|pre-exif-orientation",
        ("sliced", "resnet18", "mobilenet_v3_small", "plain"),
        behind(nn.BatchNorm2d, lambda x: x.transpose(2, 3)),
    ),
    _kind(
        "channels turned inside",
        "g-channel-order|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x.roll(1, 1)),
    ),
    _kind(
        "cut off inside",
        "g-clip|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x.clamp(-0.7, 0.9)),
    ),
    _kind(
        "shifted inside",
        "g-operation-added|g-operation|wt-other-numbers|wt-bn-fold",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x + 0.2),
    ),
    _kind(
        "rounded inside",
        "g-cast|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: torch.round(x * 4) / 4),
    ),
    _kind(
        "made whole numbers inside",
        "g-cast|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: (x * 16).to(torch.int32).float() / 16),
    ),
)
