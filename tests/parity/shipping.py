"""What a team ships of a network that tells the photos apart: its own scripts, and five ways to break them."""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from conversion.guards.quiet import chatter_to
from parity.core.results import Subject
from parity.pipeline import run
from parity.suite.models import load_classifier
from parity.suite.suite import read_suite

Kind = Literal["callable", "command", "finished"]
KINDS: tuple[Kind, ...] = ("callable", "command", "finished")
# The edit of the script -> the faults that are named, each confirmed.
FAULTS: Mapping[str, Sequence[str]] = {
    "nothing": [],
    "scalar std": ["pre-scalar-std"],
    "BGR": ["pre-bgr-swap"],
    "labels sorted": ["lab-order-permuted"],
    "softmax forgotten": ["head-softmax-missing"],
    "wrong checkpoint": ["wt-not-loaded"],
}
BACKENDS = {"callable": "coreml-evaluator", "command": "onnxruntime", "finished": "onnxruntime"}

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "fixtures" / "images" / "photos"

# Labels whose order is not the alphabet's.
MODELS = f"""
import sys
from dataclasses import replace

import torch

sys.path.insert(0, {str(ROOT)!r})
from fixtures.upgrade.models import calibrated

STD = (0.229, 0.224, 0.225)
LABELS = ("violin", "lamp", "bridge", "kettle", "apple", "zebra", "daisy", "rocket")


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, 4, 2), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, 2, 1), torch.nn.BatchNorm2d(32), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 8),
    )


def photos():
    classifier = calibrated("photos", network)
    preprocessing = replace(classifier.preprocessing, std=STD)
    return replace(classifier, preprocessing=preprocessing, labels=LABELS)
"""

# Int8 weights for iOS 17. An image's one scale cannot hold a std for each channel, which the network divides by.
TO_COREML = """
import coremltools as ct
import coremltools.optimize.coreml as cto
import torch
from photo_models import network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Shipped(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module
        self.std = torch.tensor(STD).reshape(3, 1, 1)

    def forward(self, image):
        logits = self.module(image / self.std)
        return torch.softmax(logits, 1)


def convert(module, example, labels):
    traced = torch.jit.trace(Shipped(module).eval(), example)
    order = ct.colorlayout.RGB
    image = ct.ImageType("image", example.shape, scale=1 / 255, bias=[-m for m in MEAN], color_layout=order)
    model = ct.convert(
        traced,
        inputs=[image],
        classifier_config=ct.ClassifierConfig(list(labels)),
        minimum_deployment_target=ct.target.iOS17,
    )
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(mode="linear_symmetric"))
    return cto.linear_quantize_weights(model, config)
"""

# Pixels in, probabilities out. ONNX has no place for labels: classes come in the order of this list.
TO_ONNX = """
import sys

import torch
from photo_models import LABELS, network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Shipped(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module
        self.mean = torch.tensor(MEAN).reshape(3, 1, 1)
        self.std = torch.tensor(STD).reshape(3, 1, 1)
        self.order = [LABELS.index(label) for label in list(LABELS)]

    def forward(self, image):
        image = (image / 255 - self.mean) / self.std
        logits = self.module(image)[:, self.order]
        return torch.softmax(logits, 1)


def main(weights, output):
    module = network()
    module.load_state_dict(torch.load(weights))
    export(module, output)


def export(module, output):
    names = {"input_names": ["photo"], "output_names": ["probabilities"]}
    pixels = 255 * torch.rand(1, 3, 96, 96)
    torch.onnx.export(Shipped(module).eval(), (pixels,), output, opset_version=17, dynamo=False, **names)


if __name__ == "__main__":
    main(*sys.argv[1:])
"""

