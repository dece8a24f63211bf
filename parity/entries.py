"""A model of a suite: loaded with its images, converted by a route, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.artifact import Artifact
from conversion.errors import ConversionError, NotInstalledError
from conversion.guards.torch_defaults import with_torch_defaults
from conversion.guards.user_code import user_code
from conversion.routes import convert
from conversion.task import PROBABILITIES
from parity.backends.bound import bind
from parity.backends.reference import Reference, make_reference
from parity.contract.settle import settled
from parity.core.results import Subject, Verdict
from parity.judging import Judging
from parity.suite.images import load_images
from parity.suite.models import load_model
from parity.suite.suite import ModelEntry, Suite

if TYPE_CHECKING:
    from conversion import Classifier


@with_torch_defaults
def load_entry(suite: Suite, entry: ModelEntry) -> Reference:
    """Load a model of the suite and its images, and let PyTorch answer."""
    with user_code(entry.factory):
        classifier = load_model(entry, suite.directory)
        return make_reference(classifier, load_images(entry.images, classifier.preprocessing, suite.directory))


def convert_entry(
    classifier: Classifier, entry: ModelEntry, route: str, directory: Path, reference: Callable[[], Reference]
) -> Artifact | Subject:
    """Convert a model of the suite as its entry says; a conversion that fails is a subject that says why.

    reference: gives PyTorch's answers, by which a contract is measured that nobody states.
    """
    try:
        with user_code(classifier.name):
            artifact = artifact_of(classifier, entry, route, directory)
            return settled(artifact, classifier, reference)
    except ConversionError as error:
        verdict: Verdict = "skipped" if isinstance(error, NotInstalledError) else "error"
        return Subject(entry.name, route, "", "-", entry.recipe(route).precision or "", verdict, str(error))


def artifact_of(classifier: Classifier, entry: ModelEntry, route: str, directory: Path) -> Artifact:
    """Convert as `convert_entry` does; raises ConversionError."""
    recipe = entry.converters.get(route, route)
    artifact = convert(classifier, recipe, directory, entry.dynamic, entry.bounds, entry.sizes)
    # What their own converter left is a file from anywhere, with outputs of any name. Without it a classifier's is
    # found by its name, and any other task's by what is bound here.
    foreign = route in entry.converters or [spec.kind for spec in classifier.task.outputs] != [PROBABILITIES]
    return bind(artifact, classifier.task) if foreign else artifact


def judging_of(entry: ModelEntry, route: str, tolerance_scale: float = 1.0) -> Judging:
    """Say how an entry of a suite wants what a route converts to be judged."""
    return Judging(entry.tolerance.get(route), tolerance_scale, records=entry.records)
