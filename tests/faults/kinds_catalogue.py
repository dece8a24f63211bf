"""Faults by kind: each changes one setting, one weight or one function of a module that has it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conversion import Classifier
from conversion.guards.quiet import import_coremltools
from tests.faults import written
from tests.faults.catalogue import MODERN, ONNX, Fault
from tests.faults.changing import (
    at_head,
    at_input,
    before_module,
    both,
    each,
    in_module,
    only,
    replaced,
    setting,
)
from tests.faults.deploying import recipe

# In fp16 numbers that are 255 times too small lose their last bits: another fault comes to the first.
EXACT = ("onnx", "mlprogram-fp32")
_Weights = Callable[[torch.Tensor], torch.Tensor]


def _kind(name: str, cause: str, networks: tuple[str, ...], change: Callable[[Any], bool | None]) -> Fault:
    return Fault(f"kind: {name}", (cause,), in_module(change), MODERN, networks=networks)


def _chosen(module: nn.Module, kind: Any, fits: Callable[[Any], bool] = lambda part: True) -> Any:
    """Choose the middle one of the parts of a kind; None where there is none."""
    parts = [part for part in each(module, kind) if fits(part)]
    return parts[len(parts) // 2] if parts else None


def weight(
    kind: Any, change: _Weights, name: str = "weight", fits: Callable[[Any], bool] = lambda part: True
) -> Callable[[nn.Module], bool]:
    """Change a weight of one part of a kind."""

    def changed(module: nn.Module) -> bool:
        part = _chosen(module, kind, lambda one: getattr(one, name, None) is not None and fits(one))
        if part is None:
            return False
        tensor = getattr(part, name)
        tensor.copy_(change(tensor.clone()))
        return True

    return changed


def _shuffled_rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[torch.randperm(len(tensor))]


def _shuffled_columns(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[:, torch.randperm(tensor.shape[1])]


def _drawn(tensor: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(tensor) * tensor.std()


def _one_scaled(tensor: torch.Tensor) -> torch.Tensor:
    tensor[len(tensor) // 3] *= 4
    return tensor


def _is_depthwise(conv: Any) -> bool:
    return bool(conv.groups == conv.in_channels > 1)


def _is_grouped(conv: Any) -> bool:
    return bool(1 < conv.groups < conv.in_channels)


def _is_dense(conv: Any) -> bool:
    return bool(conv.groups == 1 and conv.in_channels > 3)


def _is_wide(conv: Any) -> bool:
    return _is_dense(conv) and conv.kernel_size[0] > 1


def _is_square(linear: Any) -> bool:
    return bool(linear.in_features == linear.out_features)


def statistics_not_loaded(module: nn.Module) -> bool:
    norm = _chosen(module, nn.BatchNorm2d)
    if norm is None:
        return False
    norm.reset_running_stats()
    return True


def one_statistic_not_loaded(module: nn.Module) -> bool:
    norm = _chosen(module, nn.BatchNorm2d)
    if norm is None:
        return False
    norm.running_mean.zero_()
    return True


def _swapped_for(kind: Any, make: Callable[[Any], nn.Module], first: bool = False) -> Callable[[nn.Module], bool]:
    return lambda module: replaced(module, kind, make, 1 if first else None)


class Computed(nn.Module):
    """Compute a function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute it."""
        return self.function(x)


def _behind(kind: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module], bool]:
    """Put a function behind one part of a kind."""

    def change(module: nn.Module) -> bool:
        part = _chosen(module, kind)
        if part is None:
            return False
        return replaced(module, only(part), lambda own: nn.Sequential(own, Computed(function)), 1)

    return change


def _padded_by(mode: str) -> Callable[[nn.Module], bool]:
    def change(module: nn.Module) -> bool:
        convs = [c for c in each(module, nn.Conv2d) if c.padding_mode == "reflect"]
        for conv in convs:
            conv.padding_mode = mode
        return bool(convs)

    return change


def _zeros_become(mode: str) -> Callable[[nn.Module], bool]:
    def change(module: nn.Module) -> bool:
        conv = _chosen(module, nn.Conv2d, lambda c: c.padding == (1, 1) and c.padding_mode == "zeros")
        if conv is None:
            return False
        conv.padding_mode = mode
        return True

    return change


def _reciprocal(x: torch.Tensor) -> torch.Tensor:
    return torch.reciprocal(x.abs() + 0.05)


def _of(change: Callable[[Any], bool | None]) -> Callable[[Classifier], Classifier | None]:
    """Change the network that is converted and PyTorch's own alike."""

    def changed(classifier: Classifier) -> Classifier | None:
        module = copy.deepcopy(classifier.module)
        with torch.no_grad():
            if change(module) is False:
                return None
        return Classifier(classifier.name, module.eval(), classifier.preprocessing, classifier.labels)

    return changed