_SEED = "torch.manual_seed(1)"
# What is done to a script -> the line as it was, and as it is.
COREML_EDITS: Mapping[str, tuple[str, str]] = {
    "nothing": ("", ""),
    "scalar std": ("image / self.std", "image / 0.226"),
    "BGR": ("colorlayout.RGB", "colorlayout.BGR"),
    "labels sorted": ("list(labels)", "sorted(labels)"),
    "softmax forgotten": ("torch.softmax(logits, 1)", "logits"),
    "wrong checkpoint": ("    traced =", f"    {_SEED}\n    module = network()\n    traced ="),
}
ONNX_EDITS: Mapping[str, tuple[str, str]] = {
    "nothing": ("", ""),
    "scalar std": ("/ self.std", "/ 0.226"),
    "BGR": ("image / 255", "image.flip(1) / 255"),
    "labels sorted": ("list(LABELS)", "sorted(LABELS)"),
    "softmax forgotten": ("torch.softmax(logits, 1)", "logits"),
    "wrong checkpoint": ("    export(module, output)", f"    {_SEED}\n    export(network(), output)"),
}
_CONVERTERS: Mapping[Kind, str] = {
    "callable": 'convert = "to_coreml.py:convert"\nsuffix = ".mlpackage"\n',
    "command": 'command = ["python", "to_onnx.py", "{weights}", "{output}"]\nsuffix = ".onnx"\n'
    'depends = ["photo_models.py"]\ninside = ["normalise", "softmax"]\n',
}


def lay_out_shipping(directory: Path, kind: Kind, edit: str = "nothing") -> Path:
    """Write a team's directory, its script broken by one edit, and return the suite file.

    A finished file has to be put at `build/photos.onnx`, as the ONNX script writes it.
    """
    (directory / "photo_models.py").write_text(MODELS, encoding="utf-8")
    for name, script, edits in (("to_coreml", TO_COREML, COREML_EDITS), ("to_onnx", TO_ONNX, ONNX_EDITS)):
        before, after = edits[edit]
        assert before in script
        (directory / f"{name}.py").write_text(script.replace(before, after, 1), encoding="utf-8")
    suite = directory / "parity.toml"
    converter = f"[converters.ship]\n{_CONVERTERS[kind]}\n" if kind in _CONVERTERS else ""
    how = 'routes = ["ship"]' if converter else 'artifacts = ["build/photos.onnx"]'
    suite.write_text(
        f'images = ["{PHOTOS}/*.jpg"]\n\n{converter}[models.photos]\nfactory = "photo_models.py:photos"\n{how}\n',
        encoding="utf-8",
    )
    return suite


def judged(directory: Path, kind: Kind, edit: str) -> Subject:
    suite = read_suite(lay_out_shipping(directory, kind, edit))
    if kind == "finished":
        write_finished(directory)
    result = run(suite, backends=[BACKENDS[kind]], artifacts=directory / ".parity")
    (subject,) = result.subjects
    return subject


def write_finished(directory: Path) -> None:
    """Convert as the team does beforehand: its script runs in this process."""
    (directory / "build").mkdir()
    (entry,) = read_suite(directory / "parity.toml").models
    classifier = load_classifier(entry.factory, entry.arguments, entry.name, directory)
    with pytest.MonkeyPatch.context() as patch, chatter_to():
        patch.syspath_prepend(directory)
        script = runpy.run_path(str(directory / "to_onnx.py"))
        import torch

        weights = directory / "weights.pt"
        torch.save(classifier.module.state_dict(), weights)
        script["main"](weights, str(directory / "build" / "photos.onnx"))


def named(subject: Subject) -> list[tuple[str, bool]]:
    return [(diagnosis.fault, diagnosis.confirmed) for diagnosis in subject.diagnoses]


def check_named(directory: Path, kind: Kind, edit: str) -> None:
    """Assert that what is right passes, and that a breakage fails and is named."""
    subject = judged(directory, kind, edit)

    assert subject.verdict == ("fail" if FAULTS[edit] else "pass"), subject.reason
    assert named(subject) == [(fault, True) for fault in FAULTS[edit]]
