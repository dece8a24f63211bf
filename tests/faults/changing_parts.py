"""Ways to change one part of a module: a weight, a setting, a function, or what stands behind it."""

from __future__ import annotations

import copy
import gc
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conversion import Classifier
from conversion.guards.quiet import import_coremltools
from tests.faults import written
from tests.faults.changing import each, only, replaced

_Weights = Callable[[torch.Tensor], torch.Tensor]


def chosen(module: nn.Module, kind: Any, fits: Callable[[Any], bool] = lambda part: True) -> Any:
    """Choose the middle one of the parts of a kind; None where there is none."""
    parts = [part for part in each(module, kind) if fits(part)]
    return parts[len(parts) // 2] if parts else None


def weight(
    kind: Any, change: _Weights, name: str = "weight", fits: Callable[[Any], bool] = lambda part: True
) -> Callable[[nn.Module], bool]:
    """Change a weight of one part of a kind."""

    def changed(module: nn.Module) -> bool:
        part = chosen(module, kind, lambda one: getattr(one, name, None) is not None and fits(one))
        if part is None:
            return False
        tensor = getattr(part, name)
        tensor.copy_(change(tensor.clone()))
        return True

    return changed


def shuffled_rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[torch.randperm(len(tensor))]


def shuffled_columns(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[:, torch.randperm(tensor.shape[1])]


def drawn(tensor: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(tensor) * tensor.std()


def one_scaled(tensor: torch.Tensor) -> torch.Tensor:
    tensor[len(tensor) // 3] *= 4
    return tensor


def is_depthwise(conv: Any) -> bool:
    return bool(conv.groups == conv.in_channels > 1)


def is_grouped(conv: Any) -> bool:
    return bool(1 < conv.groups < conv.in_channels)


def is_dense(conv: Any) -> bool:
    return bool(conv.groups == 1 and conv.in_channels > 3)


def is_wide(conv: Any) -> bool:
    return is_dense(conv) and conv.kernel_size[0] > 1


def is_square(linear: Any) -> bool:
    return bool(linear.in_features == linear.out_features)


def statistics_not_loaded(module: nn.Module) -> bool:
    norm = chosen(module, nn.BatchNorm2d)
    if norm is None:
        return False
    norm.reset_running_stats()
    return True


def one_statistic_not_loaded(module: nn.Module) -> bool:
    norm = chosen(module, nn.BatchNorm2d)
    if norm is None:
        return False
    norm.running_mean.zero_()
    return True


def swapped_for(kind: Any, make: Callable[[Any], nn.Module], first: bool = False) -> Callable[[nn.Module], bool]:
    return lambda module: replaced(module, kind, make, 1 if first else None)


class Computed(nn.Module):
    """Compute a function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute it."""
        return self.function(x)


def behind(kind: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module], bool]:
    """Put a function behind one part of a kind."""

    def change(module: nn.Module) -> bool:
        part = chosen(module, kind)
        if part is None:
            return False
        return replaced(module, only(part), lambda own: nn.Sequential(own, Computed(function)), 1)

    return change


def padded_by(mode: str) -> Callable[[nn.Module], bool]:
    def change(module: nn.Module) -> bool:
        convs = [c for c in each(module, nn.Conv2d) if c.padding_mode == "reflect"]
        for conv in convs:
            conv.padding_mode = mode
        return bool(convs)

    return change


def zeros_become(mode: str) -> Callable[[nn.Module], bool]:
    def change(module: nn.Module) -> bool:
        conv = chosen(module, nn.Conv2d, lambda c: c.padding == (1, 1) and c.padding_mode == "zeros")
        if conv is None:
            return False
        conv.padding_mode = mode
        return True

    return change


def small_squares(module: nn.Module) -> bool:
    """Take root mean squares of numbers that fp16 holds and whose squares it does not."""

    def rooted(x: torch.Tensor) -> torch.Tensor:
        return x / ((x * 2e-4).square().mean(-1, keepdim=True).sqrt() * 5e3 + 1e-3)

    return replaced(module, written.RootMeanSquare, lambda own: Computed(rooted))


def faint_tokens(module: nn.Module) -> bool:
    """Let the layer norms read numbers so small that an epsilon of 1e-6 is felt."""
    return replaced(
        module,
        nn.LayerNorm,
        lambda own: nn.Sequential(Computed(lambda x: x * 3e-3), nn.LayerNorm(len(own.weight), 1e-6)),
    )


def reciprocal(x: torch.Tensor) -> torch.Tensor:
    return torch.reciprocal(x.abs() + 0.05)


def in_both(change: Callable[[Any], bool | None]) -> Callable[[Classifier], Classifier | None]:
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
    # coremltools leaves temporary directories to the collector, whose warning would reach another test.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        _palettise(path)
        gc.collect()


def _palettise(path: Path) -> None:
    ct = import_coremltools()
    config = ct.optimize.coreml.OptimizationConfig(
        global_config=ct.optimize.coreml.OpPalettizerConfig(mode="kmeans", nbits=6, weight_threshold=64)
    )
    small = ct.optimize.coreml.palettize_weights(ct.models.MLModel(str(path), skip_model_load=True), config)
    shutil.rmtree(path)
    small.save(str(path))


def parameter(kind: Any, name: str, change: _Weights) -> Callable[[nn.Module], bool]:
    return weight(kind, change, name)


def undilated(module: nn.Module) -> bool:
    convs = [c for c in each(module, nn.Conv2d) if c.dilation != (1, 1)]
    for conv in convs:
        conv.dilation, conv.padding = (1, 1), (1, 1)
    return bool(convs)


def other_heads(module: nn.Module) -> bool:
    parts = each(module, written.Attention)
    for part in parts:
        part.heads = 8
    return bool(parts)
