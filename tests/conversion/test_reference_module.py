"""Modules as people have them at hand: compiled, in half precision, with computed weights, quantised."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from conversion import Classifier, ConversionError, Preprocessing, convert
from conversion.deployed import answer_singly, deployed_module
from parity.pipeline import check

PREPROCESSING = Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (8, 8))
LABELS = ("ant", "bee", "cat")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return nn.Sequential(*layers).eval()


def former_weight_norm(module: nn.Sequential) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(module[0])
    return module


def former_spectral_norm(module: nn.Sequential) -> nn.Module:
    nn.utils.spectral_norm(module[4]).train()
    for _ in range(1000):  # in training each call brings its estimate of the norm nearer
        module[4](torch.zeros(1, 144))
    return module.eval()


def new_weight_norm(module: nn.Sequential) -> nn.Module:
    parametrizations.weight_norm(module[0])
    return module


class Absolute(nn.Module):
    """Compute a weight from another."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.abs()


def own_parametrisation(module: nn.Sequential) -> nn.Module:
    parametrize.register_parametrization(module[4], "weight", Absolute())
    return module


def inner_compiled(module: nn.Sequential) -> nn.Module:
    return nn.Sequential(torch.compile(module[0]), *module[1:]).eval()


def compiled_in_place(module: nn.Sequential) -> nn.Module:
    module.compile()
    return module


TAKEN: dict[str, tuple[Callable[[nn.Sequential], nn.Module], str]] = {
    "torch.compile": (torch.compile, "as it was before torch.compile"),
    "compiled inside": (inner_compiled, "as it was before torch.compile"),
    "compiled in place": (compiled_in_place, "as it was before torch.compile"),
    "DataParallel": (nn.DataParallel, "taken out of DataParallel"),
    "former weight_norm": (former_weight_norm, "computes weights from others"),
    "former spectral_norm": (former_spectral_norm, "computes weights from others"),
    "weight_norm": (new_weight_norm, "computes weights from others"),
    "a parametrisation": (own_parametrisation, "computes weights from others"),
    "bfloat16": (lambda m: m.bfloat16(), "has weights of bfloat16"),
    "half": (lambda m: m.half(), "has weights of float16"),
    "double": (lambda m: m.double(), "has weights of float64"),
}


def answers(module: nn.Module) -> np.ndarray:
    """Answer with the module itself, in float64, uncompiled."""
    with torch.no_grad():
        image = torch.from_numpy((PIXELS / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)
        return module(image).softmax(1).numpy()


@pytest.mark.parametrize("kind", TAKEN)
def test_it_is_taken_with_a_remark_and_answers_as_it_did(kind: str) -> None:
    change, told = TAKEN[kind]
    # What rounding the weights does is the user's, and stays.
    plain = {"bfloat16": lambda m: m.bfloat16(), "half": lambda m: m.half()}.get(kind, lambda m: m)(network())
    expected = answers(former(kind, plain).double())

    classifier = Classifier("taken", change(network()), PREPROCESSING, LABELS)

    assert [told in remark for remark in classifier.remarks] == [True]
    own = answer_singly(deployed_module(classifier), PIXELS)
    np.testing.assert_allclose(own, expected, atol=1e-6)


def former(kind: str, module: nn.Module) -> nn.Module:
    """Compute by hand what a normalised weight is."""
    with torch.no_grad():
        if kind == "former spectral_norm":
            weight = module[4].weight
            weight /= torch.linalg.matrix_norm(weight, 2)
        if kind == "a parametrisation":
            module[4].weight.abs_()
    return module


def test_a_plain_module_is_the_module_itself() -> None:
    module = network()
    classifier = Classifier("plain", module, PREPROCESSING, LABELS)

    assert classifier.module is module
    assert classifier.remarks == ()


@pytest.mark.parametrize("kind", ["former weight_norm", "a parametrisation", "bfloat16"])
def test_the_users_own_module_stays_as_it_is(kind: str) -> None:
    module = TAKEN[kind][0](network())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    classifier = Classifier("taken", module, PREPROCESSING, LABELS)

    assert classifier.module is not module
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(tensor.dtype is before[name].dtype for name, tensor in module.state_dict().items())


def test_it_converts_and_the_remark_stands_in_the_report(tmp_path: Path) -> None:
    classifier = Classifier("taken", TAKEN["weight_norm"][0](network()), PREPROCESSING, LABELS)
    artifact = convert(classifier, "onnx-torchscript", tmp_path)
    from PIL import Image

    (subject,) = check(classifier, artifact, [Image.fromarray(p) for p in PIXELS], ["onnxruntime"]).subjects

    assert subject.max_abs_diff is not None
    assert subject.max_abs_diff < 1e-5
    assert any("computes weights from others" in remark for remark in subject.remarks)


def dynamically_quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised: nn.Module = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})
    return quantised


def lazy() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(3)).eval()


class Uncopied(nn.Module):
    """Refuse to be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3).bfloat16()

    def __deepcopy__(self, memo: object) -> None:
        raise TypeError("no two of\nme")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (dynamically_quantised, "the layer `4` is quantised (Linear), and no converter reads that"),
        (lazy, "the weights `1.weight` have no shape yet (a lazy module); run the module once on an image"),
        (lambda: Uncopied().eval(), "and the module cannot be copied without that (no two of me)"),
    ],
)
def test_what_has_no_such_copy_is_refused_in_one_line(make: Callable[[], nn.Module], told: str) -> None:
    module = make()

    with pytest.raises(ConversionError) as refusal:
        Classifier("refused", module, PREPROCESSING, LABELS)

    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_copy_of_a_copy_keeps_its_remark() -> None:
    first = Classifier("taken", network().bfloat16(), PREPROCESSING, LABELS)
    second = Classifier("again", first.module, PREPROCESSING, LABELS)

    assert second.remarks == first.remarks
    assert Classifier("other", copy.deepcopy(first.module), PREPROCESSING, LABELS).remarks == ()
