"""The two sides that `parity explain` names: a model, and its file or one of the routes that make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conversion.artifact import Artifact, open_artifact, under
from conversion.classifier import Classifier
from conversion.contract import Contract
from conversion.files.regular_files import MISSING, why_no_file
from parity.core.errors import ParityError
from parity.entries import artifact_of
from parity.suite.images import ImageSet, load_images
from parity.suite.models import find_classifier, find_entry, load_model


@dataclass(frozen=True)
class Named:
    """Hold what a command names; artifact: a file, or a route of the model. contract: what a file does itself."""

    model: str
    artifact: Path
    images: tuple[str, ...]
    suite: Path | None
    contract: Contract


@dataclass(frozen=True)
class Sides:
    """Hold a model, an artefact of it, images, and the tolerance that the suite states for the two."""

    classifier: Classifier
    artifact: Artifact
    images: ImageSet
    tolerance: float | None = None


def open_sides(named: Named, directory: Path, begin: Callable[[], None]) -> Sides:
    """Open a file with its model, or convert a model of the suite by a route of that name.

    Of a route the images are the suite's, where none are named. directory: where converted models are kept. begin:
    called once all that is named is known to be there. Bad input raises ParityError or ConversionError.
    """
    if ":" in named.model or why_no_file(named.artifact) != MISSING:
        return _of_file(named, begin)
    return _of_route(named, directory, begin)


def _of_file(named: Named, begin: Callable[[], None]) -> Sides:
    opened = open_artifact(named.artifact, named.contract)
    if not named.images:
        raise ParityError("--images is missing: a file is explained on images that you name")
    begin()
    classifier = find_classifier(named.model, named.suite)
    return Sides(classifier, opened, load_images(named.images, classifier.preprocessing))


def _of_route(named: Named, directory: Path, begin: Callable[[], None]) -> Sides:
    suite, entry = find_entry(named.model, named.suite)
    route = str(named.artifact)
    if route not in entry.routes:
        listed = ", ".join(entry.routes)
        raise ParityError(f"{route}: no such file, and no route of `{named.model}` (routes: {listed})")
    begin()
    classifier = load_model(entry, suite.directory)
    home = None if named.images else suite.directory
    images = load_images(named.images or entry.images, classifier.preprocessing, home)
    stated = entry.tolerance.get(route)
    converted = under(named.contract, artifact_of(classifier, entry, route, directory))
    return Sides(classifier, converted, images, stated.probability if stated else None)
