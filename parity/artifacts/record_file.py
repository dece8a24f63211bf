"""`parity record`: run artefacts here, so that their answers can be checked elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conversion.artifact import Artifact
from conversion.contract import ASSUMED, Contract
from conversion.guards.torch_defaults import with_torch_defaults
from parity.artifacts.answers import choose_backend, open_alone, preprocessing_of
from parity.backends import find_backend, limited
from parity.core.environment import cpu, environment, operating_system
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.formats.facts import artifact_digest
from parity.suite.images import load_images, pixels_digest
from parity.suite.records import (
    SCHEMA,
    Record,
    RecordedArtifact,
    RecordedEnvironment,
    RecordedPrediction,
    RecordFile,
    finite,
)


@with_torch_defaults
def record(
    paths: Sequence[str | Path],
    images: Any,
    backend: str | None = None,
    compute_unit: str | None = None,
    contract: Contract = ASSUMED,
) -> RecordFile:
    """Run artefacts on images, and note what answered what; images go through the artefact's own preprocessing.

    backend: the first that runs here, unless named. compute_unit: a name of coremltools.ComputeUnit, for
        coreml-native alone; CPU_ONLY unless named. contract: what the artefacts do themselves.
    Bad input raises ParityError or ConversionError.
    """
    artifacts = [open_alone(path, contract) for path in paths]
    chosen = [choose_backend(artifact, backend) for artifact in artifacts]
    if compute_unit:
        for name in chosen:
            if not find_backend(name).ABOUT.compute_unit:
                raise ParityError(f"{name} takes no compute unit; {compute_unit} is for coreml-native, on macOS")
    here = environment()
    return RecordFile(
        schema_=SCHEMA,
        environment=RecordedEnvironment(
            platform=operating_system(), cpu=cpu(), python=here.python, packages=dict(here.packages)
        ),
        records=[_record(a, name, images, compute_unit) for a, name in zip(artifacts, chosen, strict=True)],
    )


def _record(artifact: Artifact, backend: str, images: Any, compute_unit: str | None) -> Record:
    pictures = load_images(images, preprocessing_of(artifact))
    if unit := find_backend(backend).ABOUT.compute_unit:
        compute_unit = compute_unit or unit
        predict = limited.load(backend, artifact, compute_unit=compute_unit)
    else:
        predict = find_backend(backend).load(artifact)
    answered = predict(pictures.pixels)
    about = RecordedArtifact(
        name=artifact.path.name,
        sha256=artifact_digest(artifact),
        route=artifact.route,
        format=artifact.format,
        precision=artifact.precision,
    )
    predictions = [
        RecordedPrediction(
            image=name,
            pixels=pixels_digest(pixels),
            probabilities=_probabilities(answered, index),
            label=answered.top1[index] if answered.top1 else None,
        )
        for index, (name, pixels) in enumerate(zip(pictures.names, pictures.pixels, strict=True))
    ]
    return Record(artifact=about, backend=backend, compute_unit=compute_unit or "", predictions=predictions)


def _probabilities(answered: Prediction, index: int) -> dict[str, float | None] | list[float | None]:
    row = [finite(number) for number in np.asarray(answered.probabilities, dtype=np.float64)[index].reshape(-1)]
    return dict(zip(answered.labels, row, strict=True)) if answered.labels else row
