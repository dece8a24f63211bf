"""What parity lets a tool chain's process do: make a classifier, predict with its runtime, and say what is wrong.

Called by name from the other side (`parity.versions.toolchain_side:predict`); what goes in and out is what JSON
can hold.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.artifact import open_artifact
from conversion.contract import Contract
from conversion.toolchain_aliases import install_aliases
from parity.backends import find_backend
from parity.backends.reference import Reference
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.core.tolerance import Tolerance
from parity.diagnosis.causes import Explainer
from parity.entries import artifact_of
from parity.formats.feeding import fitting_batch
from parity.judging import Judging, judge_with_prediction
from parity.suite.images import ImageSet
from parity.suite.models import NO_HEAD, load_classifier, load_model
from parity.suite.suite import read_suite

if TYPE_CHECKING:
    from conversion import Classifier


@dataclass(frozen=True)
class Failure:
    """Name a failing artefact, and what it was judged by; JSON can hold all of it.

    source: arguments of `make_classifier`. weights: the hash that its classifier must have.
    names, files: of the images. tolerance: the largest |dp| allowed; None chooses by format and precision.
    """

    source: Mapping[str, Any]
    weights: str
    artifact: str
    route: str
    backend: str
    names: Sequence[str]
    files: Sequence[str]
    tolerance: float | None
    contract: Mapping[str, Any]


def make_classifier(
    factory: str, arguments: Mapping[str, Any], name: str, directory: str, head: Mapping[str, Any] = NO_HEAD
) -> Classifier:
    """Load a classifier as `load_classifier` does."""
    return load_classifier(factory, arguments, name, Path(directory), head)


def convert_own(suite: str, model: str, route: str, directory: str) -> dict[str, str]:
    """Convert a model of a suite by a route of the suite's own, or a variant, with the converters that are here."""
    from conversion.provenance import weights_hash

    # A command of the suite is a process of its own, and finds packages as this one does.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    read = read_suite(Path(suite))
    entry = next(entry for entry in read.models if entry.name == model)
    classifier = load_model(entry, read.directory)
    # A variant is a route of ours, and gets what the others get; their own conversion is theirs.
    remarks = () if entry.recipe(route).key else tuple(install_aliases())
    artifact = artifact_of(classifier, entry, route, Path(directory))
    remark = "; ".join(filter(None, (*remarks, artifact.remark)))
    return {"path": str(artifact.path), "weights": weights_hash(classifier), "remark": remark}


def predict(artifact: str, backend: str, pixels: str, contract: Mapping[str, Any]) -> dict[str, Any]:
    """Run an artefact on the pixels [N, H, W, 3] of a .npy file. contract: the fields of its Contract."""
    opened = replace(open_artifact(artifact), **_under(contract))
    batch = fitting_batch(np.load(pixels), 1, opened)
    prediction = find_backend(backend).load(opened, batch)(np.load(pixels))
    return {
        # As hexadecimal text, because JSON has neither NaN nor infinity.
        "probabilities": [[float(p).hex() for p in row] for row in prediction.probabilities],
        "labels": prediction.labels,
        "top1": prediction.top1,
    }


def _under(contract: Mapping[str, Any]) -> dict[str, Any]:
    """Read a contract back from JSON: what an Artifact has of it."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in contract.items()
    }
    return {"contract": Contract(**fields), "output": contract["output"]}


def explain(failure: Mapping[str, Any], pixels: str, expected: str) -> dict[str, Any]:
    """Judge an artefact again with the runtime that is in here, and look for the causes where it fails.

    failure: the fields of a Failure. pixels: the images, in a .npy file; expected: PyTorch's answers, in another.
    """
    from conversion.provenance import weights_hash

    failed = Failure(**failure)
    classifier = make_classifier(**failed.source)
    if weights_hash(classifier) != failed.weights:
        raise ParityError(f"{classifier.name}: the factory gives other weights every time it is called; seed it")
    images = ImageSet(tuple(failed.names), np.load(pixels), tuple(map(Path, failed.files)))
    reference = Reference(classifier, images, Prediction(np.load(expected), tuple(classifier.labels)))
    artifact = replace(open_artifact(failed.artifact), route=failed.route, **_under(failed.contract))
    judging = Judging(None if failed.tolerance is None else Tolerance(failed.tolerance))
    subject, answers = judge_with_prediction(reference, artifact, failed.backend, judging)
    explained = Explainer()(subject, reference, artifact, answers)
    return {
        "guilty_hop": explained.guilty_hop,
        "diagnoses": [asdict(diagnosis) for diagnosis in explained.diagnoses],
        "first_divergence": explained.first_divergence and asdict(explained.first_divergence),
    }
