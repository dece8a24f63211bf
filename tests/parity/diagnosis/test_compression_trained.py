"""A trained network with compressed weights: what holds passes, what does not is told with its layers."""

from __future__ import annotations

from functools import cache
from typing import Any

from parity.backends.reference import Reference, make_reference
from parity.diagnosis.causes import Explainer
from parity.judging import judge_with_prediction
from parity.suite.images import load_images
from tests.faults.architectures import classifier, images_of
from tests.parity.compressing import linear, palette, program, saved

NAME = "mobilenet_v2_digits"


@cache
def reference() -> Reference:
    model = classifier(NAME)
    return make_reference(model, load_images(sorted(images_of(NAME).glob("*.*g")), model.preprocessing))


@cache
def base() -> Any:
    return program(classifier(NAME), "iOS18")


def test_int8_passes_with_every_label() -> None:
    artifact = saved(base(), (linear(mode="linear_symmetric"),), "digits-int8")

    subject, _ = judge_with_prediction(reference(), artifact, "coreml-evaluator")

    assert (subject.verdict, subject.top1_agreement) == ("pass", 1.0)


def test_four_bits_are_told_with_the_layers_that_cost_most() -> None:
    artifact = saved(base(), (palette(mode="uniform", nbits=4),), "digits-palette")

    subject, prediction = judge_with_prediction(reference(), artifact, "coreml-evaluator")
    explained = Explainer(seconds=600)(subject, reference(), artifact, prediction)

    assert subject.verdict == "fail"
    assert "4-bit palettised weights: 3 times what they cost" in subject.tolerance_reason
    assert [(d.fault, d.confirmed) for d in explained.diagnoses] == [("p-weight-quant", True)]
    assert "op_name_configs={" in explained.diagnoses[0].fix
