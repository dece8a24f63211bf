"""A tiny classifier whose answers differ from picture to picture, its pictures, and what it converts to.

The file is also a factory by itself: tests of the command copy it to a directory of their own.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from conversion import Artifact, Classifier, Preprocessing, convert

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
PREPROCESSING = Preprocessing(size=(32, 32), resize=(32, 32))
COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 20), (20, 240, 240), (128, 128, 128))


class Tiny(torch.nn.Module):
    """Convolution, batch norm, an activation in place, pooling, a linear layer: what a real one has."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = torch.nn.BatchNorm2d(6)
        self.activation = torch.nn.ReLU(inplace=True)
        self.pool = torch.nn.AvgPool2d(4)
        self.linear = torch.nn.Linear(96, len(LABELS))
        generator = torch.Generator().manual_seed(94)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.pool(self.activation(self.norm(self.convolution(image))))
        logits: torch.Tensor = self.linear(torch.flatten(found, 1))
        return logits


class Swapped(Tiny):
    """The same, but for export by tracing: its file reads blue where red is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("other", self.convolution.weight.detach().flip(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        weight = self.other if torch.jit.is_tracing() else self.convolution.weight
        found = torch.nn.functional.conv2d(image, weight, self.convolution.bias, stride=2, padding=1)
        found = self.pool(self.activation(self.norm(found)))
        logits: torch.Tensor = self.linear(torch.flatten(found, 1))
        return logits


def tiny() -> Classifier:
    """Make the classifier, the same in every process."""
    return Classifier("tiny", Tiny().eval(), PREPROCESSING, LABELS)


def untrained() -> Classifier:
    """Make the same network with a head that has learnt nothing: an eighth for every class of every picture."""
    module = Tiny().eval()
    torch.nn.init.zeros_(module.linear.weight)
    torch.nn.init.zeros_(module.linear.bias)
    return Classifier("untrained", module, PREPROCESSING, LABELS)


def constant() -> Classifier:
    """Make the same network with a head that looks at nothing: one answer, and a sure one, to every picture."""
    module = Tiny().eval()
    with torch.no_grad():
        module.linear.weight.zero_()
        module.linear.bias.copy_(torch.arange(len(LABELS)))
    return Classifier("constant", module, PREPROCESSING, LABELS)


def swapped() -> Classifier:
    """Make one whose export is faulty; as all colours are normalised alike, their order is the only fault."""
    alike = replace(PREPROCESSING, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Classifier("swapped", Swapped().eval(), alike, LABELS)


def shifted() -> Classifier:
    """Make another model of the same shape: its head gives each class the answer of the next."""
    module = Tiny().eval()
    with torch.no_grad():
        for parameter in module.linear.parameters():
            parameter.copy_(parameter.roll(1, 0))
    return Classifier("shifted", module, PREPROCESSING, LABELS)


def pictures() -> list[Image.Image]:
    """Paint one picture per colour, each with noise of its own."""
    random = np.random.default_rng(0)
    noise = [random.integers(-20, 21, (32, 32, 3)) for _ in COLOURS]
    return [
        Image.fromarray(np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8))
        for colour, grain in zip(COLOURS, noise, strict=True)
    ]


def alike() -> list[Image.Image]:
    """Paint pictures that differ, all of one colour, to which the classifier gives one class."""
    random = np.random.default_rng(3)
    grains = [random.integers(-20, 21, (32, 32, 3)) for _ in range(4)]
    return [
        Image.fromarray(np.clip(np.array((250 - 25 * step, 20, 20)) + grain, 0, 255).astype(np.uint8))
        for step, grain in enumerate(grains)
    ]


def noises() -> list[Image.Image]:
    """Paint noise of several tints, to which the classifier gives several answers."""
    random = np.random.default_rng(4)
    tints = ((0, 0, 0), (90, 0, 0), (0, 0, 90), (0, 90, 0))
    return [
        Image.fromarray(np.clip(random.integers(0, 256, (32, 32, 3)) - np.array(tint), 0, 255).astype(np.uint8))
        for tint in tints
    ]


def save_pictures(directory: Path, paint: Callable[[], list[Image.Image]] = pictures) -> Path:
    """Write pictures as PNG files into a new directory."""
    directory.mkdir()
    for index, picture in enumerate(paint()):
        picture.save(directory / f"picture{index}.png")
    return directory


@cache
def converted(route: str, make: Callable[[], Classifier] = tiny) -> Artifact:
    """Convert once per process, into a directory that goes away with it; nothing of an earlier run is reused."""
    return convert(make(), route, _directory())


@cache
def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="coreml-parity-tests-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
