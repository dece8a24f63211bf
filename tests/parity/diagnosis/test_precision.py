"""What fp16 does to a network is predicted in fp32, and the call that prevents it is tried."""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conversion import Classifier, convert
from conversion.artifact import open_artifact
from conversion.deployed import deployed_module, example_pixels
from conversion.guards.quiet import chatter_to, import_coremltools
from parity.backends import find_backend
from parity.backends.reference import Reference, make_reference
from parity.core.tolerance import Tolerance
from parity.coreml import Evaluator
from parity.diagnosis.precision import Precision, predict_precision
from parity.suite.images import load_images
from tests.parity.diagnosis.networks import LABELS, PREPROCESSING, pictures, reference, scratch

ALLOWED = Tolerance(0.01)


class Large(nn.Module):
    """A network whose second convolution is as much too large as its third makes it smaller again."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, len(LABELS))
        with torch.no_grad():
            self.second.weight.mul_(factor)
            self.third.weight.mul_(1 / factor)
            self.head.weight.mul_(30)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.third(torch.relu(self.second(torch.relu(self.first(x)))))
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


@cache
def large(factor: float) -> Reference:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Large(factor).eval()
    return make_reference(
        Classifier(f"large-{factor:g}", module, PREPROCESSING, LABELS), load_images(pictures(), PREPROCESSING)
    )


@cache
def predicted(factor: float) -> Precision:
    against = large(factor)
    return predict_precision(against, ALLOWED, convert(against.classifier, "mlprogram-fp32", scratch()))


def highest(factor: float, layer: str) -> float:
    """Measure the largest |value| behind a layer with a hook of PyTorch's own."""
    against, seen = large(factor), list[float]()
    module = deployed_module(against.classifier)
    part = module.get_submodule(f"module.{layer}")
    handle = part.register_forward_hook(lambda m, i, out: seen.append(float(out.abs().max())))
    with torch.inference_mode():
        for image in against.images.pixels:
            module(torch.from_numpy(image.transpose(2, 0, 1)[None]).float())
    handle.remove()
    return max(seen)


def test_what_overflows_is_predicted_with_its_size() -> None:
    precision = predicted(3e5)

    assert precision.in_fp16 is None
    first = precision.at_risk[0]
    assert (first.type, first.verdict) == ("conv", "overflows")
    assert first.largest == pytest.approx(highest(3e5, "second"), rel=1e-4)


def test_the_smallest_set_is_the_large_values_and_their_first_reader() -> None:
    precision = predicted(3e5)

    assert precision.keep is not None
    kinds = {r.operation: r.type for r in precision.ranges}
    # The product, its relu, and the convolution that makes it small again.
    assert sorted(kinds[name] for name in precision.keep) == ["conv", "conv", "relu"]
    assert precision.max_abs_diff is not None
    assert precision.max_abs_diff < ALLOWED.probability


@pytest.mark.parametrize("given_in", ["fp32", "fp16"])
def test_the_call_that_is_printed_keeps_parity(given_in: str, tmp_path: Path) -> None:
    against = large(3e5)
    ct = import_coremltools()
    # Names in the file depend on the variables around the call of trace: it is traced once.
    module = torch.jit.trace(deployed_module(against.classifier), example_pixels(against.classifier))
    options = {
        "inputs": [ct.ImageType(name="image", shape=(1, 3, 32, 32))],
        "classifier_config": ct.ClassifierConfig(list(LABELS)),
        "skip_model_load": True,
    }
    with warnings.catch_warnings(action="ignore"), chatter_to():
        precision = ct.precision.FLOAT16 if given_in == "fp16" else ct.precision.FLOAT32
        ct.convert(module, **options, compute_precision=precision).save(str(tmp_path / "first.mlpackage"))
        forecast = predict_precision(against, ALLOWED, open_artifact(tmp_path / "first.mlpackage"))
        call = forecast.call.replace("...", "module, **options")
        eval(call, {"ct": ct, "re": re, "module": module, "options": options}).save(
            str(tmp_path / "kept.mlpackage")
        )
    artifact = open_artifact(tmp_path / "kept.mlpackage")
    answers = find_backend("coreml-evaluator").load(artifact)(against.images.pixels)

    assert artifact.precision == "fp16"
    assert forecast.in_fp16 is None
    assert forecast.max_abs_diff is not None
    apart = np.abs(answers.probabilities - against.prediction.probabilities).max()
    assert apart < ALLOWED.probability
    assert apart == pytest.approx(forecast.max_abs_diff, abs=1e-3)


def test_a_network_that_fits_needs_nothing() -> None:
    precision = predicted(1)

    assert (precision.keep, precision.call, precision.at_risk) == ((), "", ())
    assert precision.in_fp16 is not None
    assert precision.in_fp16 < ALLOWED.probability


def test_a_value_near_the_limit_is_told() -> None:
    factor = 5e4 / highest(1, "second")

    assert "near" in {r.verdict for r in predicted(factor).at_risk}


def test_a_constant_that_vanishes_is_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small = nn.Parameter(torch.tensor([1e-9, 2e-9, -1e-9]).reshape(3, 1, 1))
            self.head = nn.Linear(3, len(LABELS))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head((x * self.small).mean((2, 3)) * 5e9)
            return logits

    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = Classifier("vanishing", Scaled().eval(), PREPROCESSING, LABELS)
    against = make_reference(small, load_images(pictures(2), PREPROCESSING))
    precision = predict_precision(against, ALLOWED, convert(small, "mlprogram-fp32", scratch()))

    assert [(c.vanishes, c.overflows, c.of) for c in precision.constants if c.vanishes] == [(3, 0, 3)]
    # 5e9 is beyond fp16 as well.
    assert any(c.overflows for c in precision.constants)


def test_the_evaluator_in_fp32_does_not_round() -> None:
    from parity.formats.mlprogram.retyped import evaluator_in_fp32
    from tests.parity.diagnosis.networks import converted

    path = converted("residual", "mlprogram").path
    feeds = {"image": Image.fromarray(reference("residual").images.pixels[0])}
    half, single = Evaluator(path).trace(feeds), evaluator_in_fp32(path).trace(feeds)
    rounded = {name for name, value in half.items() if np.array_equal(value, value.astype(np.float16))}

    assert half.keys() == single.keys()
    assert len(rounded) > 15
    still = {name for name, value in single.items() if np.array_equal(value, value.astype(np.float16))}
    # Pixels, whole numbers, are exact in both.
    assert len(still) < 4
