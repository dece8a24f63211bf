"""Tiny classifiers for tests, what they answer in float64, and how to run what they were converted into."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from PIL import Image

from conversion import Artifact, Classifier, Preprocessing
from conversion.guards.torchvision_guard import torchvision

LABELS = ("tench", "great white shark", "crane bird", "crane", "café", 'a "tabby"', "maillot, tank suit", "三毛猫")

# Three channels that nobody can swap, and no mean or std that could stand for another.
PREPROCESSING = Preprocessing(size=(32, 32), mean=(0.2, 0.5, 0.7), std=(0.15, 0.3, 0.6), resize=36)


class TinyNet(torch.nn.Module):
    """A strided convolution and a depthwise one, batch norm behind each, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU6(),
            torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
        )
        self.head = torch.nn.Linear(8, 8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image).mean(dim=(2, 3)))


class TinyEncoder(torch.nn.Module):
    """Patches, one encoder layer of torch's own, a linear head: what PyTorch's fused fast path is for."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 16, 8, stride=8)
        layer = torch.nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = torch.nn.Linear(16, 8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        return self.head(self.encoder(tokens).mean(dim=1))


def tiny(seed: int = 0, **changes: Any) -> Classifier:
    """Build a TinyNet classifier; the same seed gives the same weights. changes: other fields of Classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = TinyNet()
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(part.running_mean, -1, 1)
                torch.nn.init.uniform_(part.running_var, 0.5, 2)
                torch.nn.init.uniform_(part.weight, 0.5, 2)
                torch.nn.init.uniform_(part.bias, -0.5, 1)
        # A head as it comes answers 1/8 for every class, whatever the picture.
        torch.nn.init.normal_(module.head.weight, std=2)
    fields = {"name": "tiny", "module": module.eval(), "preprocessing": PREPROCESSING, "labels": LABELS}
    return Classifier(**{**fields, **changes})


def tiny_encoder() -> Classifier:
    """Build a TinyEncoder classifier whose weights need no gradients, as a released model's do not."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = TinyEncoder().eval().requires_grad_(False)
    return Classifier("tiny_encoder", module, PREPROCESSING, LABELS)


def photos(count: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Make uint8 pixels [count, H, W, 3] with all values, and with another colour in every picture."""
    generator = np.random.default_rng(1)
    tints = generator.uniform(0.1, 1, (count, 1, 1, 3))
    return (generator.integers(0, 256, (count, *size, 3)) * tints).astype(np.uint8)


def expected(classifier: Classifier, pixels: np.ndarray) -> np.ndarray:
    """Answer with torchvision's Normalize, the module, and softmax, all in float64: [N, classes]."""
    steps = classifier.preprocessing
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float64) / 255
    normalised = torchvision().transforms.Normalize(steps.mean, steps.std)(scaled)
    with torch.no_grad():
        logits = copy.deepcopy(classifier.module).double()(normalised).numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def answers(artifact: Artifact, pixels: np.ndarray) -> np.ndarray:
    """Run an artefact: [N, classes], for Core ML in the order of LABELS."""
    if artifact.format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])
        image = pixels.transpose(0, 3, 1, 2).astype(np.float32)
        (probabilities,) = session.run(["classLabelProbs"], {"image": image})
        return probabilities
    from parity.coreml import Evaluator

    evaluator = Evaluator(artifact.path)
    rows = [evaluator.predict({"image": Image.fromarray(picture)})["classLabelProbs"] for picture in pixels]
    return np.array([[row[label] for label in LABELS] for row in rows])
