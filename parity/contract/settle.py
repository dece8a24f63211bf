"""Which contract an artefact is judged by: the one that is stated, that the file declares, or that restores parity.

A contract is measured only of a file of which nobody says anything, and only among those that its own declaration
leaves open: an image is pixels, a classifier's dictionary is probabilities, and the classic recipe's names promise
both. So a fault in a file that says what it is stays a fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from conversion.contract import STEPS, Contract, Range, Step, with_statistics
from conversion.errors import ConversionError
from parity.backends import backends_for, find_backend
from parity.backends.bound import bind
from parity.backends.reference import Reference, make_reference
from parity.contract.nearness import Nearness, nearness
from parity.contract.shown import as_the_graph_shows
from parity.core.compare import compare
from parity.core.errors import ParityError
from parity.core.noise import CONTRACT_NEARER
from parity.core.pairing import pair
from parity.core.refusals import EXPECTED
from parity.core.results import Prediction
from parity.core.tolerance import Tolerance
from parity.diagnosis.compression_cost import allowed_for
from parity.formats import format_of
from parity.formats.editing import open_editable
from parity.formats.feeding import fitting_batch
from parity.formats.outputs import WANTED
from parity.suite.images import ImageSet, load_images

if TYPE_CHECKING:
    from conversion import Artifact, Model
    from conversion.classifier import Preprocessing
    from conversion.task import Task
    from parity.formats.description import DeclaredInput

# What the classic recipe calls the image; with WANTED behind it, the file is one of that recipe.
_RECIPE_INPUT = "image"
# An output of such a name promises that softmax is inside.
_PROBABILITIES = re.compile("prob|softmax", re.IGNORECASE)
# A measurement looks at no more images: each candidate runs on all of them.
IMAGES = 16


def settled(artifact: Artifact, model: Model, reference: Callable[[], Reference]) -> Artifact:
    """Put an artefact under the contract that it is judged by.

    reference: gives PyTorch's answers, where they are needed to measure it.
    Raises ConversionError where what is stated of the artefact contradicts what it declares.
    """
    contract = with_statistics(artifact.contract, model.preprocessing)
    artifact = replace(artifact, contract=contract, output=contract.output or artifact.output)
    if artifact.provenance and contract == artifact.provenance.contract:
        return artifact
    try:
        declared = format_of(artifact).declared_input(artifact)
        if not contract.layout and declared.layout != "NCHW":
            contract = replace(contract, layout=declared.layout)
            artifact = replace(artifact, contract=contract)
        if contract.source != "assumed":
            names = _numbered(artifact, model.task)
            _check(artifact, declared)
            return replace(artifact, contract=replace(contract, names=names))
        candidates = list(possible(artifact, declared, model))
    except (ParityError, StopIteration, IndexError):  # damaged, or without an input: the backends say more
        return artifact
    if len(candidates) == 1:
        contract = replace(candidates[0], source="declared")
    else:
        contract = _measured(reference(), artifact, candidates)
    return replace(artifact, contract=contract)


def agreed(artifact: Artifact, model: Model, images: Sequence[str]) -> tuple[Artifact, bool]:
    """Settle an artefact's contract, and say whether it is known.

    images: paths, directories and globs of what it is measured on; without them nothing is measured.
    """
    bound = bind(artifact, model.task)
    empty = np.zeros((0, *model.preprocessing.size, model.preprocessing.channels), np.uint8)
    pictures = load_images(images, model.preprocessing) if images else ImageSet((), empty)
    settled_one = settled(bound, model, lambda: make_reference(model, pictures))
    return settled_one, settled_one.contract.source not in ("assumed", "nearest")


def possible(artifact: Artifact, declared: DeclaredInput, model: Model) -> Iterator[Contract]:
    """List the contracts that a file's declaration leaves open, the one of our own conversions first."""
    named = _numbered(artifact, model.task)
    probabilities, shapes = format_of(artifact).read_outputs(artifact)
    read = artifact.output or (WANTED if WANTED in shapes else next(iter(shapes), ""))
    promises = bool(probabilities) or bool(artifact.bound) or bool(_PROBABILITIES.search(read))
    # Labels are read, and never measured.
    labelled = bool(named) or (format_of(artifact).HAS_LABELS and bool(open_editable(artifact).labels()))
    inside = STEPS if labelled else _without(STEPS, "labels")
    whole = replace(artifact.contract, inside=inside, names=named)
    inputs = [whole]
    of_recipe = read == WANTED and declared.name == _RECIPE_INPUT
    if not (declared.color_space or _is_whole_numbers(declared) or of_recipe):
        inputs += _other_inputs(whole, model.preprocessing)
    yield from inputs
    if not promises:
        yield from (replace(one, inside=_without(one.inside, "softmax")) for one in inputs)


