"""A small network for handwritten digits, trained in seconds, and conversions of it with a small fault each.

The file is copied beside a suite, which names its functions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from conversion import Classifier, Preprocessing

SIDE, LABELS = 32, tuple("0123456789")
WEIGHTS = "digits.pt"
SEED = 20


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64)
        blocks = []
        for before, after in pairwise(widths):
            convolution = torch.nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            blocks += [convolution, torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
        self.features = torch.nn.Sequential(*blocks)
        self.head = torch.nn.Linear(64 * (SIDE // 8) ** 2, len(LABELS))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.flatten(self.features(image), 1))
        return logits


def picture(digit: np.ndarray, number: int) -> Image.Image:
    """Draw a digit of 8 by 8 as one of any number of pictures: moved, turned, dimmed, in noise."""
    random = np.random.default_rng((SEED, number))
    grey = Image.fromarray(np.uint8(digit * 15.9)).resize((24, 24), Image.Resampling.BICUBIC)
    grey = grey.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR)
    canvas = np.zeros((SIDE, SIDE))
    top, left = random.integers(0, SIDE - 23, 2)
    canvas[top : top + 24, left : left + 24] = np.asarray(grey, np.float64)
    colour, light = random.uniform(0.4, 1, 3), random.uniform(0.3, 1)
    noisy = light * canvas[..., None] * colour + random.normal(0, random.uniform(5, 45), (SIDE, SIDE, 3)) + 40
    return Image.fromarray(np.uint8(np.clip(noisy, 0, 255)))


def train(digits: np.ndarray, targets: np.ndarray, path: Path, pictures: int, epochs: int) -> None:
    """Train on pictures that no run sees, and save the weights."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    chosen = random.integers(0, len(digits), pictures)
    pixels = np.stack([np.asarray(picture(digits[one], 10**6 + place)) for place, one in enumerate(chosen)])
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    labels = torch.from_numpy(targets[chosen]).long()
    net = Net()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(pictures).split(128):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    torch.save(net.state_dict(), path)


def digits() -> Classifier:
    """Return the trained classifier."""
    net = Net()
    net.load_state_dict(torch.load(Path(__file__).with_name(WEIGHTS)))
    half = (0.5, 0.5, 0.5)
    return Classifier(
        "digits", net.eval(), Preprocessing(size=(SIDE, SIDE), resize=(SIDE, SIDE), mean=half, std=half), LABELS
    )


def sound(module: Any, example: Any, labels: Any) -> Any:
    """Convert as it is."""
    return converted(module, example, labels, lambda net: None)


def darker(module: Any, example: Any, labels: Any) -> Any:
    """Convert with a std that is 2 % off."""
    return converted(module, example, labels, lambda net: None, std=0.51)


def coarser(module: Any, example: Any, labels: Any) -> Any:
    """Convert with 4 bits for the weights of the middle convolution."""

    def change(net: Any) -> None:
        weight = net.features[3].weight
        step = weight.abs().flatten(1).amax(1).view(-1, 1, 1, 1) / 7
        weight.copy_((weight / step).round() * step)

    return converted(module, example, labels, change)


def biased(module: Any, example: Any, labels: Any) -> Any:
    """Convert with the bias of one digit too small."""

    def change(net: Any) -> None:
        net.head.bias[8] -= 1.0

    return converted(module, example, labels, change)


def converted(module: Any, example: Any, labels: Any, change: Callable[[Any], None], std: float = 0.5) -> Any:
    import coremltools as ct

    net = copy.deepcopy(module)
    with torch.no_grad():
        change(net)
    traced = torch.jit.trace(torch.nn.Sequential(net, torch.nn.Softmax(dim=1)).eval(), (example / 255 - 0.5) / 0.5)
    image = ct.ImageType(name="image", shape=example.shape, scale=1 / (255 * std), bias=[-0.5 / std] * 3)
    return ct.convert(traced, inputs=[image], classifier_config=ct.ClassifierConfig(list(labels)))
