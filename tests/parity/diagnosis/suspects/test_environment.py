"""A reference in training mode, and a file of other weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch

from conversion import convert
from parity.backends.reference import Reference
from parity.core.results import Prediction
from parity.suite.images import ImageSet
from tests.parity.diagnosis.faulty import _home, causes, explained, good, mixed, reference


def test_a_reference_in_training_mode_is_told() -> None:
    was = reference()
    classifier = replace(was.classifier, module=copy.deepcopy(was.classifier.module))
    from conversion.deployed import deployed_module, pixels_to_tensor

    deployed = deployed_module(classifier).train()
    with torch.no_grad():
        rows = [deployed(pixels_to_tensor(image[None]))[0].numpy() for image in was.images.pixels]
    noisy = Reference(
        was.classifier,
        ImageSet(was.images.names, was.images.pixels),
        Prediction(np.stack(rows), was.prediction.labels),
    )

    explanation = explained(good("onnx-torchscript"), noisy)

    assert causes(explanation) == ["mode-reference-in-train"]
    assert explanation.diagnoses[0].fix == "module.eval()"


def test_a_file_of_other_weights_is_stale() -> None:
    was = mixed()
    module = copy.deepcopy(was.module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.05)
    explanation = explained(convert(replace(was, module=module), "onnx-torchscript", _home()), reference())

    assert causes(explanation) == ["wt-stale-artifact"]
