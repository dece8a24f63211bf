"""What faults are injected into: two trained networks, and eight that were calibrated on the photos."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import nn

from conversion import Classifier
from conversion.guards.torchvision_guard import torchvision
from tests.faults import written

FIXTURES = Path(__file__).parents[2] / "fixtures"
PHOTOS, DIGITS = FIXTURES / "images" / "photos", FIXTURES / "images" / "digits"


class Plain(nn.Module):
    """Hold, in a straight line, what the others lack: padded and overhanging pools, GELU, a layer norm."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.pool = nn.AvgPool2d(3, 2, padding=1)
        self.depthwise = nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1, groups=24, bias=False), nn.BatchNorm2d(24))
        self.pointwise = nn.Sequential(nn.Conv2d(24, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
        self.overhang = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.last = nn.Sequential(nn.Conv2d(48, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.GELU())
        self.average = nn.AdaptiveAvgPool2d(1)
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        x = self.overhang(self.pointwise(self.depthwise(self.pool(self.stem(x)))))
        return self.head(self.norm(self.average(self.last(x)).flatten(1)))


def _vision_transformer() -> nn.Module:
    module: nn.Module = torchvision().models.VisionTransformer(
        image_size=96, patch_size=16, num_layers=3, num_heads=3, hidden_dim=48, mlp_dim=96, num_classes=8
    )
    # It starts with a head of zeros, which is left as it is until somebody trains it.
    nn.init.normal_(module.heads.head.weight, std=0.5)  # type: ignore[union-attr, arg-type]
    return module


@cache
def _models(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fixtures_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _trained(name: str) -> Classifier:
    found: Classifier = getattr(_models(FIXTURES / "models.py"), name)()
    return found


def calibrated(name: str, make: Callable[[], nn.Module]) -> Classifier:
    found: Classifier = _models(FIXTURES / "upgrade" / "models.py").calibrated(name, make)
    return found


def _torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision().models.get_model(name, weights=None, num_classes=8)


_MAKERS: Mapping[str, Callable[[], Classifier]] = {
    "mobilenet_v2_digits": lambda: _trained("mobilenet_v2_digits"),
    "efficientnet_lite0": lambda: _trained("efficientnet_lite0"),
    "resnet18": lambda: calibrated("resnet18", _torchvision("resnet18")),
    "mobilenet_v3_small": lambda: calibrated("mobilenet_v3_small", _torchvision("mobilenet_v3_small")),
    "shufflenet_v2": lambda: calibrated("shufflenet_v2", _torchvision("shufflenet_v2_x0_5")),
    "plain": lambda: calibrated("plain", lambda: Plain(8)),
    "vision_transformer": lambda: calibrated("vision_transformer", _vision_transformer),
    "sliced": lambda: calibrated("sliced", lambda: written.Sliced(8)),
    "attentive": lambda: calibrated("attentive", lambda: written.Attentive(8)),
    "shuffled": lambda: calibrated("shuffled", lambda: written.Shuffled(8)),
}
ARCHITECTURES = tuple(_MAKERS)


@cache
def classifier(name: str) -> Classifier:
    """Load an architecture, once."""
    return _MAKERS[name]()


def images_of(name: str) -> Path:
    """Return the directory of the images that tell its answers apart."""
    return DIGITS if name.endswith("digits") else PHOTOS


def many_images(name: str) -> list[Image.Image]:
    """Make three of each image: as it is, mirrored, and darker."""
    pictures = [Image.open(path).convert("RGB") for path in sorted(images_of(name).glob("*.*g"))]
    mirrored = [ImageOps.mirror(picture) for picture in pictures]
    return [*pictures, *mirrored, *(ImageEnhance.Brightness(picture).enhance(0.7) for picture in pictures)]
