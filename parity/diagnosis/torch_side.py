"""PyTorch's side of a comparison: its answers, its operations and its weights, asked for once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends.reference import Reference
from parity.core.refusals import EXPECTED, refusals
from parity.diagnosis.heads import Head, head_of

if TYPE_CHECKING:
    from parity.diagnosis.source import Program


@dataclass(frozen=True)
class TorchSide:
    """Hold the reference, and what else PyTorch says when it is asked."""

    reference: Reference

    @property
    def pixels(self) -> np.ndarray:
        """The images as uint8 [N, H, W, 3]."""
        return self.reference.images.pixels

    @cached_property
    def probabilities(self) -> np.ndarray:
        """PyTorch's answers to the images: [images, classes], float64; of another task whatever its output is."""
        return np.asarray(self.reference.prediction.probabilities, np.float64)

    @property
    def head(self) -> Head | None:
        """What makes probabilities of logits; None where the answers are no probabilities of labels."""
        (spec,) = self.reference.prediction.measured
        return head_of(spec)

    def apart(self, answers: np.ndarray) -> float:
        """Return how far other answers of PyTorch's are from these, as the leg's own metric measures it."""
        _, apart = self.reference.numbers
        return float(np.nanmax(apart(np.asarray(answers, np.float64), self.probabilities), initial=0.0))

    @cached_property
    def probe(self) -> np.ndarray:
        """A picture with no symmetry and all colours, uint8 [H, W, C]: blocks of colour under noise."""
        random = np.random.default_rng(7)
        height, width, channels = self.pixels.shape[1:]
        blocks = random.integers(40, 216, (5, 7, channels))
        rows, columns = np.arange(height) * 5 // height, np.arange(width) * 7 // width
        return np.asarray(blocks[rows][:, columns] + random.integers(-40, 40, (height, width, channels)), np.uint8)

    @cached_property
    def module_input(self) -> np.ndarray:
        """What the classifier's module reads of the probe: float32 [1, C, H, W]."""
        statistics = self.reference.model.preprocessing
        mean, std = (np.array(v, np.float64).reshape(-1, 1, 1) for v in (statistics.mean, statistics.std))
        return ((self.probe.transpose(2, 0, 1)[None] / 255 - mean) / std).astype(np.float32)

    def answer(self, tensor: Any) -> np.ndarray:
        """Let PyTorch answer for float pixels [N, 3, H, W], one by one: [N, classes]."""
        import torch

        from conversion.deployed import deployed_module

        module = deployed_module(self.reference.model)
        with torch.inference_mode(), refusals("PyTorch"):
            return np.concatenate([module(image[None]).numpy() for image in tensor])

    @cached_property
    def program(self) -> Program | None:
        """PyTorch's operations on the first image; None where they cannot be recorded."""
        from conversion.deployed import deployed_module, pixels_to_tensor
        from parity.diagnosis.recording import record

        try:
            with refusals("the module, whose operations cannot be recorded"):
                return record(deployed_module(self.reference.model), pixels_to_tensor(self.pixels[:1]))
        except EXPECTED:
            return None

    def is_of_each_number(self, path: str) -> bool:
        """Say whether a module computes a function of each number: the same numbers shuffled give theirs."""
        import torch

        from conversion.deployed import deployed_module, pixels_to_tensor

        calls: list[tuple[Any, Any]] = []

        def note(_part: Any, args: Any, result: Any) -> None:
            if len(args) == 1 and all(isinstance(value, torch.Tensor) for value in (args[0], result)):
                calls.append((args[0].clone(), result.clone()))

        part = dict(self.reference.model.module.named_modules())[path]
        handle = part.register_forward_hook(note)
        with torch.inference_mode(), refusals("PyTorch"):
            try:
                deployed_module(self.reference.model)(pixels_to_tensor(self.pixels[:1]))
            finally:
                handle.remove()
            if not calls or calls[0][0].shape != calls[0][1].shape:
                return False
            read, result = calls[0]
            order = torch.randperm(read.numel(), generator=torch.Generator().manual_seed(0))
            shuffled, expected = (value.flatten()[order].reshape(read.shape) for value in (read, result))
            return torch.allclose(part(shuffled), expected, rtol=1e-4, atol=1e-6)

    @cached_property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of PyTorch's weights, by the names that its operations read them by."""
        from conversion.deployed import deployed_module

        state = deployed_module(self.reference.model).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in state.items()}
