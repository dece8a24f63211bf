"""Faults of functions and of their numbers, by kind."""

from __future__ import annotations

from torch import nn

from tests.faults import written
from tests.faults.catalogue import Fault
from tests.faults.changing import (
    in_module,
    setting,
)
from tests.faults.changing_parts import (
    Computed,
    faint_tokens,
    in_both,
    swapped_for,
)
from tests.faults.kinds import EXACT, kind

FUNCTIONS: tuple[Fault, ...] = (
    # Functions.
    kind("slope of LeakyReLU", "g-activation", ("sliced",), setting(nn.LeakyReLU, negative_slope=0.01)),
    kind("alpha of ELU", "g-activation", ("sliced",), setting(nn.ELU, alpha=1.0)),
    kind("beta of Softplus", "g-activation", ("shuffled",), setting(nn.Softplus, beta=1.0)),
    kind(
        "slope of a hard sigmoid",
        "g-activation|g-scale|wt-scaled",
        ("sliced",),
        setting(written.HardGate, slope=0.2),
    ),
    kind("slope of quick GELU", "g-activation|g-scale", ("attentive",), setting(written.QuickGelu, slope=1.0)),
    kind(
        "GELU for quick GELU",
        "g-activation|g-gelu-variant",
        ("attentive",),
        swapped_for(written.QuickGelu, lambda p: nn.GELU()),
    ),
    kind(
        "ReLU for GELU",
        "g-activation|g-gelu-variant",
        ("shuffled", "plain", "vision_transformer"),
        swapped_for(nn.GELU, lambda p: nn.ReLU()),
    ),
    kind("SiLU for Mish", "g-activation", ("shuffled",), swapped_for(nn.Mish, lambda p: nn.SiLU())),
    kind(
        "a hard swish of another slope",
        "g-activation|g-scale",
        ("sliced", "mobilenet_v3_small"),
        swapped_for(nn.Hardswish, lambda p: Computed(lambda x: x * (0.2 * x + 0.5).clamp(0, 1))),
    ),
    kind("tanh for SiLU", "g-activation", ("shuffled",), swapped_for(nn.SiLU, lambda p: nn.Tanh())),
    kind(
        "an activation left out",
        "g-activation|g-operation-missing",
        ("sliced", "attentive", "shuffled"),
        swapped_for((nn.LeakyReLU, nn.PReLU, written.QuickGelu), lambda p: nn.Identity()),
    ),
    # Epsilons.
    kind(
        "epsilon of the root mean square", "g-norm-eps", ("attentive",), setting(written.RootMeanSquare, eps=0.05)
    ),
    kind("epsilon of the cosine", "g-norm-eps|g-clip", ("shuffled",), setting(written.Likeness, eps=100.0)),
    kind("epsilon of the responses", "g-norm-eps", ("shuffled",), setting(written.Responses, eps=1.0)),
    kind(
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
    kind("epsilon of the group norm", "g-norm-eps", ("shuffled",), setting(nn.GroupNorm, eps=0.05)),
    kind("offset of a reciprocal", "g-constant", ("shuffled",), setting(written.Inverse, offset=0.501)),
)
