"""Weights that no training gave, and answers that are not flat all the same: seeded, and fitted to a few photos.

Batch norms get the statistics of the photos, so that no layer dies out or explodes. What the module answers is
moved and stretched, class by class, until the photos get different answers of which the network is fairly sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion import Classifier, Preprocessing
from conversion.answers import pick
from conversion.images import read_pixels
from tests.zoo.collection import CLASSES, SIZES, Animal

if TYPE_CHECKING:
    import torch

PHOTOS = Path(__file__).parents[2] / "fixtures" / "images" / "photos"
# How many of the photos are looked at, and how far the logits of a class are from each other over these.
IMAGES, SPREAD = 4, 3.0


@dataclass(frozen=True)
class Housed:
    """Hold a network with weights, ready to be converted."""

    classifier: Classifier
    size: int


def house(animal: Animal) -> Housed:
    """Make a network for the smallest size that it takes, and fit it to the photos."""
    import torch

    refusals = []
    for size in SIZES:
        torch.manual_seed(7)
        try:
            module = animal.make(size).eval()
            fitted = _fitted(module, _photos(size))
        except Exception as error:  # the network's own: it was not written for this size
            refusals.append(f"{size}: {' '.join(str(error).split())[:120]}")
            continue
        return Housed(Classifier(animal.network, fitted.eval(), preprocessing(size), labels()), size)
    raise ValueError(f"{animal.name} takes none of these sizes: {'; '.join(refusals[-2:])}")


def labels() -> tuple[str, ...]:
    """Name the classes."""
    return tuple(f"class {letter}" for letter in "ABCDEFGHIJ"[:CLASSES])


def preprocessing(size: int) -> Preprocessing:
    """Return how the photos get to a network of this size."""
    return Preprocessing((size, size), resize=size)


def photos() -> list[Path]:
    """List the photos that are looked at."""
    return sorted(PHOTOS.glob("*.jpg"))[:IMAGES]


def _photos(size: int) -> torch.Tensor:
    import numpy as np
    import torch

    settings = preprocessing(size)
    pixels = np.stack([read_pixels(path, settings) for path in photos()])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (settings.mean, settings.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std


def _fitted(module: torch.nn.Module, images: torch.Tensor) -> torch.nn.Module:
    import torch

    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this one batch
        norm.train()
    with torch.no_grad():
        if norms:
            module(images)
        module.eval()
        logits = pick(module(images))
    if logits.shape != (len(images), CLASSES):
        raise ValueError(f"logits of shape {list(logits.shape)}")
    centre = logits.mean(0)
    return _stretched(module, centre, SPREAD / (logits - centre).std(0).clamp_min(1e-12))


def _stretched(module: torch.nn.Module, centre: torch.Tensor, factor: torch.Tensor) -> torch.nn.Module:
    """Move and stretch what a module answers: (logits - centre) * factor."""
    import torch

    class Stretched(torch.nn.Module):
        centre: torch.Tensor
        factor: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = module
            self.register_buffer("centre", centre)
            self.register_buffer("factor", factor)

        def forward(self, image: torch.Tensor) -> Any:
            return (pick(self.network(image)) - self.centre) * self.factor

    return Stretched()
