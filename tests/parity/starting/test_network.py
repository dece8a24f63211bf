"""A bare network: its size is found by trying, and what is no classifier is refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conversion import ConversionError
from conversion.classifier import IMAGENET_MEAN, IMAGENET_STD
from parity import ParityError
from parity.starting.network import load_model
from tests.parity import tiny
from tests.parity.foreign import NAMES, program, softmax

NETWORKS = """
import torch


class Head(torch.nn.Module):
    def __init__(self, side, classes=3):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)
        self.linear = torch.nn.Linear(3 * side * side, classes)

    def forward(self, image):
        return self.linear(torch.flatten(self.norm(image), 1))


class Changed(Head):
    def __init__(self, change):
        super().__init__(32)
        self.change = change

    def forward(self, image):
        return self.change(super().forward(image))


def fresh(): return Head(96)
def seeded(make):
    torch.manual_seed(0)
    return make()
def head(): return seeded(fresh)
def any_size(): return seeded(lambda: torch.nn.Sequential(
    torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 7)
))
def grey(): return torch.nn.Conv2d(1, 3, 1)
def odd(): return Head(100)
def one_class(): return Head(32, 1)
def pair(): return Changed(lambda logits: (logits, logits))
def picture(): return Changed(lambda logits: logits[:, :, None, None])
def places(): return Changed(lambda logits: logits.argmax(1, keepdim=True).expand(-1, 3))
def probabilities(): return Changed(lambda logits: torch.softmax(logits, 1))
def quitter(): return Changed(lambda logits: exit(0))
def nothing(): return None
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETWORKS, encoding="utf-8")
    shutil.copy(tiny.__file__, tmp_path / "tiny_models.py")
    return tmp_path


def test_what_returns_a_classifier_is_taken_as_it_is(home: Path) -> None:
    model = load_model("tiny_models.py:tiny", home)

    assert (model.is_bare, model.assumptions) == (False, ())
    assert model.classifier.labels == tiny.LABELS


@pytest.mark.parametrize(
    ("function", "size", "resize", "classes"),
    [("head", 96, 110, 3), ("any_size", 224, 256, 7)],
)
def test_a_bare_network_is_wrapped_and_each_assumption_told(
    function: str, size: int, resize: int, classes: int, home: Path
) -> None:
    model = load_model(f"nets.py:{function}", home)

    preprocessing = model.classifier.preprocessing
    assert model.is_bare
    assert not model.classifier.module.training
    assert (preprocessing.size, preprocessing.resize) == ((size, size), resize)
    assert (preprocessing.mean, preprocessing.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert model.classifier.labels == tuple("0123456789"[:classes])
    told = "\n".join(model.assumptions)
    for part in (
        f"nets.py:{function} returns the trained network",
        f"size: {size}x{size}",
        f"resize: the shorter side to {resize}",
        "mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225",
        f"labels: by number, one for each of {classes} logits",
    ):
        assert part in told
    assert len(model.assumptions) == 5


def test_weights_that_change_from_call_to_call_are_told(home: Path) -> None:
    (told, *_) = load_model("nets.py:fresh", home).assumptions

    assert told == "nets.py:fresh returns other weights at each call, not trained ones; load its weights there"


def test_classes_are_called_as_a_finished_file_calls_them(home: Path) -> None:
    labelled = program(home / "labelled.mlpackage", None, softmax, labels=NAMES)

    model = load_model("tiny_models.py:Tiny", home, [labelled])

    assert model.classifier.labels == tiny.LABELS
    assert f"labels: those of {labelled}, taken to be in the order of the network" in model.assumptions[-1]
    assert load_model("nets.py:head", home, [labelled]).classifier.labels == ("0", "1", "2")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("grey", "takes no image [1, 3, H, W] of the sizes that were tried (224, 28, 32, "),
        ("odd", "at 224: RuntimeError: mat1 and mat2"),
        ("one_class", "torch.float32 [1, 1] to one image; a classifier answers logits, floats [1, classes]"),
        ("pair", "the network answers tuple, not logits [N, classes]; write a function that returns"),
        ("picture", "torch.float32 [1, 3, 1, 1] to one image"),
        ("places", "torch.int64 [1, 3] to one image"),
        ("probabilities", "let the function return the network without its softmax"),
        ("quitter", "raises SystemExit"),
        ("nothing", "returns a NoneType; a factory returns a conversion.Classifier"),
    ],
)
def test_what_is_no_classifier_is_refused(function: str, told: str, home: Path) -> None:
    with pytest.raises((ParityError, ConversionError)) as refusal:
        load_model(f"nets.py:{function}", home)

    assert told in str(refusal.value)
    assert str(refusal.value).startswith(f"nets.py:{function}: ")
    assert "\n" not in str(refusal.value)
