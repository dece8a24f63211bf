"""What fp16 does: numbers that it cannot hold, and rounding that is no fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import COMPRESSION_FACTOR, FP16_FACTOR, HALF_LARGEST, HALF_SMALLEST
from parity.core.tolerance import CostUnknownError
from parity.diagnosis.fixes import fix
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.examination import Examination

# Rounding that takes more than this share of a value is no rounding any more; at its best fp16 takes 3e-4.
_LOST = 0.02


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Compute an fp16 program in fp32."""
    artifact = examination.file.artifact
    if not format_of(artifact).HAS_COMPUTE_PRECISION or artifact.precision != "fp16":
        return
    repair = Repair(
        run=_in_fp32, evidence="the same file computed in fp32 agrees", fix=fix("fp32", artifact.format)
    )
    values = _values_in_fp32(examination)
    sizes = {name: float(np.abs(value).max(initial=0.0)) for name, value in values.items()}
    name = max(sizes, key=sizes.__getitem__, default="")
    largest = sizes.get(name, 0.0)
    if largest > HALF_LARGEST:
        message = (
            f"Activation after `{name}` reaches {largest:.3g} > {HALF_LARGEST:g}: it overflows in float16; keep "
            "that operation in float32."
        )
        yield Suspect("p-fp16-overflow", message, repair, seen=True)
        return
    if small := next(((n, value) for n, value in values.items() if half_loss(value) > _LOST), None):
        message = (
            f"The numbers after `{small[0]}` are about {_size(small[1]):.2g}, too small for float16, whose steps "
            f"are {HALF_SMALLEST:.0e} there: rounding loses {half_loss(small[1]):.0%} of them; keep that operation "
            "in float32."
        )
        yield Suspect("p-fp16-underflow", message, repair, seen=True)
        # Constants that were rounded to zero stay so in fp32.
        yield Suspect("p-fp16-underflow", message, seen=True)
        return
    yield from _small_weights(examination)
    cost = _fp16_cost(examination)
    if cost is not None and FP16_FACTOR * cost > examination.tolerance:
        message = _too_costly(cost, examination.tolerance)
        yield Suspect("p-fp16-drift", message, repair, seen=True)
        apart = examination.candidate.judgement.max_abs_diff
        if apart is not None and apart <= FP16_FACTOR * cost:
            # The file's weights are rounded too, which computing it in fp32 does not undo.
            yield Suspect("p-fp16-drift", message, seen=True)
        return
    message = (
        f"Rounding to float16 is all of the difference: the same file computed in float32 agrees; {_cost(cost)}."
    )
    yield Suspect("p-fp16-drift", message, repair)


def _too_costly(cost: float, allowed: float) -> str:
    if cost > allowed:
        return (
            f"Rounding to float16 costs PyTorch's own module {cost:.2g} on these images, where {allowed:.2g} is "
            "allowed: no conversion of this network holds in float16; keep it in float32."
        )
    return (
        f"Rounding to float16 costs PyTorch's own module {cost:.2g} on these images, and a file that rounds in "
        f"another order up to {FP16_FACTOR:g} times that, where {allowed:.2g} is allowed: this network is at the "
        "edge of what float16 holds; keep it, or the operations that cost most, in float32."
    )


def harmless(examination: Examination) -> Iterator[Suspect]:
    """Say what looks like a fault in a comparison that holds, and is none."""
    cases = examination.candidate.judgement.cases
    ties = [case for case in cases if case.verdict == "tie"]
    if ties:
        reference, candidate = ties[0].reference.label, ties[0].candidate.label
        message = (
            f"Top-1 flips for {ties[0].image} between {reference!r} and {candidate!r}, which "
            "are nearer to each other than twice the tolerance: a tie within noise, not a fault."
        )
        if ties[0].outputs:
            message = (
                f"The labels of {ties[0].image} are {reference!r} and become {candidate!r}: each that changes is "
                "nearer to one half than the tolerance, a tie within noise, not a fault."
            )
        yield Suspect("p-near-tie", message, harmless=True)
    apart = examination.candidate.judgement.max_abs_diff or 0.0
    compressed = examination.reference.compression_costs.get(examination.file.artifact.path)
    if compressed is not None and examination.compression and apart <= COMPRESSION_FACTOR * compressed:
        message = (
            f"Difference (max {apart:.2g}) is what {examination.compression.manner} weights predict for this "
            f"model: no fault; compressed alike, PyTorch's own module is {compressed:.2g} off."
        )
        yield Suspect("p-weight-quant", message, harmless=True)
        return
    if examination.file.artifact.precision == "fp16" and apart > 1e-3:
        cost = _fp16_cost(examination)
        if cost is not None and apart <= FP16_FACTOR * cost:
            message = (
                f"Difference (max {apart:.2g}) is what float16 predicts for this model: no fault; {_cost(cost)}."
            )
            yield Suspect("p-fp16-drift", message, harmless=True)


def _fp16_cost(examination: Examination) -> float | None:
    """Return what rounding costs PyTorch itself; None where nobody can measure it."""
    try:
        return examination.reference.fp16_cost
    except CostUnknownError:
        return None


def _cost(cost: float | None) -> str:
    if cost is None:
        return "what rounding costs PyTorch itself cannot be measured"
    return f"rounding PyTorch's own arithmetic costs {cost:.2g}"


def _in_fp32(artifact: Artifact) -> Predict:
    from parity.diagnosis.chain import in_fp32

    return in_fp32(artifact)


def _values_in_fp32(examination: Examination) -> dict[str, np.ndarray]:
    """Compute all float values for the worst image, in fp32, in the order of the file."""
    from parity.formats.coreml.classifier import fed
    from parity.formats.mlprogram.retyped import evaluator_in_fp32

    artifact = examination.file.artifact
    evaluator = evaluator_in_fp32(artifact.path)
    pixels = examination.pixels[min(examination.screen[0], len(examination.pixels) - 1)]
    values = evaluator.trace({f.name: fed(artifact, f, pixels[None]) for f in evaluator.description.input})
    return {name: value for name, value in values.items() if value.dtype.kind == "f"}


def half_loss(value: np.ndarray) -> float:
    """Return what rounding to fp16 takes from a value, as a share of its size; 3e-4 where fp16 is at its best."""
    size = _size(value)
    if not 0 < size < HALF_LARGEST:
        return 0.0
    wide = value.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        lost = wide - wide.astype(np.float16)
    return _size(lost[np.isfinite(lost)]) / size


def _size(value: np.ndarray) -> float:
    return float(np.sqrt(np.square(value, dtype=np.float64).mean())) if value.size else 0.0


def _small_weights(examination: Examination) -> Iterator[Suspect]:
    """Look for weights that fp16 has few steps for; what was rounded away is in no file, and cannot be undone."""
    graph = examination.file.graph
    for operation in graph.operations if graph else ():
        for place, array in operation.weights.items():
            size = _size(array)
            # Rounding to steps of one size leaves the root of a twelfth of a step.
            lost = HALF_SMALLEST / 12**0.5 / size if size else 0.0
            if array.size > 1 and lost > _LOST:
                yield Suspect(
                    "p-fp16-underflow",
                    f"The weights of {operation.type} `{operation.name}` ({place}) are about {size:.2g}, too small "
                    f"for float16, whose steps are {HALF_SMALLEST:.0e} there: rounding loses about {lost:.0%} of "
                    "them; convert in float32, or scale that layer.",
                    seen=True,
                )
                return
