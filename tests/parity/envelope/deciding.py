"""The digits' network made unsafe on purpose: its head's weights are moved, and one unit in the last place decides.

All logits become larger by the same, which softmax takes off again, and fp16 has wide steps among large numbers.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from conversion import Classifier
from parity.suite.models import load_classifier

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "fixtures" / "images" / "digits"
# What a feature adds to every logit alike; there are hundreds of features, each of 0 to 6.
MOVED = 12.0


def digits() -> Classifier:
    """Load the trained network of the fixtures."""
    found = load_classifier(str(ROOT / "fixtures" / "models.py") + ":mobilenet_v2_digits")
    assert isinstance(found, Classifier)
    return found


def unsafe() -> Classifier:
    """Make the network with its head's weights moved; in fp32 it answers as before."""
    sound = digits()
    module = copy.deepcopy(sound.module)
    head: Any = module.classifier  # type: ignore[union-attr]
    with torch.no_grad():
        head[-1].weight += MOVED
    return Classifier("unsafe_digits", module.eval(), sound.preprocessing, sound.labels)


def between() -> list[Image.Image]:
    """Lay two digits over each other, in shares: somewhere between them the label changes."""
    scans = {
        path.name.split("_")[1]: np.asarray(Image.open(path).convert("RGB"), float)
        for path in sorted(DIGITS.glob("*.png"))
    }
    pairs = [("0", "6"), ("3", "8"), ("1", "7"), ("4", "9")]
    return [
        Image.fromarray(np.rint(share * scans[one] + (1 - share) * scans[other]).astype(np.uint8))
        for one, other in pairs
        for share in np.linspace(0.1, 0.9, 6)
    ]
