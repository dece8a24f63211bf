"""Routes are chains: every hop of one against PyTorch, and the first that is to blame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from conversion.artifact import open_artifact
from conversion.errors import ConversionError
from parity.backends import CannotRunError, Predict, backends_for, find_backend
from parity.backends.bound import bind
from parity.backends.pytorch import named
from parity.backends.reference import Reference
from parity.core.compare import compare
from parity.core.noise import WRAPPER
from parity.core.results import FAILING_CASES, Case, Comparison, Prediction
from parity.core.second_look import excused_told
from parity.core.tally import tally_of
from parity.core.tolerance import Tolerance
from parity.diagnosis.heads import activation_of
from parity.diagnosis.repair import holds, only
from parity.diagnosis.second_look import JudgeAgain
from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact, Model

WRAPPED = "torch with normalisation and {}"
UNOPTIMISED, OPTIMISED, NUMPY = "onnx unoptimised", "onnx optimised", "onnx.reference"


@dataclass(frozen=True)
class Hop:
    """Say how one hop of a chain answers.

    max_abs_diff: the largest |dp| from PyTorch over the images; None where it gave no finite one.
    reason: why it was skipped, or what it failed with.
    """

    name: str
    verdict: Literal["pass", "fail", "error", "skipped"]
    max_abs_diff: float | None = None
    tolerance: float | None = None
    reason: str = ""


def chain(
    reference: Reference, artifact: Artifact, judge: JudgeAgain | None = None, slow: bool = False
) -> tuple[Hop, ...]:
    """Compare every hop of the route to an artefact with PyTorch, in order.

    judge: how the artefact itself is judged; None chooses by format and precision. slow: ask onnx.reference for all
    images too, which else is asked for the first alone.
    """
    return tuple(_hops(reference, artifact, judge, slow))


def _hops(reference: Reference, artifact: Artifact, judge: JudgeAgain | None, slow: bool) -> Iterator[Hop]:
    plain = JudgeAgain(artifact, Tolerance(WRAPPER))
    yield _judged(reference, wrapped(reference), plain, lambda: _plain_torch(reference.model))
    for step in (_opened(artifact.intermediate, reference), artifact):
        if step is not None:
            own = judge if judge and step is artifact else list(_by_default(reference, step))[-1]
            hops = _rewritten if format_of(step).RUNTIME_REWRITES else _evaluated
            yield from hops(reference, step, own, slow)


def _rewritten(reference: Reference, artifact: Artifact, own: JudgeAgain, slow: bool) -> Iterator[Hop]:
    """Run a file in ONNX Runtime as it is, then with its graph rewritten, and in onnx.reference."""
    yield _judged(reference, UNOPTIMISED, own, lambda: unoptimised(artifact))
    yield _judged(reference, OPTIMISED, own, lambda: find_backend("onnxruntime").load(artifact))
    asked = reference if slow else only(reference, [0])
    yield _judged(asked, NUMPY, own, lambda: find_backend("onnx-reference").load(artifact))


def _evaluated(reference: Reference, artifact: Artifact, own: JudgeAgain, slow: bool) -> Iterator[Hop]:
    """Run a file in what runs it everywhere, in fp32 first where it rounds, and in Apple's runtime of Core ML."""
    if _rounds(artifact):
        yield _judged(reference, f"{artifact.format} in fp32", own.in_fp32, lambda: in_fp32(artifact))
    name = f"{artifact.format} in {artifact.precision}"
    *others, everywhere = backends_for(artifact.format)
    yield _judged(reference, name, own, lambda: find_backend(everywhere).load(artifact))
    for other in others:
        if reason := find_backend(other).why_not():
            yield Hop(other, "skipped", reason=reason)
        else:
            yield _judged(reference, other, own, partial(_loaded, other, artifact))


def _rounds(artifact: Artifact) -> bool:
    """Say whether a file computes in fp16 what can be computed in fp32 instead."""
    return artifact.precision == "fp16" and format_of(artifact).HAS_COMPUTE_PRECISION


def _by_default(reference: Reference, artifact: Artifact) -> Iterator[JudgeAgain]:
    """Judge a file by what its format and precision are allowed, by the strictest first."""
    for allowed in reference.tolerances(artifact):
        second = reference.with_second_look(allowed, artifact.precision)
        yield JudgeAgain(artifact, second, len(reference.images.names))


def _judged(reference: Reference, name: str, judge: JudgeAgain, load: Callable[[], Predict]) -> Hop:
    allowed = judge.allowed
    try:
        candidate = load()(reference.images.pixels)
    except CannotRunError as error:
        return Hop(name, "skipped", tolerance=allowed.probability, reason=str(error))
    except Exception as error:  # of whatever class: one hop that breaks must not hide the others
        said = " ".join(str(error).split()) or type(error).__name__
        return Hop(name, "error", tolerance=allowed.probability, reason=said)
    comparison = judge(reference, compare(reference.prediction, candidate, allowed, reference.images.names))
    verdict: Literal["pass", "fail"] = "fail" if comparison.verdict == "fail" else "pass"
    beyond, measured = tally_of(comparison.cases).excused, allowed.second.measured if allowed.second else 0
    excused = excused_told(beyond, len(comparison.cases), allowed.distance, measured)
    return Hop(name, verdict, comparison.max_abs_diff, allowed.probability, comparison.reason or excused)


