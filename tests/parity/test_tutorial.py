"""The classic recipe as people copy it: its model reads raw pixels where PyTorch was given normalised ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conversion import Classifier
from conversion.guards.quiet import chatter_to
from conversion.neuralnetwork import onnx_to_neuralnetwork
from parity import assert_parity, check
from parity.suite.models import load_classifier

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "fixtures" / "images" / "digits"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier(f"{ROOT}/fixtures/models.py:mobilenet_v2_digits")


@pytest.fixture(scope="module")
def copied_recipe(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert as the tutorial does: the network and softmax, and nothing about the image's scale or mean."""
    directory = tmp_path_factory.mktemp("tutorial")
    model = torch.nn.Sequential(classifier.module, torch.nn.Softmax(dim=1)).eval()
    dummy = torch.rand(1, 3, *classifier.preprocessing.size)
    with chatter_to():
        torch.onnx.export(
            model,
            (dummy,),
            str(directory / "model.onnx"),
            input_names=["image"],
            output_names=["classLabelProbs"],
            opset_version=9,
            dynamo=False,
        )
        mlmodel = onnx_to_neuralnetwork(
            directory / "model.onnx",
            mode="classifier",
            image_input_names=["image"],
            class_labels=list(classifier.labels),
            predicted_feature_name="classLabel",
        )
        mlmodel.save(str(directory / "model.mlmodel"))
    return directory / "model.mlmodel"


def test_the_copied_recipe_fails(classifier: Classifier, copied_recipe: Path) -> None:
    run = check(classifier, copied_recipe, DIGITS, backends=["coreml-evaluator"])

    assert run.exit_code == 1
    assert run.subjects[0].verdict == "fail"
    assert run.subjects[0].top1_agreement is not None
    assert run.subjects[0].top1_agreement < 0.5
    with pytest.raises(AssertionError, match=r"coreml-evaluator: fail: .* flip"):
        assert_parity(run)


def test_the_same_recipe_with_normalisation_inside_passes(classifier: Classifier) -> None:
    from conversion import convert

    run = check(classifier, convert(classifier, "onnx-coreml", ROOT / ".parity"), DIGITS)

    assert run.exit_code == 0
