"""A bare network: its size and its answers are tried, and what is no classifier is refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conversion import Classifier, ConversionError
from conversion.classifier import IMAGENET_MEAN, IMAGENET_STD
from parity import ParityError
from parity.backends.reference import make_reference
from parity.starting.models_text import models_text
from parity.starting.network import load_model
from parity.suite.images import load_images
from tests.parity import tiny
from tests.parity.foreign import NAMES, program, softmax

PHOTOS = Path(__file__).parents[3] / "fixtures" / "images" / "photos"
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
def grey(): return seeded(lambda: torch.nn.Sequential(
    torch.nn.Conv2d(1, 2, 3, bias=False), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 4)
))
def odd(): return Head(100)
def one_logit(): return seeded(lambda: Head(32, 1))
def one_probability(): return seeded(lambda: torch.nn.Sequential(Head(32, 1), torch.nn.Sigmoid()))
def dictionary(): return seeded(lambda: Changed(lambda logits: {"features": logits * 2, "logits": logits}))
def inside(): return seeded(lambda: Changed(lambda logits: torch.softmax(logits, 1)))
def apart(): return seeded(lambda: Changed(torch.sigmoid))
def strange(): return torch.nn.Conv2d(2, 3, 1)
def pair(): return Changed(lambda logits: (logits, logits))
def picture(): return Changed(lambda logits: logits[:, :, None, None])
def places(): return Changed(lambda logits: logits.argmax(1, keepdim=True).expand(-1, 3))
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

    assert model.assumptions is None
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
    assert model.assumptions is not None
    assert not model.classifier.module.training
    assert (preprocessing.size, preprocessing.resize) == ((size, size), resize)
    assert (preprocessing.mean, preprocessing.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert model.classifier.labels == tuple("0123456789"[:classes])
    told = "\n".join(model.assumptions.lines)
    for part in (
        f"nets.py:{function} returns the trained network",
        f"size: {size}x{size}",
        f"resize: the shorter side to {resize}",
        "mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225",
        f"labels: by number, one for each of {classes} classes",
        "answers: logits; the conversion adds softmax",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("function", "head", "labels", "about"),
    [
        ("dictionary", {}, 3, "logits; the conversion adds softmax"),
        ("inside", {"softmax": "inside"}, 3, "probabilities that add up to 1; nothing is added"),
        ("apart", {"sigmoid": "inside"}, 3, "a probability for each class by itself; nothing is added"),
        ("one_logit", {}, 2, "one logit, that of the second class"),
        ("one_probability", {"softmax": "inside"}, 2, "one probability, that of the second class"),
    ],
)
def test_what_a_bare_network_answers_is_tried(
    function: str, head: dict[str, str], labels: int, about: str, home: Path
) -> None:
    model = load_model(f"nets.py:{function}", home)

    assert model.head == head
    assert len(model.classifier.labels) == labels
    assert model.assumptions is not None
    assert model.assumptions.head == f"answers: {about}"
    # What models.py says makes the same classifier.
    (home / "models.py").write_text(models_text(model, model.assumptions), encoding="utf-8")
    written = load_model("models.py:classifier", home).classifier
    answers = [_answers(one) for one in (model.classifier, written)]
    assert np.array_equal(*answers)


def _answers(classifier: Classifier) -> np.ndarray:
    images = load_images([str(PHOTOS)], classifier.preprocessing)
    (answers,) = make_reference(classifier, images).prediction.outputs.values()
    return answers


def test_grey_images_are_tried_where_coloured_ones_do_not_fit(home: Path) -> None:
    model = load_model("nets.py:grey", home)

    preprocessing = model.classifier.preprocessing
    assert (preprocessing.channels, preprocessing.size) == (1, (224, 224))
    assert (preprocessing.mean, preprocessing.std) == ((0.5,), (0.5,))
    assert model.assumptions is not None
    assert model.assumptions.statistics == "mean 0.5 and std 0.5: those of grey images -1..1, for pixels 0..1"


def test_weights_that_change_from_call_to_call_are_told(home: Path) -> None:
    assumptions = load_model("nets.py:fresh", home).assumptions

    assert assumptions is not None
    told = "nets.py:fresh returns other weights at each call, not trained ones; load its weights there"
    assert assumptions.weights == told


def test_classes_are_called_as_a_finished_file_calls_them(home: Path) -> None:
    labelled = program(home / "labelled.mlpackage", None, softmax, labels=NAMES)

    model = load_model("tiny_models.py:Tiny", home, [labelled])

    assert model.classifier.labels == tiny.LABELS
    assert model.assumptions is not None
    assert f"labels: those of {labelled}, taken to be in the order of the network" in model.assumptions.labels
    assert load_model("nets.py:head", home, [labelled]).classifier.labels == ("0", "1", "2")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("strange", "takes no image [1, 3, H, W] or [1, 1, H, W] of the sizes that were tried (224, 28, 32, "),
        ("odd", "at 224: RuntimeError: mat1 and mat2"),
        ("pair", "the module answers a tuple of 0 [1, 3], 1 [1, 3]: name the one that counts by output=0; write a"),
        ("picture", "torch.float32 [1, 3, 1, 1] to one image"),
        ("places", "torch.int64 [1, 3] to one image"),
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
