"""Ways to go wrong: changes of a module or of a recipe, from which the catalogue's faults are put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from conversion import Classifier
from tests.faults.deploying import Recipe, recipe

# What is converted, for a classifier and a format; None where the network has no place for the fault.
Change = Callable[[Classifier, str], Recipe | None]


def at_input(change: Callable[[Recipe, Any], Mapping[str, Any]]) -> Change:
    def changed(classifier: Classifier, format_name: str) -> Recipe | None:
        right = recipe(classifier)
        return right.but(**change(right, classifier.preprocessing))

    return changed


def scalar_std(classifier: Classifier, format_name: str) -> Recipe | None:
    statistics = classifier.preprocessing
    if len(set(statistics.std)) == 1:
        return None
    mean_std = sum(statistics.std) / 3
    return recipe(classifier).but(
        scale=(1 / (255 * mean_std),) * 3, bias=tuple(-mean / mean_std for mean in statistics.mean)
    )


def swapped(right: Recipe, statistics: Any) -> Mapping[str, Any]:
    return {"scale": right.scale[::-1], "bias": right.bias[::-1], "before": _blue_first}


def _blue_first(image: torch.Tensor) -> torch.Tensor:
    """Put blue where red was, by operations that every format has."""
    return torch.cat([image[:, i : i + 1] for i in (2, 1, 0)], dim=1)


def moved(order: Callable[[tuple[str, ...]], list[int]]) -> Change:
    """Give the classes other places: ONNX has no names, so there the answers move."""

    def changed(classifier: Classifier, format_name: str) -> Recipe | None:
        right = recipe(classifier)
        places = order(right.labels)
        if format_name == "onnx":
            index = torch.tensor(places)
            return right.but(head=lambda logits: torch.softmax(logits, dim=1).index_select(1, index))
        return right.but(labels=tuple(right.labels[places.index(i)] for i in range(len(places))))

    return changed


def renamed(change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Change:
    return lambda classifier, format_name: recipe(classifier).but(labels=change(classifier.labels))


def at_head(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda classifier, format_name: recipe(classifier).but(head=change)


def before_module(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda classifier, format_name: recipe(classifier).but(before=change)


def mirrored(image: torch.Tensor) -> torch.Tensor:
    """Mirror left to right."""
    return image.flip(3)


def in_module(change: Callable[[Any], bool | None]) -> Change:
    """Change a copy of the module; False says that there was nothing to change."""

    def changed(classifier: Classifier, format_name: str) -> Recipe | None:
        module = copy.deepcopy(classifier.module)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(3)
            if change(module) is False:
                return None
        return recipe(classifier, module)

    return changed


def each(module: nn.Module, kind: Any) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, kind)]


def replaced(module: nn.Module, kind: Any, make: Callable[[Any], nn.Module], at_most: int | None = None) -> bool:
    """Put something else in the place of parts of a kind."""
    found = [(parent, name, part) for parent in module.modules() for name, part in parent.named_children()]
    chosen = [(parent, name, part) for parent, name, part in found if isinstance(part, kind)][:at_most]
    for parent, name, part in chosen:
        setattr(parent, name, make(part))
    return bool(chosen)


def other_eps(module: nn.Module) -> bool:
    norms = each(module, (nn.BatchNorm2d, nn.LayerNorm))
    for norm in norms:
        norm.eps = norm.eps * 100 if norm.eps > 1e-5 else 1e-3
    return bool(norms)


def asymmetric(module: nn.Module) -> bool:
    """Pad at the right and at the bottom, as another framework does, where PyTorch pads all around."""
    for conv in each(module, nn.Conv2d):
        if conv.stride == (2, 2) and conv.padding == (1, 1) and conv.kernel_size == (3, 3):
            conv.padding = (0, 0)
            return replaced(module, only(conv), lambda part: nn.Sequential(nn.ZeroPad2d((0, 2, 0, 2)), part))
    return False


class _Only(type):
    """A kind that has one member."""

    member: Any

    def __instancecheck__(cls, instance: Any) -> bool:
        return instance is cls.member


def only(member: Any) -> Any:
    """Make a kind that has one member."""
    return _Only("Only", (), {"member": member})


def setting(kind: Any, at_most: int | None = None, **values: Any) -> Callable[[nn.Module], bool]:
    def change(module: nn.Module) -> bool:
        found = [part for part in each(module, kind) if any(getattr(part, k, v) != v for k, v in values.items())]
        for part in found[:at_most]:
            for name, value in values.items():
                setattr(part, name, value)
        return bool(found)

    return change


def padded_average(module: nn.Module) -> bool:
    pools = [pool for pool in each(module, nn.AvgPool2d) if pool.padding]
    for pool in pools:
        pool.count_include_pad = not pool.count_include_pad
    return bool(pools)


def _middle(module: nn.Module, kind: Any) -> Any:
    found = each(module, kind)
    return found[len(found) // 2] if found else None


def started_anew(module: nn.Module) -> bool:
    part = _middle(module, (nn.Conv2d, nn.Linear))
    part.reset_parameters()
    return True


def all_started_anew(module: nn.Module) -> None:
    for part in each(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)):
        part.reset_parameters()


def swapped_statistics(module: nn.Module) -> bool:
    norm = _middle(module, nn.BatchNorm2d)
    if norm is None:
        return False
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    norm.running_mean.copy_(variance)
    norm.running_var.copy_(mean.abs())
    return True


def foreign_bias(module: nn.Module) -> bool:
    """Give a batch norm what makes its folded bias the one of another: two convolutions share an initializer."""
    parts = each(module, (nn.Conv2d, nn.BatchNorm2d))
    norms = [(conv, norm) for conv, norm in pairwise(parts) if isinstance(norm, nn.BatchNorm2d)]
    pairs = [(a, b) for a, b in combinations(norms, 2) if a[1].num_features == b[1].num_features]
    if not pairs:
        return False
    first, second = pairs[len(pairs) // 2]
    first[1].bias.add_(_folded_bias(*second) - _folded_bias(*first))
    return True


def _folded_bias(conv: Any, norm: Any) -> torch.Tensor:
    offset = 0 if conv.bias is None else conv.bias
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded: torch.Tensor = (offset - norm.running_mean) * scale + norm.bias
    return folded


def quantised(bits: int) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        for part in each(module, (nn.Conv2d, nn.Linear)):
            step = part.weight.abs().max() / (2 ** (bits - 1) - 1)
            part.weight.copy_(torch.round(part.weight / step) * step)

    return change


def permuted_inputs(module: nn.Module) -> bool:
    for conv in each(module, nn.Conv2d)[1:]:
        if conv.groups == 1 and conv.in_channels > 3:
            conv.weight.copy_(conv.weight[:, torch.randperm(conv.in_channels)])
            return True
    return False


def scaled_up(classifier: Classifier) -> Classifier | None:
    """Let an activation pass what fp16 can hold, and take it back in the next layer; in fp32 nothing changes."""
    module: Any = copy.deepcopy(classifier.module)
    pairs = {"resnet18": ("bn1", "layer1.0.conv1"), "plain": ("stem.1", "depthwise.0")}
    if classifier.name not in pairs:
        return None
    norm, following = (module.get_submodule(path) for path in pairs[classifier.name])
    factor = 2.0**17
    with torch.no_grad():
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        following.weight.div_(factor)
        if classifier.name == "resnet18":
            # The first block adds what came in: its sum must be small again on both ways.
            module.layer1[0].bn2.weight.mul_(factor)
            module.layer1[0].bn2.bias.mul_(factor)
            for block in (module.layer1[1],):
                block.conv1.weight.div_(factor)
                block.bn2.weight.mul_(factor)
                block.bn2.bias.mul_(factor)
            module.layer2[0].conv1.weight.div_(factor)
            module.layer2[0].downsample[0].weight.div_(factor)
    return Classifier(classifier.name, module, classifier.preprocessing, classifier.labels)


class _Branching(nn.Module):
    """Answer otherwise for dark images: a branch in Python, which tracing freezes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        logits: torch.Tensor = self.module(x)
        return logits if x.mean() > -0.4 else -logits