def _other_inputs(whole: Contract, preprocessing: Preprocessing) -> Iterator[Contract]:
    """List how else an array may be fed, without those that come to the same."""
    ranges: tuple[Range, ...] = ("0..1", "-1..1")
    options = [
        with_statistics(replace(whole, inside=_without(whole.inside, "normalise")), preprocessing),
        *(replace(whole, range=one) for one in ranges),
    ]
    seen = [_affine(whole)]
    for option in options:
        if not any(np.allclose(_affine(option), other, rtol=1e-9) for other in seen):
            seen.append(_affine(option))
            yield option


def _affine(contract: Contract) -> np.ndarray:
    return np.array(contract.affine())


def _without(inside: Sequence[Step], step: Step) -> tuple[Step, ...]:
    return tuple(one for one in inside if one != step)


def _is_whole_numbers(declared: DeclaredInput) -> bool:
    return "int" in declared.type


def _numbered(artifact: Artifact, task: Task) -> tuple[str, ...]:
    """Return the classes' names where the file's own labels are their places, as whole numbers."""
    places = format_of(artifact).numbered_classes(artifact)
    names = task.labels
    return names if places == list(range(len(names))) else ()


@dataclass(frozen=True)
class _Tried:
    """Hold what a file answers under a contract."""

    contract: Contract
    answers: Prediction
    near: Nearness
    holds: bool

    @property
    def far(self) -> float:
        """The mean |dp| over images and classes."""
        return self.near.far

    @property
    def rank(self) -> tuple[int, float]:
        """Outputs that agree count for more than how far the others are."""
        return -self.near.agreeing, self.near.far


def _measured(reference: Reference, artifact: Artifact, candidates: Sequence[Contract]) -> Contract:
    """Choose the contract that restores parity, the whole one where it does; else the one that comes nearest.

    One that restores nothing counts only where it comes much nearer: what is wrong besides is then told of the file
    as it is meant.
    """
    # Where softmax may be left to the app, a contract says so, and not a fault.
    promised = all("softmax" in one.inside for one in candidates)
    tried: list[_Tried] = []
    for one in _tried(reference, artifact, candidates, promised):
        if one.holds and one.contract == candidates[0]:
            return replace(one.contract, source="measured")
        tried.append(one)
    if not tried:  # it does not run: the backends say why
        return candidates[0]
    if holding := [one for one in tried if one.holds]:
        return replace(min(holding, key=lambda one: one.far).contract, source="measured")
    # Two faults hide how an image was to be scaled: classes in another order, and red and blue exchanged.
    reordered = [_reordered(reference, artifact, one) for one in tried]
    if holding := [one for one in reordered if one.holds]:
        return replace(min(holding, key=lambda one: one.far).contract, source="nearest")
    shown = as_the_graph_shows(artifact, candidates)
    tried = [one for one in tried if one.contract in shown] or tried
    tried += _tried(reference, artifact, shown, promised, swapped=True)
    best = min(tried, key=lambda one: one.rank)
    own = min((one.rank for one in tried if one.contract == candidates[0]), default=(0, np.inf))
    if best.near.agreeing > -own[0] or best.far < CONTRACT_NEARER * own[1]:
        return replace(best.contract, source="nearest")
    return candidates[0]


