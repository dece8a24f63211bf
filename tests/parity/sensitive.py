"""A tiny classifier that rounding moves on bright pictures alone, and pictures of which few are bright.

The file is also a factory by itself, as parity.tiny's is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from conversion import Classifier, Preprocessing

PREPROCESSING = Preprocessing(size=(16, 16), resize=(16, 16), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
# Past 64 pictures what rounding costs is measured on 64 of them, evenly spaced: these are none of those.
PICTURES, BRIGHT = 70, (11, 23, 34, 46, 58, 69)


class Sensitive(torch.nn.Module):
    """Tell which colour a picture has, by way of a sum with a large number that is taken off again.

    How large it is depends on how bright the picture is; in fp16 such a sum loses what is small in it.
    """

    def __init__(self, fault: float = 0.0) -> None:
        super().__init__()
        self.large = torch.nn.Parameter(torch.tensor([300.07, 111.03, 183.04]))
        self.fault = torch.nn.Parameter(torch.tensor([fault, 0.0, 0.0]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        means = image.mean(dim=(2, 3))
        bright = means.mean(dim=1, keepdim=True) ** 8
        large = self.large * bright
        logits: torch.Tensor = (large + 14.0 * means) - large
        return logits + self.fault * bright


def sensitive(fault: float = 0.0) -> Classifier:
    """Make the classifier, the same in every process; a fault moves its answers to bright pictures."""
    return Classifier("sensitive", Sensitive(fault).eval(), PREPROCESSING, ("red", "green", "blue"))


def picture(number: int) -> Image.Image:
    """Paint one of the pictures, all different."""
    random = np.random.default_rng(number)
    colour = np.full(3, 235 if number in BRIGHT else 90) + np.eye(3)[number % 3] * 20
    return Image.fromarray(np.clip(colour + random.integers(-9, 10, (16, 16, 3)), 0, 255).astype(np.uint8))


def save_pictures(directory: Path) -> Path:
    """Write all pictures into a new directory."""
    directory.mkdir(parents=True)
    for number in range(PICTURES):
        picture(number).save(directory / f"{number:03}.png")
    return directory
