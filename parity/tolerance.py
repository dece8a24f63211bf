"""How far apart two probabilities may be, and why just so far."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.errors import ParityError

if TYPE_CHECKING:
    import torch

    from conversion import Artifact, Classifier
    from conversion.artifact import Precision

LOG = logging.getLogger(__name__)

# fp32 against fp32 differs by the order of additions alone: on ImageNet-sized networks ONNX Runtime stays within
# a few 1e-6 of PyTorch, and Core ML's kernels, freer in how they compute a convolution, within 1e-5.
FP32: Mapping[str, tuple[float, str]] = {
    "onnx": (1e-5, "fp32 ONNX: rounding of another order of additions"),
    "mlprogram": (1e-4, "fp32 Core ML: rounding of another order of additions and other kernels"),
    "neuralnetwork": (1e-4, "fp32 Core ML: rounding of another order of additions and other kernels"),
}
# PyTorch is as far from the exact answer as fp32 costs it, on the other side perhaps, and a runtime's kernels,
# which are not measured, may be twice as unlucky as any of PyTorch's.
FP32_FACTOR = 3.0
# Times the floor: one digit for networks that magnify rounding. A network that asks for more is ill-conditioned,
# and what moves it further is to be looked at, not excused.
FP32_CAP = 10.0
FP16_FACTOR, FP16_FLOOR, FP16_CAP = 3.0, 1e-2, 5e-2


@dataclass(frozen=True)
class Tolerance:
    """Bound the largest difference of a probability, |dp|, between reference and candidate.

    reason: where the number comes from; printed beside it.
    """

    probability: float
    reason: str = "given"

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1:
            raise ParityError(
                f"a tolerance is a difference of probabilities between 0 and 1, not {self.probability}"
            )


def tolerances_for(
    artifact: Artifact, cost: Callable[[Precision], float], measured_on: str = "these images"
) -> Iterator[Tolerance]:
    """Give the default tolerances of an artefact, the strictest first; what passes one needs no further.

    cost: measures what a precision costs PyTorch itself for this model and these images, as `measure_fp32_cost` and
    `measure_fp16_cost` do. Called only if the floor is not enough: it costs as much as another backend.
    measured_on: what on.
    """
    if artifact.precision == "fp32":
        floor, reason = FP32[artifact.format]
        yield Tolerance(floor, reason)
        factor, cap, what = FP32_FACTOR, FP32_CAP * floor, "the PyTorch module in fp32 is off float64"
    else:
        floor, reason = FP16_FLOOR, "fp16"
        yield Tolerance(floor, f"{reason}: {floor:g}, within which no cause is sought")
        factor, cap, what = FP16_FACTOR, FP16_CAP, "rounding the PyTorch module costs"
    found = cost(artifact.precision)
    yield Tolerance(
        min(max(factor * found, floor), cap),
        f"{reason}: {factor:g} times what {what} on {measured_on} ({found:.1e}), "
        f"at least {floor:g}, at most {cap:g}",
    )


def scaled(tolerance: Tolerance, scale: float) -> Tolerance:
    """Multiply a tolerance, to look closer or to let more pass; the reason says so."""
    if not (scale > 0 and np.isfinite(scale)):
        raise ParityError(f"a tolerance is multiplied by a number above 0, not {scale}")
    if scale == 1:
        return tolerance
    # Nothing differs by 1 or more that is a probability at all.
    return Tolerance(min(tolerance.probability * scale, 0.999), f"{tolerance.reason}, times {scale:g}")


def measure_fp32_cost(classifier: Classifier, pixels: np.ndarray, reference: np.ndarray) -> float:
    """Measure the largest |dp| over these images between the PyTorch module in fp32 and the same in float64.

    Each order of additions rounds otherwise, and one may be lucky on an image: fp32 is the reference itself and
    what PyTorch's other kernels answer. Never measured on the artefact under test. A module that cannot be run in
    float64 costs nothing, so that the floor stays. pixels: uint8 [N, H, W, 3]; reference: [N, classes].
    """
    from conversion.deployed import deployed_module

    if not len(pixels):
        return 0.0
    exact, *others = fp32_ways(deployed_module(classifier))
    truth = _attempted(exact, pixels)
    if truth is None:
        return 0.0
    answers = [reference, *(_attempted(way, pixels) for way in others)]
    apart = np.concatenate([np.abs(answer - truth).ravel() for answer in answers if answer is not None])
    return float(apart[np.isfinite(apart)].max(initial=0.0))


Way = Callable[[np.ndarray], np.ndarray]


def fp32_ways(module: torch.nn.Module) -> tuple[Way, Way, Way]:
    """Make ways to answer with a deployed module: exactly, in float64; in fp32 by two other kinds of kernels.

    These are the ones for channels_last, and the plain ones without oneDNN. Each takes uint8 [N, H, W, 3], gives
    [N, classes], one image at a time, and fails where the module cannot be run so.
    """
    import torch

    from conversion.deployed import answer_singly

    def way(change: Callable[[Any], Any], feed: Callable[[Any], Any]) -> Way:
        # The copy is made when it is first needed, so that what cannot be copied fails there.
        changed = cache(lambda: change(copy.deepcopy(module)))
        return lambda pixels: answer_singly(changed(), pixels, feed)

    # Not its context manager, which warns of GPUs.
    onednn: Any = torch.backends.mkldnn

    def plain(pixels: np.ndarray) -> np.ndarray:
        before, onednn.enabled = onednn.enabled, False
        try:
            return answer_singly(module, pixels)
        finally:
            onednn.enabled = before

    last = torch.channels_last
    return (
        way(lambda m: m.double(), lambda t: t.double()),
        way(lambda m: m.to(memory_format=last), lambda t: t.contiguous(memory_format=last)),
        plain,
    )


def _attempted(way: Way, pixels: np.ndarray) -> np.ndarray | None:
    try:
        return way(pixels)
    except Exception as error:  # the module's own: it was written for another type or another layout
        LOG.info("what fp32 costs is measured without one way: %s", error)
        return None


def measure_fp16_cost(classifier: Classifier, pixels: np.ndarray, reference: np.ndarray) -> float:
    """Measure the largest |dp| over these images when the PyTorch module's own arithmetic is rounded to fp16.

    Weights, activations, normalisation and softmax are rounded, operation by operation. Never measured on the
    artefact under test, which would excuse its own faults. pixels: uint8 [N, H, W, 3]; reference: [N, classes].
    """
    from conversion.deployed import deployed_module

    if not len(pixels):
        return 0.0
    differences = np.abs(fp16_answers(deployed_module(classifier), pixels) - reference).max(axis=1)
    # A network that overflows in fp16 has no bound of its own; the cap then decides.
    return float(np.where(np.isfinite(differences), differences, FP16_CAP).max())


def fp16_answers(module: torch.nn.Module, pixels: np.ndarray) -> np.ndarray:
    """Answer with a deployed module whose own arithmetic is rounded to fp16: [N, classes], one image at a time.

    module: of conversion.deployed; it keeps its weights. pixels: uint8 [N, H, W, 3], at least one image.
    """
    from conversion.deployed import answer_singly

    with _rounding_mode():
        return answer_singly(module, pixels)


def _rounding_mode() -> Any:
    """Make a torch mode that rounds what every operation reads and gives to fp16, computing in fp32."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    def rounded(value: Any) -> Any:
        """Return the tensor itself where it holds fp16 numbers already: ReLU(inplace=True) writes into it."""
        if not isinstance(value, torch.Tensor) or value.dtype is not torch.float32:
            return value
        half = value.to(torch.float16).to(torch.float32)
        # By their bits, because NaN differs from itself.
        return value if torch.equal(half.view(torch.int32), value.view(torch.int32)) else half

    def round_in_place(value: Any) -> Any:
        """Round a result where it lies: it may be what an operation wrote into, or what a view shows."""
        half = rounded(value)
        return value if half is value else value.copy_(half)

    class Rounding(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # Inside a mode torch calls its own operations without the mode, so this does not recurse. Weights are
            # copied when they are read: they stay what they are. All else was rounded when it was made.
            result = func(*tree_map(rounded, args), **tree_map(rounded, kwargs or {}))
            return tree_map(round_in_place, result)

    return Rounding()  # type: ignore[no-untyped-call]
