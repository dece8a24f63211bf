"""How far apart two probabilities may be, and why just so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.errors import ParityError

if TYPE_CHECKING:
    import torch

    from conversion import Artifact, Classifier

# fp32 against fp32 differs by the order of additions alone: on ImageNet-sized networks ONNX Runtime stays within
# a few 1e-6 of PyTorch, and Core ML's kernels, freer in how they compute a convolution, within 1e-5.
FP32: Mapping[str, tuple[float, str]] = {
    "onnx": (1e-5, "fp32 ONNX: rounding of another order of additions"),
    "mlprogram": (1e-4, "fp32 Core ML: rounding of another order of additions and other kernels"),
    "neuralnetwork": (1e-4, "fp32 Core ML: rounding of another order of additions and other kernels"),
}
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
    artifact: Artifact, fp16_cost: Callable[[], float], measured_on: str = "these images"
) -> Iterator[Tolerance]:
    """Give the default tolerances of an artefact, the strictest first; what passes one needs no further.

    fp16_cost: measures what `measure_fp16_cost` gives for this model and these images. Called for an fp16 artefact
    alone, and only if the floor is not enough: it costs as much as another backend. measured_on: what on.
    """
    if artifact.precision == "fp32":
        yield Tolerance(*FP32[artifact.format])
        return
    yield Tolerance(FP16_FLOOR, f"fp16: {FP16_FLOOR:g}, within which no cause is sought")
    cost = fp16_cost()
    yield Tolerance(
        min(max(FP16_FACTOR * cost, FP16_FLOOR), FP16_CAP),
        f"fp16: {FP16_FACTOR:g} times what rounding the PyTorch module costs on {measured_on} ({cost:.1e}), "
        f"at least {FP16_FLOOR:g}, at most {FP16_CAP:g}",
    )


def scaled(tolerance: Tolerance, scale: float) -> Tolerance:
    """Multiply a tolerance, to look closer or to let more pass; the reason says so."""
    if not (scale > 0 and np.isfinite(scale)):
        raise ParityError(f"a tolerance is multiplied by a number above 0, not {scale}")
    if scale == 1:
        return tolerance
    # Nothing differs by 1 or more that is a probability at all.
    return Tolerance(min(tolerance.probability * scale, 0.999), f"{tolerance.reason}, times {scale:g}")


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
    import torch

    from conversion.deployed import pixels_to_tensor

    with torch.inference_mode(), _rounding_mode():
        return np.stack([module(pixels_to_tensor(image[None]))[0].numpy() for image in pixels])


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
