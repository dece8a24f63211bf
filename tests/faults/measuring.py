"""Inject a fault, and see whether it is detected, whether its cause is named, and what a clean conversion says."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from conversion import Classifier, open_artifact
from parity.backends import backends_for, find_backend
from parity.backends.reference import Reference, make_reference
from parity.core.results import Prediction, Subject
from parity.diagnosis.causes import Explainer
from parity.pipeline import judge_artifact
from parity.suite.images import load_images
from tests.faults.architectures import classifier, images_of
from tests.faults.catalogue import Fault
from tests.faults.deploying import Recipe, deploy, recipe
from tests.faults.onnx_edits import NoPlaceError

# A fault counts where it moves an answer by this many times what a clean conversion does.
_ABOVE_NOISE = 10
_LEAST = 1e-6
# Where there is no clean conversion, only what its rounding could not do counts: in fp32, and in fp16.
_LEAST_WITHOUT = {"onnx": 1e-4, "mlprogram-fp32": 1e-4, "mlprogram": 0.1, "neuralnetwork": 0.1}
_COUNTED = ("detected", "named", "family")


@dataclass(frozen=True)
class Outcome:
    """Say what became of one injected fault.

    effective: it changes answers beyond noise. named: every cause that is there was confirmed by its name.
    family: a cause of the same family was named. told: what was said.
    """

    fault: str
    network: str
    format: str
    effective: bool
    detected: bool
    named: bool
    family: bool
    told: tuple[str, ...]
    seconds: float


def measure(fault: Fault, network: str, format_name: str, directory: Path) -> Outcome | str:
    """Convert a network with a fault and look at it; where the fault has no place, the reason."""
    loaded = classifier(network)
    if fault.reference is not None:
        made = fault.reference(loaded)
        if made is None:
            return "no place for it in this network"
        loaded = made
    # Exporting in training mode moves the statistics of the batch norms: not those that others use.
    own = replace(loaded, module=copy.deepcopy(loaded.module)) if fault.train else loaded
    changed = fault.change(own, format_name)
    if changed is None:
        return "no place for it in this network"
    reference = _reference(loaded) if fault.reference else _network_reference(network)
    # Of a model that no conversion gets right there is no clean one: PyTorch's own answers stand in.
    clean = reference.prediction if fault.reference else _network_clean(network, format_name, directory)
    began = time.monotonic()
    try:
        subject, answers = judged(
            reference, changed, format_name, directory / "injected", fault.train, edit=fault.edit
        )
    except NoPlaceError as error:
        return str(error)
    took = time.monotonic() - began
    least = _LEAST_WITHOUT[format_name] if fault.reference else _LEAST
    causes = [cause for cause in subject.diagnoses if cause.confirmed] or list(subject.diagnoses)
    names = {cause.fault for cause in causes}
    return Outcome(
        fault.name,
        network,
        format_name,
        _effective(reference.prediction, clean, answers, least),
        subject.verdict in ("fail", "error", "inconclusive"),
        all(names & set(cause.split("|")) for cause in fault.causes),
        all(_families(names) & _families(cause.split("|")) for cause in fault.causes),
        tuple(f"{c.fault}{'' if c.confirmed else ' (not confirmed)'}: {c.message}" for c in subject.diagnoses)
        or (f"{subject.verdict}: {subject.reason}",),
        took,
    )


# What is named must not hang on how fast this machine is; the table says how long it took.
SECONDS = 600.0


def _families(names: Iterable[str]) -> set[str]:
    """Take from `pre-bgr-swap` that it is of the family `pre`."""
    return {name.split("-")[0] for name in names}


def judged(
    reference: Reference,
    given: Recipe,
    format_name: str,
    directory: Path,
    train: bool = False,
    opset: int = 17,
    edit: Callable[[Path], None] | None = None,
) -> tuple[Subject, Prediction | None]:
    """Convert a recipe and judge it on the first backend that runs here, causes included."""
    directory.mkdir(parents=True, exist_ok=True)
    path = deploy(given, format_name, directory, train, opset)
    if edit:
        edit(path)
    artifact = open_artifact(path)
    able = backends_for(artifact.format)
    backend = next(name for name in able if find_backend(name).why_not() is None)
    (leg,) = judge_artifact(reference, artifact, [backend])
    assert leg.artifact is not None
    explainer = Explainer(seconds=SECONDS)
    return explainer(leg.subject, reference, leg.artifact, leg.prediction), leg.prediction


def _effective(reference: Prediction, clean: Prediction | None, found: Prediction | None, least: float) -> bool:
    if found is None or clean is None or found.probabilities.shape != clean.probabilities.shape:
        return True
    renamed = found.labels is not None and set(found.labels) != set(reference.labels or ())
    if renamed or not np.isfinite(found.probabilities).all():
        return True
    columns = [_columns(one, reference) for one in (clean, found)]
    noise = float(np.abs(columns[0] - reference.probabilities).max())
    return float(np.abs(columns[1] - columns[0]).max()) > max(_ABOVE_NOISE * noise, least)


def _columns(found: Prediction, reference: Prediction) -> np.ndarray:
    if found.labels is None:
        return found.probabilities
    return found.probabilities[:, [found.labels.index(label) for label in reference.labels or ()]]


def _reference(loaded: Classifier) -> Reference:
    return make_reference(loaded, load_images(images_of(loaded.name), loaded.preprocessing))


def _clean(loaded: Classifier, format_name: str, directory: Path) -> Prediction | None:
    return judged(_reference(loaded), recipe(loaded), format_name, directory / "clean")[1]


@cache
def _network_reference(network: str) -> Reference:
    return _reference(classifier(network))


@cache
def _network_clean(network: str, format_name: str, directory: Path) -> Prediction | None:
    return _clean(classifier(network), format_name, directory)


def table(found: list[Outcome]) -> Iterator[str]:
    """Print who was detected and named, a line for each fault, and the sums."""
    effective = [one for one in found if one.effective]
    width = max((len(one.fault) for one in found), default=0)
    yield f"{'fault':<{width}}  injected  effective  detected  named  family  seconds"
    for name in dict.fromkeys(one.fault for one in found):
        its = [one for one in effective if one.fault == name]
        detected, named, family = (sum(getattr(one, what) for one in its) for what in _COUNTED)
        longest = max((one.seconds for one in found if one.fault == name), default=0.0)
        injected = sum(one.fault == name for one in found)
        counts = f"{injected:>8}  {len(its):>9}  {detected:>8}  {named:>5}  {family:>6}"
        yield f"{name:<{width}}  {counts}  {longest:7.1f}"
    total = len(effective) or 1
    sums = [sum(getattr(one, what) for one in effective) for what in _COUNTED]
    yield (
        f"{len(effective)} effective injections: {sums[0] / total:.1%} detected, {sums[1] / total:.1%} named, "
        f"{sums[2] / total:.1%} by family; {len(found) - len(effective)} changed nothing"
    )
