"""A classifier whose every probability can be worked out by hand, and whose converted copy can be made to differ.

The logit of a colour is four times its share of the picture. So a red picture is red with e^4 / (e^4 + 2) = 0.9647,
and green with 0.01767. The file is a factory by itself: the tests copy it beside their suite files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from conversion import Classifier, Preprocessing

LABELS = ("red", "green", "blue")
PREPROCESSING = Preprocessing(size=(8, 8), resize=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Colours(torch.nn.Module):
    """Average each channel; converted, with other strengths or as another colour, as the test wants it."""

    def __init__(self, converted: Sequence[float], turned: int, log: str) -> None:
        super().__init__()
        self.log = log
        self.turned = turned
        self.strength = torch.nn.Parameter(torch.tensor([4.0, 4.0, 4.0]))
        self.register_buffer("converted", torch.tensor([4.0 * factor for factor in converted]))
        self.pool = torch.nn.AvgPool2d(8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        means = torch.flatten(self.pool(image), 1)
        if not torch.jit.is_tracing():
            return means * self.strength
        if self.log:
            with Path(self.log).open("a") as file:
                file.write("traced\n")
        logits = means * self.converted
        parts = [logits[:, 0:1], logits[:, 1:2], logits[:, 2:3]]
        return torch.cat(parts[-self.turned :] + parts[: -self.turned], 1) if self.turned else logits


def colours(converted: Sequence[float] = (1.0, 1.0, 1.0), turned: int = 0, log: str = "") -> Classifier:
    """Make the classifier.

    converted: what the converted copy's logits are multiplied by. turned: by how many places its labels are off.
    log: a file that gets a line for every time that the module is traced, which a conversion does.
    """
    return Classifier("colours", Colours(converted, turned, log).eval(), PREPROCESSING, LABELS)


def forgetful() -> Classifier:
    """Fail as a factory does whose weights are not there."""
    raise FileNotFoundError("weights.pth has not been downloaded")


def save_images(directory: Path) -> None:
    """Paint a picture of each colour."""
    directory.mkdir()
    for label in LABELS:
        Image.new("RGB", (8, 8), {"green": "lime"}.get(label, label)).save(directory / f"{label}.png")
