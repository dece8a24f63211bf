"""Faults of the answer and of the image, by kind."""

from __future__ import annotations

import torch
from torch import nn

from tests.faults.catalogue import MODERN, Fault
from tests.faults.changing import (
    at_head,
    at_input,
    before_module,
)
from tests.faults.changing_parts import (
    weight,
)
from tests.faults.kinds import EXACT, kind

ANSWERS: tuple[Fault, ...] = (
    # The answer.
    Fault("kind: logits times 50", ("head-temperature",), at_head(lambda x: (x * 50).softmax(1)), MODERN),
    Fault("kind: logits times 3", ("head-temperature",), at_head(lambda x: (x * 3).softmax(1)), MODERN),
    Fault("kind: sigmoid for softmax", ("head-sigmoid",), at_head(torch.sigmoid), MODERN),
    Fault("kind: softmax over all there is", ("head-percent",), at_head(lambda x: 100 * x.softmax(1)), MODERN),
    kind(
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
)
