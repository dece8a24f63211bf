"""Apple's runtime against the evaluator, on every fixture artefact and compute unit: macOS only."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from conversion import convert
from parity.backends import coreml_evaluator, coreml_native
from parity.suite.images import load_images
from parity.suite.models import load_classifier
from parity.suite.suite import read_suite

ROOT = Path(__file__).parents[2]
SUITE = read_suite(ROOT / "fixtures" / "parity.toml")

# Only CPU_ONLY computes in the precision that the file declares; GPU and Neural Engine may take fp16 for anything.
BUDGETS = {"fp32": {"CPU_ONLY": 1e-4}, "fp16": {"CPU_ONLY": 1e-2}}
FP16_BUDGET = 5e-2


@pytest.mark.parametrize("compute_unit", ["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL"])
@pytest.mark.parametrize(
    ("model", "route"),
    [(m.name, r) for m in SUITE.models for r in m.routes if m.recipe(r).format != "onnx"],
)
def test_evaluator_answers_what_apples_runtime_answers(model: str, route: str, compute_unit: str) -> None:
    reason = coreml_native.why_not()
    if reason and os.environ.get("PARITY_REQUIRE_NATIVE"):
        pytest.fail(f"PARITY_REQUIRE_NATIVE is set, but {reason}")
    if reason:
        pytest.skip(reason)
    entry = next(m for m in SUITE.models if m.name == model)
    classifier = load_classifier(entry.factory, entry.arguments, entry.name, SUITE.directory)
    artifact = convert(classifier, entry.recipe(route), ROOT / ".parity")
    pixels = load_images(entry.images, classifier.preprocessing, SUITE.directory).pixels

    native = coreml_native.load(artifact, compute_unit=compute_unit)(pixels)
    evaluated = coreml_evaluator.load(artifact)(pixels)

    assert native.labels is not None
    assert evaluated.labels is not None
    order = [native.labels.index(label) for label in evaluated.labels]
    apart = float(np.abs(native.probabilities[:, order] - evaluated.probabilities).max())
    assert apart <= BUDGETS[artifact.precision].get(compute_unit, FP16_BUDGET)
