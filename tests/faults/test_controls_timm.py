"""Clean conversions of networks that no fault is tried on, with weights that no training gave, have no cause."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conversion import Artifact, Classifier, convert
from conversion.guards.torchvision_guard import torchvision
from parity.backends.reference import Reference, make_reference
from parity.core.noise import FP16_CAP, FP16_FACTOR, FP32, FP32_CAP, FP32_FACTOR
from parity.pipeline import judge_artifact
from parity.suite.images import load_images
from tests.faults.architectures import calibrated, many_images
from tests.faults.test_controls import Property, assert_quiet

# One of each kind: residual, aggregated, gated, shuffled, reparametrised, of patches, of attention and of both.
NETWORKS = (
    "levit_128s",
    "dla34",
    "convnextv2_atto",
    "mobilenetv4_conv_small",
    "repvgg_a0",
    "edgenext_xx_small",
    "ghostnet_100",
    "mobilevit_xxs",
    "cait_xxs24_224",
    "fastvit_t8",
    "starnet_s1",
    "rexnet_100",
    "res2net50d",
    "regnety_002",
    "tiny_vit_5m_224",
    "hgnetv2_b0",
)
ROUTES = ("onnx", "onnx-torchscript", "mlprogram-fp32", "mlprogram")
ROUNDING = {"fp32": {"p-fp32-drift"}, "fp16": {"p-fp16-drift", "p-fp16-underflow"}}
BACKENDS = ("onnxruntime", "coreml-evaluator")


@cache
def reference_of(network: str) -> Reference:
    loaded = calibrated(network, _untrained(network))
    return make_reference(loaded, load_images(many_images(network), loaded.preprocessing))


def _untrained(network: str) -> Callable[[], Any]:
    def make() -> Any:
        torchvision()  # which timm imports, and which needs its guard
        import timm

        try:
            return timm.create_model(network, num_classes=8, img_size=96)
        except TypeError:  # it takes images of any size, and no word of it
            return timm.create_model(network, num_classes=8)

    return make


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_nobody_here_has_tried_has_no_cause(
    network: str, route: str, tmp_path: Path, record_property: Property
) -> None:
    reference = reference_of(network)
    assert isinstance(reference.model, Classifier)

    artifact = convert(reference.model, route, tmp_path)
    (leg,) = judge_artifact(reference, artifact, able(artifact.format), explain=True)

    if leg.subject.verdict == "fail":
        # Rounding moves PyTorch's own answers by as much. That is said, and nothing is blamed.
        assert rounds_too_far(reference, artifact)
        faults = {d.fault for d in leg.subject.diagnoses}
        assert faults
        assert faults <= ROUNDING[artifact.precision], leg.subject.diagnoses
        return
    assert_quiet([leg.subject], record_property)


def rounds_too_far(reference: Reference, artifact: Artifact) -> bool:
    if artifact.precision == "fp16":
        return FP16_FACTOR * reference.fp16_cost > FP16_CAP
    return FP32_FACTOR * reference.fp32_cost > FP32_CAP * FP32[artifact.format][0]


def able(format_name: str) -> list[str]:
    return [BACKENDS[0] if format_name == "onnx" else BACKENDS[1]]
