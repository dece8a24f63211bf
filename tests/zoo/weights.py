"""Weights of some seconds of training: each network learns to tell the fixtures' eight photos apart.

Weights that no training gave will not do. Their answers to all images are nearly the same, and stretching these
apart magnifies rounding with them: inception_v3 lost 1e-3 in fp32 and 0.9 in fp16 where, after 40 steps, it loses
3e-7 and 5e-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conversion import Classifier, Preprocessing
from conversion.answers import pick
from conversion.images import read_pixels
from tests.zoo.collection import CLASSES, Animal

if TYPE_CHECKING:
    import torch

PHOTOS = Path(__file__).parents[2] / "fixtures" / "images" / "photos"
SEED = 7
# Steps of training for networks of at most so many million weights: the largest take seconds a step.
STEPS = ((10, 60), (50, 40), (150, 16), (float("inf"), 4))
DECAY, SMOOTHING, CLIP = 0.02, 0.1, 1.0
# The second for networks that the first leaves with one answer to all photos: those without norms, and the largest.
RATES = (2e-3, 2e-4)
# By what share of the side a photo is moved about; how many batches give the batch norms their statistics.
SHIFT, NORM_BATCHES = 1 / 8, 6


@dataclass(frozen=True)
class Housed:
    """Hold a network with weights, ready to be converted. loss: of the last step of its training."""

    classifier: Classifier
    size: int
    loss: float


def house(animal: Animal) -> Housed:
    """Make a network for the smallest size that it takes, and train it."""
    import torch

    refusals = []
    for size in animal.sizes:
        torch.manual_seed(SEED)
        images = _photos(size)
        try:
            module = animal.make(size).eval()
            with torch.no_grad():
                logits = pick(module(images))
        except Exception as error:  # the network's own: it was not written for this size
            refusals.append(f"{size}: {' '.join(str(error).split())[:120]}")
            continue
        if logits.shape != (len(images), CLASSES):
            raise ValueError(f"{animal.name} answers logits of shape {list(logits.shape)}")
        loss = train(module, images, RATES[0])
        if not _tells_apart(module, images):
            torch.manual_seed(SEED)
            module = animal.make(size).eval()
            loss = train(module, images, RATES[1])
        return Housed(Classifier(animal.network, module.eval(), preprocessing(size), labels()), size, loss)
    raise ValueError(f"{animal.name} takes none of these sizes: {'; '.join(refusals[-2:])}")


def labels() -> tuple[str, ...]:
    """Name the classes: one a photo, and two that no photo has."""
    return tuple(f"class {letter}" for letter in "ABCDEFGHIJ"[:CLASSES])


def preprocessing(size: int) -> Preprocessing:
    """Return how the photos get to a network of this size."""
    return Preprocessing((size, size), resize=size)


def photos() -> list[Path]:
    """List the photos; the place of each is its class."""
    return sorted(PHOTOS.glob("*.jpg"))


def _tells_apart(module: torch.nn.Module, images: torch.Tensor) -> bool:
    """Say whether not all images are one class to a module."""
    import torch

    with torch.no_grad():
        return len(set(pick(module.eval()(images)).argmax(1).tolist())) > 1


def train(module: torch.nn.Module, images: torch.Tensor, rate: float = RATES[0]) -> float:
    """Let a module tell images apart, moved about and mirrored; return the last loss."""
    import torch
    from torch.nn import functional

    million = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    steps = next(number for most, number in STEPS if million <= most)
    generator = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    classes = torch.arange(len(images))
    module.train()
    for _ in range(steps):
        logits = pick(module(_varied(images, generator)))
        loss = functional.cross_entropy(logits, classes, label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimiser.step()
        schedule.step()
    _measure_norms(module, images, generator)
    module.requires_grad_(False)
    return float(loss.detach())


def _measure_norms(module: torch.nn.Module, images: torch.Tensor, generator: torch.Generator) -> None:
    """Give batch norms the statistics of the weights that training ended with."""
    import torch

    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(NORM_BATCHES if norms else 0):
            module(_varied(images, generator))


def _varied(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each image about, and mirror some."""
    import torch
    from torch.nn import functional

    height, width = images.shape[2:]
    most = round(height * SHIFT)
    wide = functional.pad(images, (most,) * 4, mode="reflect")
    rows = []
    for image in wide:
        down, right = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
        crop = image[:, down : down + height, right : right + width]
        rows.append(crop.flip(2) if torch.rand(1, generator=generator) < 0.5 else crop)
    return torch.stack(rows)


def _photos(size: int) -> torch.Tensor:
    import numpy as np
    import torch

    settings = preprocessing(size)
    pixels = np.stack([read_pixels(path, settings) for path in photos()])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (settings.mean, settings.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