def palettised(path: Path) -> None:
    """Give a program's weights palettes of 6 bits, as somebody does to make it small."""
    ct = import_coremltools()
    config = ct.optimize.coreml.OptimizationConfig(
        global_config=ct.optimize.coreml.OpPalettizerConfig(mode="kmeans", nbits=6, weight_threshold=64)
    )
    small = ct.optimize.coreml.palettize_weights(ct.models.MLModel(str(path), skip_model_load=True), config)
    shutil.rmtree(path)
    small.save(str(path))


def _in(kind: Any, **values: Any) -> Callable[[nn.Module], bool]:
    return setting(kind, **values)


def _parameter(kind: Any, name: str, change: _Weights) -> Callable[[nn.Module], bool]:
    return weight(kind, change, name)


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
        weight(nn.Conv2d, _shuffled_rows, fits=_is_depthwise),
    ),
    _kind(
        "outputs of a convolution permuted",
        "wt-permuted",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, _shuffled_rows, fits=_is_dense),
    ),
    _kind(
        "inputs of a convolution permuted",
        "wt-permuted",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, _shuffled_columns, fits=_is_dense),
    ),
    _kind(
        "groups of a convolution permuted",
        "wt-permuted",
        ("shuffled",),
        weight(nn.Conv2d, lambda t: t.roll(len(t) // 4, 0), fits=_is_grouped),
    ),
    _kind(
        "kernel turned",
        "wt-transposed",
        ("sliced", "shuffled", "resnet18", "plain"),
        weight(nn.Conv2d, lambda t: t.transpose(2, 3), fits=_is_wide),
    ),
    _kind(
        "kernel backwards",
        "wt-transposed|wt-permuted",
        ("sliced", "shuffled", "resnet18", "plain"),
        weight(nn.Conv2d, lambda t: t.flip(2, 3), fits=_is_wide),
    ),
    _kind(
        "one channel scaled",
        "wt-scaled|wt-other-numbers|wt-bn-fold",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        weight(nn.Conv2d, _one_scaled, fits=_is_dense),
    ),
    _kind(
        "a linear layer transposed",
        "wt-transposed",
        ("attentive", "vision_transformer"),
        weight(nn.Linear, torch.t, fits=_is_square),
    ),
    _kind(
        "a linear layer's inputs permuted",
        "wt-permuted",
        ("sliced", "attentive", "shuffled", "resnet18"),
        weight(nn.Linear, _shuffled_columns),
    ),
    _kind(
        "a linear layer drawn anew",
        "wt-not-loaded",
        ("sliced", "attentive", "shuffled", "resnet18"),
        weight(nn.Linear, _drawn),
    ),
    _kind("a transposed convolution drawn anew", "wt-not-loaded", ("sliced",), weight(nn.ConvTranspose2d, _drawn)),
    _kind(
        "a transposed convolution's inputs permuted",
        "wt-permuted",
        ("sliced",),
        weight(nn.ConvTranspose2d, _shuffled_rows),
    ),
    _kind(
        "a transposed convolution's outputs permuted",
        "wt-permuted",
        ("sliced",),
        weight(nn.ConvTranspose2d, _shuffled_columns),
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
        weight(written.RootMeanSquare, _shuffled_rows),
    ),
    _kind(
        "a layer scale not loaded",
        "wt-not-loaded|wt-other-numbers",
        ("attentive",),
        _parameter(written.Layer, "gamma", lambda t: torch.full_like(t, 1e-2)),
    ),
    _kind(
        "positions not loaded", "wt-not-loaded", ("attentive",), _parameter(written.Attentive, "position", _drawn)
    ),
    _kind(
        "positions permuted",
        "wt-permuted",
        ("attentive",),
        _parameter(written.Attentive, "position", lambda t: t[:, torch.randperm(t.shape[1])]),
    ),
    _kind(
        "the class token zeroed",
        "wt-zeroed",
        ("attentive",),
        _parameter(written.Attentive, "token", torch.zeros_like),
    ),
    _kind(
        "slopes of PReLU not loaded",
        "wt-not-loaded|wt-other-numbers|wt-scaled|g-activation",
        ("shuffled",),
        weight(nn.PReLU, lambda t: torch.rand_like(t)),
    ),
    _kind("directions drawn anew", "wt-not-loaded", ("shuffled",), _parameter(written.Likeness, "weight", _drawn)),
    _kind(
        "responses not loaded",
        "wt-zeroed",
        ("shuffled",),
        _parameter(written.Responses, "weight", torch.zeros_like),
    ),
    # Functions.
    _kind("slope of LeakyReLU", "g-activation", ("sliced",), _in(nn.LeakyReLU, negative_slope=0.01)),
    _kind("alpha of ELU", "g-activation", ("sliced",), _in(nn.ELU, alpha=1.0)),
    _kind("beta of Softplus", "g-activation", ("shuffled",), _in(nn.Softplus, beta=1.0)),
    _kind(
        "slope of a hard sigmoid", "g-activation|g-scale|wt-scaled", ("sliced",), _in(written.HardGate, slope=0.2)
    ),
    _kind("slope of quick GELU", "g-activation|g-scale", ("attentive",), _in(written.QuickGelu, slope=1.0)),
    _kind(
        "GELU for quick GELU",
        "g-activation|g-gelu-variant",
        ("attentive",),
        _swapped_for(written.QuickGelu, lambda p: nn.GELU()),
    ),
    _kind(
        "ReLU for GELU",
        "g-activation|g-gelu-variant",
        ("shuffled", "plain", "vision_transformer"),
        _swapped_for(nn.GELU, lambda p: nn.ReLU()),
    ),
    _kind("SiLU for Mish", "g-activation", ("shuffled",), _swapped_for(nn.Mish, lambda p: nn.SiLU())),
    _kind(
        "a hard swish of another slope",
        "g-activation|g-scale",
        ("sliced", "mobilenet_v3_small"),
        _swapped_for(nn.Hardswish, lambda p: Computed(lambda x: x * (0.2 * x + 0.5).clamp(0, 1))),
    ),
    _kind("tanh for SiLU", "g-activation", ("shuffled",), _swapped_for(nn.SiLU, lambda p: nn.Tanh())),
    _kind(
        "an activation left out",
        "g-activation|g-operation-missing",
        ("sliced", "attentive", "shuffled"),
        _swapped_for((nn.LeakyReLU, nn.PReLU, written.QuickGelu), lambda p: nn.Identity()),
    ),
    # Epsilons.
    _kind("epsilon of the root mean square", "g-norm-eps", ("attentive",), _in(written.RootMeanSquare, eps=0.05)),
    _kind("epsilon of the cosine", "g-norm-eps", ("shuffled",), _in(written.Likeness, eps=100.0)),
    _kind("epsilon of the responses", "g-norm-eps", ("shuffled",), _in(written.Responses, eps=1.0)),
    _kind(
        "epsilon of the layer norms",
        "g-norm-eps",
        ("attentive", "plain", "vision_transformer"),
        _in(nn.LayerNorm, eps=1e-3),
    ),
    _kind("epsilon of the group norm", "g-norm-eps", ("shuffled",), _in(nn.GroupNorm, eps=0.05)),
    _kind("offset of a reciprocal", "g-constant", ("shuffled",), _in(written.Inverse, offset=0.501)),
    # Windows.
    _kind("reflect made replicate", "g-pad-border", ("sliced",), _padded_by("replicate")),
    _kind("reflect made zeros", "g-pad-border", ("sliced",), _padded_by("zeros")),
    _kind(
        "zeros made reflect",
        "g-pad-border",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        _zeros_become("reflect"),
    ),
    Fault(
        "kind: zeros made circular",
        ("g-pad-border",),
        in_module(_zeros_become("circular")),
        ONNX,
        networks=("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
    ),
    _kind("average made maximum", "g-operation", ("sliced",), _in(written.Pooling, mode="max")),
    _kind(
        "maximum made average", "g-operation", ("sliced",), setting(written.Pooling, mode="average", divisor=None)
    ),
    Fault(
        "kind: divisor of an average pool lost",
        ("g-scale|g-avgpool-include-pad|g-operation",),
        lambda c, f: recipe(c),
        ONNX,
        reference=_of(setting(written.Pooling, divisor=5)),
        networks=("sliced",),
    ),
    Fault(
        "kind: epsilon of coremltools' reciprocal",
        ("g-norm-eps",),
        lambda c, f: recipe(c),
        ("mlprogram-fp32",),
        reference=_of(lambda m: replaced(m, written.Inverse, lambda part: Computed(_reciprocal))),
        networks=("shuffled",),
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
        both(in_module(_in(nn.LayerNorm, eps=1e-1)), lambda r: r.but(head=lambda x: 100 * x.softmax(1))),
        MODERN,
        networks=("attentive", "plain"),
    ),
    Fault(
        "kind: in percent, and a layer drawn anew",
        ("head-percent", "wt-not-loaded"),
        both(in_module(weight(nn.Conv2d, _drawn)), lambda r: r.but(head=lambda x: 100 * x.softmax(1))),
        MODERN,
        networks=("sliced", "resnet18"),
    ),
    _kind("ceil mode of a pool", "g-pool-ceil-shape", ("sliced",), setting(written.Pooling, ceil=False)),
    _kind("dilation left out", "g-attribute|g-pad-asymmetric", ("shuffled",), lambda m: _undilated(m)),
    _kind("groups mixed otherwise", "g-channel-order", ("shuffled",), _in(written.Mixing, groups=4)),
    _kind(
        "nearest for bilinear", "g-resize-mode", ("sliced",), setting(written.Resizing, mode="nearest", align=None)
    ),
    _kind("corners aligned", "g-resize-mode", ("sliced",), setting(written.Resizing, align=True)),
    # Structure.
    _kind("a slice scaled otherwise", "g-scale|wt-scaled", ("sliced",), _in(written.Fading, factor=0.5)),
    _kind(
        "a slice of other channels", "g-operation|wt-scaled|g-scale", ("sliced",), _in(written.Fading, channels=12)
    ),
    _kind("attention scaled otherwise", "g-scale", ("attentive",), _in(written.Attention, scale=0.125)),
    _kind("heads of attention", "g-operation|g-shape", ("attentive",), lambda m: _heads(m)),
    _kind(
        "an operation too many",
        "g-operation-added|g-scale",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        _behind(nn.BatchNorm2d, lambda x: x * 1.3),
    ),
    _kind(
        "values turned inside",
        "g-orientation|g-operation-added|pre-exif-orientation",
        ("sliced", "resnet18", "mobilenet_v3_small", "plain"),
        _behind(nn.BatchNorm2d, lambda x: x.transpose(2, 3)),
    ),
    _kind(
        "channels turned inside",
        "g-channel-order|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        _behind(nn.BatchNorm2d, lambda x: x.roll(1, 1)),
    ),
    _kind(
        "cut off inside",
        "g-clip|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        _behind(nn.BatchNorm2d, lambda x: x.clamp(-0.7, 0.9)),
    ),
    _kind(
        "shifted inside",
        "g-operation-added|g-operation",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        _behind(nn.BatchNorm2d, lambda x: x + 0.2),
    ),
    _kind(
        "rounded inside",
        "g-cast",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        _behind(nn.BatchNorm2d, lambda x: torch.round(x * 4) / 4),
    ),
    _kind(
        "made whole numbers inside",
        "g-cast|g-operation-added",
        ("sliced", "shuffled", "resnet18", "mobilenet_v3_small"),
        _behind(nn.BatchNorm2d, lambda x: (x * 16).to(torch.int32).float() / 16),
    ),
)


def _undilated(module: nn.Module) -> bool:
    convs = [c for c in each(module, nn.Conv2d) if c.dilation != (1, 1)]
    for conv in convs:
        conv.dilation, conv.padding = (1, 1), (1, 1)
    return bool(convs)


def _heads(module: nn.Module) -> bool:
    parts = each(module, written.Attention)
    for part in parts:
        part.heads = 8
    return bool(parts)
