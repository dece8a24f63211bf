"""Which computations are set against each other: PyTorch's among themselves, a backend's on one artefact."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from parity.backends import Predict, find_backend, limited
from parity.calibration.noise import BATCH, Source, distance, farthest
from parity.core.noise import INNOCENT
from parity.core.results import Prediction
from parity.core.tolerance import Way, fp16_answers, fp32_ways
from parity.diagnosis.compression import Compression, compressed_copy, read_compression

if TYPE_CHECKING:
    import torch

    from conversion import Artifact, Classifier

LOG = logging.getLogger(__name__)

# The highest is what the backend runs at.
_LOWER_LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED")

# Each costs as much as rounding to nearest.
_DRAWS = 3

REPEATED = "PyTorch, repeated"
# By the kernels that it runs on, and by two other kinds: together what the default tolerance of fp32 is made of.
FLOAT64 = ("PyTorch, float64", "PyTorch, channels_last or float64", "PyTorch, plain kernels or float64")
FP16 = "PyTorch, rounded to fp16"
FP16_WEIGHTS = "PyTorch, rounded to fp16, weights up or down by chance"
FP16_ONLY = (FP16, FP16_WEIGHTS)


def pytorch_sources(classifier: Classifier, reference: Predict) -> tuple[Source, ...]:
    """Set PyTorch against itself. reference: its answers as every run takes them, one image at a time."""
    import torch

    from conversion.deployed import deployed_module, pixels_to_tensor

    module = deployed_module(classifier)

    def batched(pixels: np.ndarray) -> Prediction:
        with torch.inference_mode():
            parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
            return Prediction(np.concatenate([module(pixels_to_tensor(p)).numpy() for p in parts]), labels)

    def predicting(way: Way) -> Predict:
        return lambda pixels: Prediction(way(pixels), labels)

    labels = classifier.labels
    float64, channels_last, plain = map(predicting, fp32_ways(module))
    innocent = INNOCENT["fp32"]
    return (
        Source(REPEATED, (reference, _again(reference)), innocent),
        Source("PyTorch, one thread or several", _on_threads(reference), innocent),
        Source(f"PyTorch, one image or {BATCH} at once", (reference, batched), innocent),
        Source("PyTorch, channels_last", (reference, channels_last), innocent),
        # However large: it is what computing in fp32 costs.
        *(
            Source(name, (float64, way))
            for name, way in zip(FLOAT64, (reference, channels_last, plain), strict=True)
        ),
    )


def fp16_sources(classifier: Classifier, reference: Predict) -> tuple[Source, ...]:
    """Set PyTorch against itself with its own arithmetic rounded to fp16, its weights in several ways."""
    from conversion.deployed import deployed_module

    def way(change: Callable[[torch.nn.Module], torch.nn.Module]) -> Predict:
        module = cache(lambda: change(copy.deepcopy(deployed_module(classifier))))
        return lambda pixels: Prediction(fp16_answers(module(), pixels), classifier.labels)

    # A converter folds the batch norms in before it rounds, so which weights go up and which go down is another
    # choice, as large and as free of bias. Truncating all of them would be neither: their biases add up, and move
    # answers ten times as far.
    drawn = (way(partial(_rounded_by_chance, seed=seed)) for seed in range(_DRAWS))
    return (
        Source(FP16, (reference, way(lambda module: module))),
        Source(FP16_WEIGHTS, (reference, *drawn), reduce=farthest),
    )


def compression_source(
    classifier: Classifier, artifact: Artifact, reference: Predict
) -> tuple[Compression, Source] | None:
    """Set PyTorch against itself with its weights compressed as those of a file; None where none is compressed."""
    from conversion.deployed import answer_singly, deployed_module

    try:
        compression = read_compression(classifier, artifact)
    except Exception as error:  # of a file that cannot be opened: the backends' sources have it as their trouble
        LOG.info("the compressed weights of %s cannot be read: %s", artifact.path, error)
        return None
    if compression is None:
        return None
    module = cache(lambda: compressed_copy(deployed_module(classifier), compression.sound))
    answer = fp16_answers if artifact.precision == "fp16" else answer_singly
    name = f"{artifact.route}: PyTorch, {compression.manner} weights"
    return compression, Source(
        name, (reference, lambda pixels: Prediction(answer(module(), pixels), classifier.labels))
    )


@dataclass(frozen=True)
class BackendSources:
    """Hold what concerns one artefact on one backend.

    distance: the artefact from PyTorch; to be shown beside the noise, never to be counted as a part of it.
    """

    noise: tuple[Source, ...]
    distance: Source


def backend_sources(artifact: Artifact, backends: Sequence[str], reference: Predict) -> dict[str, BackendSources]:
    """Set each backend against itself on one file, and the two that run ONNX against each other; by backend."""
    ways = {backend: _opened(find_backend(backend).load, artifact) for backend in backends}
    route, limit = artifact.route, INNOCENT[artifact.precision]
    runtime = ways.get("onnxruntime") or _opened(find_backend("onnxruntime").load, artifact)
    by_backend: dict[str, BackendSources] = {}
    for backend, way in ways.items():
        noise: tuple[Source, ...] = ()
        if backend == "onnxruntime":
            lower = (_opened(partial(limited.load, backend, level=level), artifact) for level in _LOWER_LEVELS)
            noise = (Source(f"{route}: {backend}, optimisation levels", (way, *lower), limit),)
        elif backend != "onnx-reference":
            noise = (
                Source(f"{route}: {backend}, repeated", (way, _again(way)), limit),
                Source(f"{route}: {backend}, one thread or several", _on_threads(way), limit),
            )
        # onnx.reference takes seconds for an image: whoever leaves it out does not wait for it.
        if "onnx-reference" in ways:
            between = Source(f"{route}: onnxruntime or onnx-reference", (runtime, ways["onnx-reference"]), limit)
            noise = (*noise, between)
        by_backend[backend] = BackendSources(
            noise, Source(f"{route}: {backend}, from PyTorch", (reference, way), reduce=distance)
        )
    return by_backend


def _opened(load: Callable[[Artifact], Predict], artifact: Artifact) -> Predict:
    """Open an artefact when it is first asked: a file that cannot be opened is the trouble of its sources."""
    opened = cache(lambda: load(artifact))
    return lambda pixels: opened()(pixels)


def _again(way: Predict) -> Predict:
    """Wrap a way, so that its answers are not taken for those that are there already."""
    return lambda pixels: way(pixels)


def _on_threads(way: Predict) -> tuple[Predict, Predict]:
    """Run a way that computes by PyTorch on one thread, and on several."""
    import torch

    def on(count: int) -> Predict:
        def predict(pixels: np.ndarray) -> Prediction:
            before = torch.get_num_threads()
            torch.set_num_threads(count)
            try:
                return way(pixels)
            finally:
                torch.set_num_threads(before)

        return predict

    return on(1), on(max(2, os.cpu_count() or 2))


def _rounded_by_chance(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Round the weights of a module to fp16 where they lie: up or down by chance, the nearer the likelier."""
    import torch

    random = np.random.default_rng(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dtype is torch.float32:
                exact = tensor.detach().numpy()
                tensor.copy_(torch.from_numpy(_by_chance(exact, random.random(exact.shape))))
    return module


def _by_chance(exact: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Round fp32 to fp16 numbers, up where the share of the way to the upper one is more than `chance`, 0..1."""
    with np.errstate(over="ignore"):
        nearest = exact.astype(np.float16)
    above = np.where(nearest < exact, np.nextafter(nearest, np.float16(np.inf)), nearest).astype(np.float64)
    below = np.where(nearest > exact, np.nextafter(nearest, np.float16(-np.inf)), nearest).astype(np.float64)
    with np.errstate(invalid="ignore"):
        share = np.where(above > below, (exact - below) / (above - below), 0.0)
    # What is too large for fp16 is infinite there, as it is when it is rounded to nearest.
    chosen = np.where(share > chance, above, below)
    return np.where(np.isfinite(nearest), chosen, nearest).astype(np.float32)
