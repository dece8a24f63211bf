"""Faults of windows, casts and structure, by kind: what is added, left out or laid out otherwise."""

from __future__ import annotations

import torch
from torch import nn

from tests.faults import written
from tests.faults.catalogue import MODERN, ONNX, Fault
from tests.faults.changing import (
    both,
    in_module,
    replaced,
    setting,
)
from tests.faults.changing_parts import (
    Computed,
    behind,
    drawn,
    in_both,
    other_heads,
    padded_by,
    palettised,
    reciprocal,
    small_squares,
    undilated,
    weight,
    zeros_become,
)
from tests.faults.deploying import recipe
from tests.faults.kinds import kind

STRUCTURE: tuple[Fault, ...] = (
    # Windows.
    kind("reflect made replicate", "g-pad-border", ("sliced",), padded_by("replicate")),
    kind("reflect made zeros", "g-pad-border", ("sliced",), padded_by("zeros")),
    kind(
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
    kind("average made maximum", "g-operation", ("sliced",), setting(written.Pooling, mode="max")),
    kind(
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
    kind("ceil mode of a pool", "g-pool-ceil-shape", ("sliced",), setting(written.Pooling, ceil=False)),
    kind("dilation left out", "g-attribute|g-pad-asymmetric", ("shuffled",), undilated),
    kind("groups mixed otherwise", "g-channel-order", ("shuffled",), setting(written.Mixing, groups=4)),
    kind(
        "nearest for bilinear", "g-resize-mode", ("sliced",), setting(written.Resizing, mode="nearest", align=None)
    ),
    kind("corners aligned", "g-resize-mode", ("sliced",), setting(written.Resizing, align=True)),
    # Structure.
    kind("a slice scaled otherwise", "g-scale|wt-scaled", ("sliced",), setting(written.Fading, factor=0.5)),
    kind(
        "a slice of other channels",
        "g-operation|wt-scaled|g-scale",
        ("sliced",),
        setting(written.Fading, channels=12),
    ),
    kind("attention scaled otherwise", "g-scale", ("attentive",), setting(written.Attention, scale=0.125)),
    kind("heads of attention", "g-operation|g-shape", ("attentive",), other_heads),
    kind(
        "an operation too many",
        "g-operation-added|g-scale|wt-scaled|wt-other-numbers",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x * 1.3),
    ),
    kind(
        "values turned inside",
        "g-orientation|g-operation-added|pre-exif-orientation",
        ("sliced", "resnet18", "mobilenet_v3_small", "plain"),
        behind(nn.BatchNorm2d, lambda x: x.transpose(2, 3)),
    ),
    kind(
        "channels turned inside",
        "g-channel-order|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x.roll(1, 1)),
    ),
    kind(
        "cut off inside",
        "g-clip|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x.clamp(-0.7, 0.9)),
    ),
    kind(
        "shifted inside",
        "g-operation-added|g-operation|wt-other-numbers|wt-bn-fold",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: x + 0.2),
    ),
    kind(
        "rounded inside",
        "g-cast|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: torch.round(x * 4) / 4),
    ),
    kind(
        "made whole numbers inside",
        "g-cast|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        behind(nn.BatchNorm2d, lambda x: (x * 16).to(torch.int32).float() / 16),
    ),
)
