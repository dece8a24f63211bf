"""Classifiers with other heads, other answers and grey images agree with PyTorch by the routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Classifier, ConversionError, Preprocessing, convert
from parity.backends.reference import make_reference
from parity.core.errors import ParityError
from parity.core.results import Subject
from parity.pipeline import check, run
from parity.suite.images import load_images
from parity.suite.suite import read_suite
from tests.parity.tiny import pictures, tiny

ROUTES = {
    "onnx-torchscript": "onnxruntime",
    "mlprogram-fp32": "coreml-evaluator",
    "onnx-coreml": "coreml-evaluator",
}


class After(torch.nn.Module):
    """Follow a module by a function."""

    def __init__(self, module: torch.nn.Module, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, image: torch.Tensor) -> Any:
        return self.function(self.module(image))


def after(function: Callable[[torch.Tensor], Any]) -> torch.nn.Module:
    return After(tiny().module, function).eval()


class Grey(torch.nn.Module):
    """Tell grey images of another height than width apart: means of six fields."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d((2, 3))
        self.linear = torch.nn.Linear(6, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-3, 3, 24).sin().reshape(4, 6) * 3)
            self.linear.bias.zero_()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.linear(self.pool(image).flatten(1))
        return pooled


def grey() -> Classifier:
    preprocessing = Preprocessing((40, 60), mean=(0.5,), std=(0.25,), resize=(40, 60))
    return Classifier("grey", Grey().eval(), preprocessing, ("n", "e", "s", "w"))


KINDS: Mapping[str, Callable[[], Classifier]] = {
    "labels apart": lambda: replace(tiny(), sigmoid="added"),
    "sigmoid inside": lambda: replace(tiny(), module=after(torch.sigmoid), sigmoid="inside"),
    "softmax inside": lambda: replace(tiny(), module=after(lambda x: x.softmax(1)), softmax="inside"),
    "one logit": lambda: replace(tiny(), module=after(lambda x: x[:, :1] - x[:, 1:2]), labels=("cat", "dog")),
    "one probability": lambda: replace(
        tiny(), module=after(lambda x: (x[:, :1] - x[:, 1:2]).sigmoid()), softmax="inside", labels=("cat", "dog")
    ),
    "two labels apart": lambda: replace(
        tiny(), module=after(lambda x: x[:, :2]), sigmoid="added", labels=("a", "b")
    ),
    "a dict": lambda: replace(tiny(), module=after(lambda x: {"logits": x, "features": 2 * x})),
    "the second of a tuple": lambda: replace(tiny(), module=after(lambda x: (x[:, :2], x)), output=1),
    "grey": grey,
}


def judged(classifier: Classifier, route: str, directory: Path, image: Any = None) -> Subject:
    artifact = convert(classifier, route, directory)
    (subject,) = check(classifier, artifact, image or pictures(), [ROUTES[route]]).subjects
    return subject


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_agrees_by_each_route(kind: str, route: str, tmp_path: Path) -> None:
    subject = judged(KINDS[kind](), route, tmp_path)

    assert subject.verdict == "pass", subject.reason


def pixels() -> np.ndarray:
    return load_images(pictures(), tiny().preprocessing).pixels


def test_labels_apart_are_sigmoids_of_the_logits() -> None:
    classifier = tiny()
    preprocessing = classifier.preprocessing
    image = torch.from_numpy((pixels() / 255 - preprocessing.mean) / preprocessing.std).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        logits = classifier.module(image).numpy().astype(np.float64)

    own = make_reference(replace(classifier, sigmoid="added"), load_images(pictures(), preprocessing)).prediction

    np.testing.assert_allclose(own.outputs["labelProbs"], 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_a_label_of_its_own_that_changes_is_a_flip_and_shows(tmp_path: Path) -> None:
    classifier = replace(tiny(), sigmoid="added")
    shifted = after(lambda x: x + torch.tensor([0.0, 0, 30, 0, 0, 0, 0, 0]))
    artifact = convert(replace(classifier, module=shifted), "onnx-torchscript", tmp_path)

    (subject,) = check(classifier, artifact, pictures(), ["onnxruntime"]).subjects

    assert subject.verdict == "fail"
    worst = next(case for case in subject.cases if case.verdict == "flip")
    assert worst.worst_label == classifier.labels[2]
    assert worst.outputs[0].output == "labelProbs"
    assert worst.reference.label != worst.candidate.label


def test_of_one_logit_the_second_label_has_the_sigmoid() -> None:
    classifier = KINDS["one logit"]()
    own = make_reference(classifier, load_images(pictures(), classifier.preprocessing)).prediction.probabilities

    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-6)
    reversed_one = replace(classifier, module=after(lambda x: x[:, 1:2] - x[:, :1]))
    turned = make_reference(
        reversed_one, load_images(pictures(), classifier.preprocessing)
    ).prediction.probabilities
    np.testing.assert_allclose(own, turned[:, ::-1], atol=1e-6)