def _tried(
    reference: Reference,
    artifact: Artifact,
    candidates: Sequence[Contract],
    promised: bool,
    swapped: bool = False,
) -> Iterator[_Tried]:
    """Run the file under each contract, those that differ behind it on the same answers.

    promised: its outputs are to be probabilities, so that what else they are is a fault. swapped: show it blue
    where red is.
    """
    able = [name for name in backends_for(artifact.format) if find_backend(name).why_not() is None]
    # A slow one where there is no other, as for Core AI.
    backend = min(able, key=lambda name: find_backend(name).ABOUT.slow, default="")
    if not backend or not reference.images.names:
        return
    step = _step(reference)
    pixels = reference.images.pixels[::step, ..., :: -1 if swapped else 1]
    batch = fitting_batch(pixels, 1, artifact)
    raw: dict[bytes, Prediction | None] = {}
    for contract in candidates:
        key = _affine(contract).tobytes()
        if key not in raw:
            as_it_is = replace(contract, inside=(*_without(contract.inside, "softmax"), "softmax"))
            raw[key] = _answers(replace(artifact, contract=as_it_is), backend, pixels, batch)
        answers = raw[key]
        if answers is not None:
            if not artifact.bound:
                answers = replace(answers, probabilities=contract.finish(np.asarray(answers.probabilities)))
            yield _compared(reference, artifact, contract, answers, promised)


def _answers(artifact: Artifact, backend: str, pixels: np.ndarray, batch: int) -> Prediction | None:
    try:
        return find_backend(backend).load(artifact, batch)(pixels)
    except EXPECTED:
        return None


def _reordered(reference: Reference, artifact: Artifact, one: _Tried) -> _Tried:
    """Compare again, the classes in the order that fits best."""
    expected = np.asarray(reference.prediction.probabilities)[:: _step(reference)]
    rows = np.asarray(one.answers.probabilities)
    if artifact.bound or rows.shape != expected.shape or rows.ndim != 2 or not np.isfinite(rows).all():
        return one
    from scipy.spatial.distance import cdist

    order = pair(cdist(expected.T, rows.T, "cityblock"))
    answers = replace(one.answers, probabilities=rows[:, order], labels=reference.prediction.labels)
    return _compared(reference, artifact, one.contract, answers, promised=False)


def _step(reference: Reference) -> int:
    """Return which of the images are looked at: one in so many."""
    return max(1, len(reference.images.names) // IMAGES)


def _compared(
    reference: Reference, artifact: Artifact, contract: Contract, answers: Prediction, promised: bool
) -> _Tried:
    step = _step(reference)
    expected = _every(reference.prediction, step)
    names = reference.images.names[::step]
    holds = False
    # Any that the artefact may be judged by: the last one is the widest.
    for allowed in allowed_for(reference, artifact):
        comparison = compare(expected, answers, allowed, names)
        holds = comparison.verdict != "fail"
        if holds or (comparison.max_abs_diff or 1.0) > _widest(allowed):
            break
    near = nearness(expected, answers, allowed.probability, expected.measured if promised else ())
    return _Tried(contract, answers, near, holds)


# What is further off than any tolerance allows needs no measuring of what rounding costs.
def _widest(allowed: Tolerance) -> float:
    return 100 * allowed.probability


def _every(prediction: Prediction, step: int) -> Prediction:
    return prediction if step == 1 else prediction.of(slice(None, None, step))


def _check(artifact: Artifact, declared: DeclaredInput) -> None:
    """Refuse a stated contract that the file's own declaration contradicts."""
    contract, path = artifact.contract, artifact.path
    if declared.color_space and not contract.takes_pixels:
        raise ConversionError(
            f"{path}: its input `{declared.name}` is declared an image, which is pixels 0..255, and `inside` says "
            "that the app normalises; add `normalise`, or convert it with ct.TensorType"
        )
    if artifact.provenance is None and "labels" in contract.inside and not open_editable(artifact).labels():
        raise ConversionError(
            f"{path}: `inside` names `labels`, and the file has none; leave `labels` out, or convert it with them"
        )