def with_branch(classifier: Classifier) -> Classifier:
    branching = _Branching(classifier.module).eval()
    return Classifier(classifier.name, branching, classifier.preprocessing, classifier.labels)


def both(first: Change, second: Callable[[Recipe], Recipe]) -> Change:
    def changed(classifier: Classifier, format_name: str) -> Recipe | None:
        one = first(classifier, format_name)
        return None if one is None else second(one)

    return changed


def rolled(places: int) -> Callable[[tuple[str, ...]], list[int]]:
    return lambda labels: [(i - places) % len(labels) for i in range(len(labels))]


def shuffled(labels: tuple[str, ...]) -> list[int]:
    places: list[int] = torch.randperm(len(labels), generator=torch.Generator().manual_seed(5)).tolist()
    return places


def backwards(labels: tuple[str, ...]) -> list[int]:
    return list(range(len(labels)))[::-1]


def live_dropout(path: Path) -> None:
    """Put a dropout before the head of an ONNX file, in its parts: a Dropout as such ONNX Runtime leaves out."""
    model = onnx.load(str(path))
    nodes = model.graph.node
    place, head = [(i, node) for i, node in enumerate(nodes) if node.op_type in ("Gemm", "MatMul")][-1]
    for name, value in (("dropout.ratio", 0.4), ("dropout.scale", 1 / 0.6)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.float32), name))
    make = onnx.helper.make_node
    dropout = [
        make("RandomUniformLike", [head.input[0]], ["dropout.drawn"], seed=1.0),
        make("Greater", ["dropout.drawn", "dropout.ratio"], ["dropout.kept"]),
        make("Cast", ["dropout.kept"], ["dropout.mask"], to=onnx.TensorProto.FLOAT),
        make("Mul", [head.input[0], "dropout.mask"], ["dropout.some"]),
        make("Mul", ["dropout.some", "dropout.scale"], ["dropout.out"]),
    ]
    for node in dropout[::-1]:
        nodes.insert(place, node)
    head.input[0] = "dropout.out"
    onnx.save(model, str(path))
