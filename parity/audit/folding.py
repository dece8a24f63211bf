"""Which weights of a file are a convolution of PyTorch's with its batch norm folded in, told by their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import FOLDED
from parity.formats.editing import Edit, Editable
from parity.formats.graph import Graph, bias_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Fold:
    """Hold a convolution and the batch norm behind it, and where the file has what they are together.

    operation, place: what reads the kernel, and where; adder, its_place: what adds the bias, and where it reads it.
    kernel, bias: the convolution's own, float64; the rest: of the batch norm.
    """

    operation: str
    place: str
    adder: str
    its_place: str
    kernel: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    eps: float

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """Fold the batch norm into kernel and bias."""
        shape = (-1, *(1,) * (self.kernel.ndim - 1))
        # A channel that never varied needs its epsilon; without it the fold is infinite, and that is the fault.
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = self.gamma / np.sqrt(self.variance + self.eps)
            return self.kernel * scale.reshape(shape), (self.bias - self.mean) * scale + self.beta

    def swapped(self) -> Fold:
        """Exchange mean and variance, which cannot be below 0."""
        return replace(self, mean=self.variance, variance=np.abs(self.mean))


def refold(folds: list[Fold]) -> Edit:
    """Make the edit that writes folds into the file."""

    def edit(model: Editable) -> None:
        for fold in folds:
            kernel, bias = fold.folded()
            model.set_weight(fold.operation, fold.place, kernel)
            model.set_weight(fold.adder, fold.its_place, bias)

    return edit


def find_folds(module: torch.nn.Module, graph: Graph) -> Iterator[Fold]:
    """Find the folds of a file in the order of the module's parts; what is not folded is not among them."""
    import torch

    taken: set[str] = set()
    last: torch.nn.Module | None = None
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            last = part
        elif isinstance(part, torch.nn.BatchNorm2d) and isinstance(last, torch.nn.Conv2d):
            unplaced = _unplaced(last, part)
            placed = unplaced and _placed(unplaced, graph, taken)
            if placed:
                taken.add(placed.operation)
                yield placed
            last = None


def _unplaced(convolution: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d) -> Fold | None:
    if norm.running_mean is None or norm.running_var is None or norm.num_features != convolution.out_channels:
        return None
    count = norm.num_features
    return Fold(
        operation="",
        place="",
        adder="",
        its_place="",
        kernel=_array(convolution.weight),
        bias=np.zeros(count) if convolution.bias is None else _array(convolution.bias),
        gamma=np.ones(count) if norm.weight is None else _array(norm.weight),
        beta=np.zeros(count) if norm.bias is None else _array(norm.bias),
        mean=_array(norm.running_mean),
        variance=_array(norm.running_var),
        eps=float(norm.eps),
    )


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _placed(fold: Fold, graph: Graph, taken: set[str]) -> Fold | None:
    kernel, bias = fold.folded()
    consumers = graph.consumers()
    for operation in graph.operations:
        for place, array in operation.weights.items():
            if operation.name in taken or array.shape != kernel.shape or not _close(array, kernel):
                continue
            added = bias_of(operation, place, consumers, bias.size)
            if added and _close(added[0].weights[added[1]].reshape(-1), bias):
                adder, its_place = added
                return replace(fold, operation=operation.name, place=place, adder=adder.name, its_place=its_place)
    return None


def _close(actual: np.ndarray, wanted: np.ndarray) -> bool:
    return actual.shape == wanted.shape and bool(
        np.abs(actual - wanted).max(initial=0) <= FOLDED * max(float(np.abs(wanted).max(initial=0)), 1e-6)
    )
