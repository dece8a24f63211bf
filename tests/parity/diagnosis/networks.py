"""Three small classifiers whose answers differ from picture to picture: residual, depthwise, and a transformer's.

Seeded, not trained: batch norms hold the statistics of the pictures, and the heads are stretched.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from conversion import Artifact, Classifier, Preprocessing, convert
from parity.backends.reference import Reference, make_reference
from parity.suite.images import load_images

LABELS = tuple("abcdefgh")
SIZE = 32
PREPROCESSING = Preprocessing(size=(SIZE, SIZE), resize=(SIZE, SIZE))
EXPORTS = ("onnx", "onnx-torchscript", "mlprogram", "mlprogram-fp32", "onnx-coreml")


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, std=0.5)
    return norm


class Block(nn.Module):
    """The block of a ResNet, with the convolution that makes its short cut narrower: two read one tensor."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = _norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the two ways."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        result: torch.Tensor = self.relu(y + self.downsample(x))
        return result


class Residual(nn.Module):
    """A ResNet of two blocks behind a padded pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = _norm(8)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.layer1 = Block(8, 12, 1)
        self.layer2 = Block(12, 16, 2)
        self.fc = nn.Linear(16, len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        x = self.layer2(self.layer1(self.pool(self.relu(self.bn1(self.conv1(x))))))
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


class Depthwise(nn.Module):
    """A depthwise convolution, squeeze and excite, and activations with formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), _norm(16), nn.Hardswish(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), _norm(16), nn.ReLU6())
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Hardsigmoid()
        )
        self.project = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), _norm(16))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(1024, 24), nn.SiLU(), nn.Linear(24, len(LABELS)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        x = self.stem(x)
        y = self.depthwise(x)
        x = x + self.project(y * self.squeeze(y))
        logits: torch.Tensor = self.head(self.pool(x))
        return logits


class Attention(nn.Module):
    """A transformer's block: patches, positions, attention of two heads, GELU."""

    def __init__(self) -> None:
        super().__init__()
        width = 16
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.positions = nn.Parameter(torch.randn(1, 16, width))
        self.ln1 = nn.LayerNorm(width, eps=1e-6)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 40), nn.GELU(), nn.Linear(40, width))
        self.head = nn.Linear(width, len(LABELS))
        for part in self.modules():
            if isinstance(part, nn.LayerNorm):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, std=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        y = self.ln1(x)
        q, k, v = (f(y).reshape(-1, 16, 2, 8).transpose(1, 2) for f in (self.query, self.key, self.value))
        weights = (2 * q @ k.transpose(2, 3) * 8**-0.5).softmax(-1)
        x = x + self.project((weights @ v).transpose(1, 2).reshape(-1, 16, 16))
        x = x + self.mlp(self.ln2(x))
        logits: torch.Tensor = self.head(x.mean(1))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "depthwise": Depthwise,
    "attention": Attention,
}


def pictures(count: int = 6) -> list[Image.Image]:
    """Paint pictures with a colour, a gradient and noise of their own each."""
    random = np.random.default_rng(3)
    ramp = np.linspace(-60, 60, SIZE)
    painted = []
    for index in range(count):
        colour = random.integers(60, 196, 3)
        slope = ramp[:, None, None] if index % 2 else ramp[None, :, None]
        noise = random.integers(-40, 41, (SIZE, SIZE, 3))
        painted.append(Image.fromarray(np.clip(colour + slope + noise, 0, 255).astype(np.uint8)))
    return painted


@cache
def classifier(name: str) -> Classifier:
    """Make one of the three, calibrated over the pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        module = NETWORKS[name]().eval()
    pixels = load_images(pictures(), PREPROCESSING).pixels
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (PREPROCESSING.mean, PREPROCESSING.std))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
            part.train()
    head = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        module(images)
        answers = module.eval()(images)
        scale = 2 / answers.std(dim=0)
        head.bias.copy_((head.bias - answers.mean(dim=0)) * scale)
        head.weight.mul_(scale[:, None])
    return Classifier(name, module, PREPROCESSING, LABELS)


@cache
def reference(name: str) -> Reference:
    """Let PyTorch answer for the pictures."""
    return make_reference(classifier(name), load_images(pictures(), PREPROCESSING))


@cache
def converted(name: str, route: str) -> Artifact:
    """Convert once per process."""
    return convert(classifier(name), route, scratch())


@cache
def scratch() -> Path:
    """Make the directory in which all this process' files are."""
    directory = Path(tempfile.mkdtemp(prefix="coreml-parity-tests-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