def guilty_hop(
    reference: Reference, artifact: Artifact, backend: str, failed: Comparison, judge: JudgeAgain | None = None
) -> str:
    """Name the first hop of a failing chain whose result is not PyTorch's: `onnx -> neuralnetwork`, say.

    Looks at the worst image alone, which fails by definition, so that slow runtimes can be asked; where each is
    excused and they are too many, at as many of these as are too many. judge: how the artefact is judged, and each
    hop alike; None: by the tolerance alone.
    """
    if not failed.cases:
        return ""
    judge = judge or JudgeAgain(artifact, Tolerance(failed.tolerance))
    if not judge.images:
        looked = judge(reference, failed)
        if holds(looked):
            # By how many are excused it fails, which these are too few to tell: the tolerance alone is left.
            judge = replace(judge, allowed=Tolerance(failed.tolerance))
        failed = failed if holds(looked) else looked
    shown = only(reference, _telling(failed, judge))
    last = f"torch -> {artifact.format}"
    if artifact.intermediate:
        intermediate = _opened(artifact.intermediate, reference)
        if intermediate is None or not _agrees(
            shown, _by_default(reference, intermediate), lambda: _loaded("onnxruntime", intermediate)
        ):
            return "torch -> onnx"
        last = f"onnx -> {artifact.format}"
    if backend == "onnxruntime" and _agrees(shown, [judge], lambda: unoptimised(artifact)):
        return f"{UNOPTIMISED} -> {OPTIMISED}"
    # Where another runtime of the same file agrees with PyTorch, the file is right and the first runtime is wrong.
    for other in backends_for(artifact.format):
        if other != backend and _agrees(shown, [judge], lambda other=other: _loaded(other, artifact)):  # type: ignore[misc]
            return f"{artifact.format} file -> {backend}"
    if _rounds(artifact) and _agrees(shown, [judge.in_fp32], lambda: in_fp32(artifact)):
        return f"{artifact.format} in fp32 -> {artifact.format} in fp16"
    return last


def _telling(failed: Comparison, judge: JudgeAgain) -> list[int]:
    """Choose the images that a failing comparison fails by: the worst that fails, or the worst that are excused."""
    worst_first = sorted(range(len(failed.cases)), key=lambda place: -_apart(failed.cases[place]))
    failing = [place for place in worst_first if failed.cases[place].verdict in FAILING_CASES]
    excused = [place for place in worst_first if failed.cases[place].own_allowed is not None]
    return failing[:1] or excused[: judge.most_excused + 1] or worst_first[:1]


def _apart(case: Case) -> float:
    return float("inf") if case.max_abs_diff is None else case.max_abs_diff


def unoptimised(artifact: Artifact) -> Predict:
    """Load an ONNX file into ONNX Runtime without any rewriting of its graph."""
    from parity.formats.arrays import classifier_predictions
    from parity.formats.onnx import session as runtime
    from parity.formats.onnx.inputs import session_inputs

    session = runtime.open_session(str(artifact.path), runtime.UNOPTIMISED)
    return classifier_predictions(
        artifact,
        session_inputs(session),
        {value.name: value.shape for value in session.get_outputs()},
        lambda output, feeds: session.run([output], feeds)[0],
        _batch(session.get_inputs()[0].shape),
    )


def _batch(shape: list[object]) -> int:
    return shape[0] if shape and isinstance(shape[0], int) else 1


def in_fp32(artifact: Artifact) -> Predict:
    """Load an ML Program into the evaluator with all its arithmetic in fp32."""
    from parity.formats.coreml.classifier import classifier_predictions
    from parity.formats.mlprogram.retyped import evaluator_in_fp32

    evaluator = evaluator_in_fp32(artifact.path)
    return classifier_predictions(artifact, evaluator.description, evaluator.predict, 1)


def wrapped(reference: Reference) -> str:
    """Name the hop of the module with what conversion puts around it."""
    return WRAPPED.format(activation_of(reference.model.task.outputs[0]))


def _plain_torch(model: Model) -> Predict:
    """Predict with the model's own module, normalising and ending as its authors do."""
    import torch

    from conversion.deployed import pixels_to_tensor
    from conversion.guards.user_code import user_code

    statistics, head = model.preprocessing, model.task.head
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (statistics.mean, statistics.std))

    def predict(pixels: np.ndarray) -> Prediction:
        with torch.inference_mode(), user_code(model.name):
            images = [(pixels_to_tensor(image[None]) / 255 - mean) / std for image in pixels]
            rows = [head(model.module(image))[0].numpy() for image in images]
        return named(model.task, [np.stack(rows)])

    return predict


def _loaded(backend: str, artifact: Artifact) -> Predict:
    module = find_backend(backend)
    if reason := module.why_not():
        raise ConversionError(reason)
    return module.load(artifact)


def _agrees(reference: Reference, judges: Iterable[JudgeAgain], load: Callable[[], Predict]) -> bool:
    """Say whether a hop agrees with PyTorch as one of these judges; one that cannot run or breaks does not."""
    try:
        candidate = load()(reference.images.pixels)
    except Exception:  # of whatever class: who was only asked for an opinion must not end the run
        return False
    expected, names = reference.prediction, reference.images.names
    return any(
        judge.excuses(judge(reference, compare(expected, candidate, judge.allowed, names))) for judge in judges
    )


def _opened(path: Path | None, reference: Reference) -> Artifact | None:
    """Open the file in between; a classifier's answer is known there by the name that our conversion gives it."""
    try:
        artifact = open_artifact(path) if path else None
        return bind(artifact, reference.model.task) if artifact and reference.prediction.specs else artifact
    except ConversionError:
        return None