def test_grey_is_that_of_the_standard_and_its_image_input_is_grey(tmp_path: Path) -> None:
    import coremltools as ct

    shown = load_images(pictures(), grey().preprocessing).pixels
    colours = load_images(pictures(), replace(grey().preprocessing, mean=(0.5,) * 3, std=(0.25,) * 3)).pixels
    luma = colours @ np.array([0.299, 0.587, 0.114])
    # One rounding before the resize and one behind it.
    assert shown.shape == (*colours.shape[:3], 1)
    assert np.abs(shown[..., 0] - luma).max() <= 2

    specification = ct.models.MLModel(
        str(convert(grey(), "mlprogram", tmp_path).path), skip_model_load=True
    ).get_spec()
    image = specification.description.input[0].type.imageType
    assert (image.colorSpace, image.height, image.width) == (image.GRAYSCALE, 40, 60)


def test_a_grey_model_without_its_normalisation_is_named(tmp_path: Path) -> None:
    bare = replace(grey(), preprocessing=replace(grey().preprocessing, mean=(0.0,), std=(1 / 255,)))
    for route in ("onnx-torchscript", "mlprogram-fp32"):
        artifact = convert(bare, route, tmp_path)
        (subject,) = check(grey(), artifact, pictures(), [ROUTES[route]]).subjects

        assert subject.verdict == "fail"
        assert [d.fault for d in subject.diagnoses if d.confirmed] == ["pre-missing-normalise"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"softmax": "inside"}, "softmax is stated to be inside the module, but its answers are no probabilities"),
        ({"sigmoid": "inside"}, "sigmoid is stated to be inside the module, but its answers are no probabilities"),
        ({"softmax": "outside"}, "softmax is `added` by the conversion or `inside` the module, not 'outside'"),
        ({"softmax": "inside", "sigmoid": "added"}, "softmax is inside and sigmoid follows"),
        ({"output": 1.5}, "output is a name or a place in a tuple, not 1.5"),
        ({"output": "logits"}, "output is 'logits', but the module answers one tensor"),
        ({"sigmoid": "added", "labels": ("cat", "dog")}, "2 labels for a model with 8 outputs"),
        (
            {"module": "one", "sigmoid": "added", "labels": ("cat", "dog")},
            "decides between the two, leave sigmoid out",
        ),
        ({"module": "one", "softmax": "inside", "labels": ("cat", "dog")}, "its answers are no probabilities"),
        ({"module": "tuple"}, "the module answers a tuple of 0 \\[4, 2\\], 1 \\[4, 8\\]: name the one that counts"),
        ({"module": "dict", "output": "logit"}, "did you mean logits\\?"),
        ({"module": "none"}, "a list, in which there is no tensor"),
        ({"module": "sigmoid", "sigmoid": "added"}, "lie between 0 and 1 .* so sigmoid would be applied twice"),
        ({"module": "softmax"}, 'or state softmax="inside"'),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(change: dict[str, Any], told: str) -> None:
    modules = {
        "tuple": after(lambda x: (x[:, :2], x)),
        "dict": after(lambda x: {"logits": x, "features": 2 * x}),
        "none": after(lambda x: ["nothing"]),
        "one": after(lambda x: 5 * x[:, :1]),
        "sigmoid": after(torch.sigmoid),
        "softmax": after(lambda x: x.softmax(1)),
    }
    changed = {**change, **({"module": modules[change["module"]]} if "module" in change else {})}

    with pytest.raises(ConversionError, match=told) as refusal:
        make_reference(replace(tiny(), **changed), load_images(pictures(), tiny().preprocessing))

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5, 0.5)), ((0.5, 0.5), (0.5, 0.5)), ((), ())])
def test_a_mean_and_a_std_each_for_colours_or_for_grey(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ConversionError, match="or one of each for grey images"):
        Preprocessing(mean=mean, std=std)


SUITE = """
images = ["photos/*.png"]

[models.inside]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]
{keys}
"""
MODELS = """
from dataclasses import replace

import torch

import tests.parity.tiny


class Both(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, image):
        logits = self.module(image)
        return logits[:, :2], logits.softmax(1)


def tiny():
    classifier = tests.parity.tiny.tiny()
    return replace(classifier, module=Both(classifier.module).eval())
"""


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('softmax = "inside"\noutput = 1', ""),
        ("output = 1", 'or state softmax="inside"'),
        ('softmax = "inside"', "name the one that counts by output=0"),
        ('softmax = "insid"\noutput = 1', "insid"),
    ],
)
def test_the_suite_file_says_it_in_the_place_of_the_factory(keys: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    (tmp_path / "parity.toml").write_text(SUITE.format(keys=keys), encoding="utf-8")

    def result() -> list[str]:
        suite = read_suite(tmp_path / "parity.toml")
        done = run(suite, backends=["onnxruntime"], artifacts=tmp_path / "artifacts")
        return [subject.verdict for subject in done.subjects]

    if told:
        with pytest.raises((ParityError, ConversionError), match=told):
            result()
    else:
        assert result() == ["pass"]
