"""Benches of small classifiers for the tests of the audit, and edits of their files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from conversion import Artifact, Classifier
from conversion.artifact import open_artifact
from parity.audit.bench import Bench
from parity.audit.mutant import Mutant, Original
from parity.backends.reference import Reference, make_reference
from parity.core.tolerance import Tolerance, tolerances_for
from parity.formats.editing import edited
from parity.judging import Judging, judge_with_prediction
from parity.suite.images import load_images
from tests.conversion.needs import needs_coreai
from tests.parity.tiny import converted, pictures, tiny

ROUTES = ("onnx-torchscript", "mlprogram-fp32", "onnx-coreml", pytest.param("coreai", marks=needs_coreai))
_BACKENDS = {"onnx": "onnxruntime", "coreai": "coreai"}


@cache
def scratch() -> Path:
    """Make a directory that goes away with the process."""
    directory = Path(tempfile.mkdtemp(prefix="coreml-parity-audit-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def saved(images: Sequence[Image.Image]) -> list[str]:
    """Write pictures as PNG files: an audit opens what the suite names."""
    directory = Path(tempfile.mkdtemp(dir=scratch()))
    paths = [directory / f"{index}.png" for index in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    return [str(path) for path in paths]


def backend_of(artifact: Artifact) -> str:
    """Name what runs an artefact here."""
    return _BACKENDS.get(artifact.format, "coreml-evaluator")


def bench(
    artifact: Artifact,
    classifier: Classifier,
    images: Sequence[str],
    tolerance: float | None = None,
    batches: bool = False,
) -> Bench:
    """Judge an artefact that holds, and make its bench."""
    reference = make_reference(classifier, load_images(list(images), classifier.preprocessing))
    backend = backend_of(artifact)
    given = Tolerance(tolerance) if tolerance else next(tolerances_for(artifact, reference.cost))
    subject, answers = judge_with_prediction(reference, artifact, backend, Judging(given))
    assert subject.verdict in ("pass", "inconclusive"), subject.reason
    assert answers is not None
    return Bench(Original(artifact, reference, batches), backend, given, answers, scratch())


@cache
def reference() -> Reference:
    """Let PyTorch answer for the tiny classifier's pictures."""
    return make_reference(tiny(), load_images(saved(pictures()), tiny().preprocessing))


def original(route: str) -> Original:
    """Make what a family is given: the tiny classifier by a route."""
    return Original(converted(route), reference())


def made(mutant: Mutant, artifact: Artifact) -> Artifact:
    """Write a mutant and open the file as anybody would."""
    assert mutant.edit is not None
    return open_artifact(edited(artifact, [mutant.edit], Path(tempfile.mkdtemp(dir=scratch()))).path)
