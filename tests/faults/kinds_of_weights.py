"""Faults of weights, by kind: not loaded, permuted, turned, scaled, zeroed."""

from __future__ import annotations

import torch
from torch import nn

from tests.faults import written
from tests.faults.catalogue import Fault
from tests.faults.changing_parts import (
    drawn,
    is_dense,
    is_depthwise,
    is_grouped,
    is_square,
    is_wide,
    one_scaled,
    one_statistic_not_loaded,
    parameter,
    shuffled_columns,
    shuffled_rows,
    statistics_not_loaded,
    weight,
)
from tests.faults.kinds import kind

WEIGHTS: tuple[Fault, ...] = (
    kind(
        "statistics of one norm not loaded",
        "wt-bn-fold|wt-not-loaded",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        statistics_not_loaded,
    ),
    kind(
        "mean of one norm not loaded",
        "wt-bn-fold|wt-not-loaded",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        one_statistic_not_loaded,
    ),
    kind(
        "scale of one norm not loaded",
        "wt-bn-fold|wt-not-loaded|wt-other-numbers",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.BatchNorm2d, torch.ones_like),
    ),
    kind(
        "depthwise filters permuted",
        "wt-permuted",
        ("sliced", "mobilenet_v3_small", "plain"),
        weight(nn.Conv2d, shuffled_rows, fits=is_depthwise),
    ),
    kind(
        "outputs of a convolution permuted",
        "wt-permuted",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, shuffled_rows, fits=is_dense),
    ),
    kind(
        "inputs of a convolution permuted",
        "wt-permuted",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, shuffled_columns, fits=is_dense),
    ),
    kind(
        "groups of a convolution permuted",
        "wt-permuted",
        ("shuffled",),
        weight(nn.Conv2d, lambda t: t.roll(len(t) // 4, 0), fits=is_grouped),
    ),
    kind(
        "kernel turned",
        "wt-transposed",
        ("sliced", "shuffled", "resnet18", "plain"),
        weight(nn.Conv2d, lambda t: t.transpose(2, 3), fits=is_wide),
    ),
    kind(
        "kernel backwards",
        "wt-transposed|wt-permuted",
        ("sliced", "shuffled", "resnet18", "plain"),
        weight(nn.Conv2d, lambda t: t.flip(2, 3), fits=is_wide),
    ),
    kind(
        "one channel scaled",
        "wt-scaled|wt-other-numbers|wt-bn-fold",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, one_scaled, fits=is_dense),
    ),
    kind(
        "a linear layer transposed",
        "wt-transposed",
        ("attentive", "vision_transformer"),
        weight(nn.Linear, torch.t, fits=is_square),
    ),
    kind(
        "a linear layer's inputs permuted",
        "wt-permuted",
        ("sliced", "attentive", "shuffled", "resnet18"),
        weight(nn.Linear, shuffled_columns),
    ),
    kind(
        "a linear layer drawn anew",
        "wt-not-loaded",
        ("sliced", "attentive", "shuffled", "resnet18"),
        weight(nn.Linear, drawn),
    ),
    kind("a transposed convolution drawn anew", "wt-not-loaded", ("sliced",), weight(nn.ConvTranspose2d, drawn)),
    kind(
        "a transposed convolution's inputs permuted",
        "wt-permuted",
        ("sliced",),
        weight(nn.ConvTranspose2d, shuffled_rows),
    ),
    kind(
        "a transposed convolution's outputs permuted",
        "wt-permuted",
        ("sliced",),
        weight(nn.ConvTranspose2d, shuffled_columns),
    ),
    kind(
        "a layer norm not loaded",
        "wt-not-loaded|wt-other-numbers",
        ("attentive", "plain", "vision_transformer"),
        weight(nn.LayerNorm, lambda t: torch.rand_like(t) * 2),
    ),
    kind(
        "a group norm not loaded",
        "wt-not-loaded|wt-other-numbers",
        ("shuffled",),
        weight(nn.GroupNorm, lambda t: torch.rand_like(t) * 2),
    ),
    kind(
        "a root mean square norm permuted",
        "wt-permuted",
        ("attentive",),
        weight(written.RootMeanSquare, shuffled_rows),
    ),
    kind(
        "a layer scale not loaded",
        "wt-not-loaded|wt-other-numbers",
        ("attentive",),
        parameter(written.Layer, "gamma", lambda t: torch.full_like(t, 1e-2)),
    ),
    kind("positions not loaded", "wt-not-loaded", ("attentive",), parameter(written.Attentive, "position", drawn)),
    kind(
        "positions permuted",
        "wt-permuted",
        ("attentive",),
        parameter(written.Attentive, "position", lambda t: t[:, torch.randperm(t.shape[1])]),
    ),
    kind(
        "the class token zeroed",
        "wt-zeroed",
        ("attentive",),
        parameter(written.Attentive, "token", torch.zeros_like),
    ),
    kind(
        "slopes of PReLU not loaded",
        "wt-not-loaded|wt-other-numbers|wt-scaled|g-activation",
        ("shuffled",),
        weight(nn.PReLU, lambda t: torch.rand_like(t)),
    ),
    kind("directions drawn anew", "wt-not-loaded", ("shuffled",), parameter(written.Likeness, "weight", drawn)),
    kind(
        "responses not loaded",
        "wt-zeroed",
        ("shuffled",),
        parameter(written.Responses, "weight", torch.zeros_like),
    ),
)
