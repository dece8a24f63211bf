"""What enters the network: at which value, and as which function of PyTorch's normalised image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import INPUT_SAME

if TYPE_CHECKING:
    from parity.formats.graph import Graph, Operation

# The eight orientations: turned anticlockwise so many quarters, after a mirror or not.
ORIENTATIONS = {
    "mirrored left to right": (0, True),
    "turned by 180 degrees": (2, False),
    "mirrored top to bottom": (2, True),
    "transposed (height and width exchanged)": (1, True),
    "turned left by 90 degrees": (1, False),
    "turned right by 90 degrees": (3, False),
    "transposed along the other diagonal": (3, True),
}


@dataclass(frozen=True)
class Entry:
    """Say where the image enters the network: a value of [N, C, H, W], and the operations that read it."""

    value: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """Write what enters the network as slope * PyTorch's + offset, channel by channel.

    source: which of PyTorch's channels each channel is. share: of its variance that is explained, of the worst.
    """

    source: tuple[int, ...]
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    share: float

    @property
    def in_order(self) -> bool:
        """Whether each channel is PyTorch's of the same place."""
        return self.source == tuple(range(len(self.source)))


def turn(image: np.ndarray, quarters: int, mirror: bool) -> np.ndarray:
    """Mirror and turn the last two axes."""
    return np.ascontiguousarray(np.rot90(image[..., ::-1] if mirror else image, quarters, axes=(-2, -1)))


def entries(graph: Graph) -> list[Entry]:
    """List where the image may enter: each value from the image to the first layer with a kernel."""
    consumers = graph.consumers()
    chain: list[str] = [graph.input]
    seen = {graph.input}
    for operation in graph.operations:
        read = [name for name in operation.inputs if name in seen]
        if not read:
            continue
        if _has_kernel(operation):
            break
        seen.update(operation.outputs)
        chain += operation.outputs
    return [
        Entry(value, tuple(o.name for o in consumers.get(value, ()))) for value in chain if consumers.get(value)
    ]


def entrances(graph: Graph, values: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> list[Entry]:
    """List those of the entries at which the value is one image of a shape, [C, H, W]."""
    size = int(np.prod(shape))
    return [
        entry
        for entry in entries(graph)
        if (value := values.get(entry.value, np.zeros(0))).shape[-3:] == shape
        and value.size == size * (value.shape[0] if value.ndim == 4 else 1)
    ]


def _has_kernel(operation: Operation) -> bool:
    return any(weight.ndim >= 2 and weight.size > 27 for weight in operation.weights.values())


def image_at(values: Mapping[str, np.ndarray], entry: Entry) -> np.ndarray:
    """Read the value that enters there as one image, [C, H, W]."""
    value = values[entry.value]
    return np.asarray(value.reshape(-1, *value.shape[-3:])[0], np.float64)


def is_same(image: np.ndarray, expected: np.ndarray) -> bool:
    """Say whether what enters is what PyTorch's module reads."""
    return bool(np.abs(image - expected).max() <= INPUT_SAME * max(1.0, float(np.abs(expected).max())))


def fitted(image: np.ndarray, expected: np.ndarray) -> Fit:
    """Fit each channel to the one of PyTorch's that explains it best."""
    source: list[int] = []
    slope: list[float] = []
    offset: list[float] = []
    share: list[float] = []
    for channel in image:
        fits = [_line(channel, other) for other in expected]
        best = max(range(len(fits)), key=lambda i: fits[i][2])
        source.append(best)
        for kept, number in zip((slope, offset, share), fits[best], strict=True):
            kept.append(number)
    return Fit(tuple(source), tuple(slope), tuple(offset), min(share))


def _line(y: np.ndarray, x: np.ndarray) -> tuple[float, float, float]:
    if y.shape != x.shape or not np.isfinite(y).all():
        return 0.0, 0.0, -1.0
    dx, dy = x - x.mean(), y - y.mean()
    slope = float((dx * dy).sum() / max(float((dx * dx).sum()), 1e-30))
    rest = float(((dy - slope * dx) ** 2).sum() / max(float((dy * dy).sum()), 1e-30))
    return slope, float(y.mean() - slope * x.mean()), 1 - rest
