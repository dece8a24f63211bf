"""The two sides that `parity explain` names: a model, and its file or one of the routes that make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from conversion.artifact import Artifact, open_artifact, under
from conversion.classifier import Classifier
from conversion.contract import Contract
from conversion.files.regular_files import MISSING, why_no_file
from parity.core.errors import ParityError
from parity.pipeline import artifact_of
from parity.suite.images import ImageSet, load_images
from parity.suite.models import find_classifier, find_entry, load_model


@dataclass(frozen=True)
class Sides:
    """Hold a model, an artefact of it, images, and the tolerance that the suite states for the two."""

    classifier: Classifier
    artifact: Artifact
    images: ImageSet
    tolerance: float | None = None


def open_sides(
    model: str,
    artifact: Path,
    images: Sequence[str],
    suite: Path | None,
    contract: Contract,
    directory: Path,
    begin: Callable[[], None],
) -> Sides:
    """Open a file with its model, or convert a model of the suite by a route of that name.

    images: of a route the suite's, where none are named. directory: where converted models are kept. begin: called
    once all that is named is known to be there. Bad input raises ParityError or ConversionError.
    """
    if ":" in model or why_no_file(artifact) != MISSING:
        opened = open_artifact(artifact, contract)
        if not images:
            raise ParityError("--images is missing: a file is explained on images that you name")
        begin()
        classifier = find_classifier(model, suite)
        return Sides(classifier, opened, load_images(list(images), classifier.preprocessing))
    read, entry = find_entry(model, suite)
    route = str(artifact)
    if route not in entry.routes:
        raise ParityError(f"{route}: no such file, and no route of `{model}` (routes: {', '.join(entry.routes)})")
    begin()
    classifier = load_model(entry, read.directory)
    shown = load_images(list(images or entry.images), classifier.preprocessing, None if images else read.directory)
    stated = entry.tolerance.get(route)
    converted = under(contract, artifact_of(classifier, entry, route, directory))
    return Sides(classifier, converted, shown, stated.probability if stated else None)
