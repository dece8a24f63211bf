"""A small classifier for each known-bad pair, its `reproduction` in known_bad.toml; the file is a factory too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from conversion import Classifier, Preprocessing

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
Middle = Callable[["Network", torch.Tensor], torch.Tensor]


class Network(nn.Module):
    """A convolution, what is tried, and a linear layer; its weights are the same in every process."""

    def __init__(self, middle: Middle, parts: dict[str, nn.Module], channels: int = 8) -> None:
        super().__init__()
        self.middle = middle
        self.first = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        for name, part in parts.items():
            self.add_module(name, part)
        self.eval()
        with torch.no_grad():
            features = middle(self, torch.zeros(1, channels, 16, 16)).flatten(1).shape[1]
        self.last = nn.Linear(features, len(LABELS))
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in self.parameters():
                spread = 4 / parameter.shape[1] ** 0.5 if parameter.ndim == 2 else 0.4
                parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
            for name, buffer in self.named_buffers():
                if name.endswith("running_var"):
                    buffer.copy_(0.3 + 3 * torch.rand(buffer.shape, generator=generator))
                elif name.endswith("running_mean"):
                    buffer.copy_(torch.randn(buffer.shape, generator=generator))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.middle(self, torch.relu(self.first(image)))
        logits: torch.Tensor = self.last(found.flatten(1))
        return logits


def _classifier(name: str, middle: Middle, channels: int = 8, **parts: nn.Module) -> Classifier:
    network = Network(middle, parts, channels).eval()
    return Classifier(name, network, Preprocessing(size=(32, 32), resize=(32, 32)), LABELS)


def control() -> Classifier:
    """Make one that hits nothing."""
    return _classifier("control", lambda net, x: functional.avg_pool2d(x, 2))


def padded_average_pool() -> Classifier:
    """Pad at the end alone, then average."""
    return _classifier(
        "padded_average_pool", lambda net, x: functional.avg_pool2d(functional.pad(x, (0, 1, 0, 1)), 2, 1)
    )


def ceil_average_pool() -> Classifier:
    """Average windows of which the last hangs over the edge.

    ONNX Runtime has another kernel for channels in blocks of 8 or of 16, by the processor: 32 are blocks of either.
    """
    return _classifier(
        "ceil_average_pool", lambda net, x: functional.avg_pool2d(x, 3, 2, ceil_mode=True), channels=32
    )


def uncounted_average_pool() -> Classifier:
    """Pad, then average with a padding of its own that is not counted."""

    def middle(net: Network, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2, 1, count_include_pad=False)

    return _classifier("uncounted_average_pool", middle)


def scaled_bias() -> Classifier:
    """Add twice a bias to a product, then a batch norm."""

    def middle(net: Network, x: torch.Tensor) -> torch.Tensor:
        layer = net.get_submodule("layer")
        product = torch.addmm(layer.bias, x.mean((2, 3)), layer.weight.T, beta=2.0)  # type: ignore[arg-type, operator, call-overload, union-attr]
        return net.get_submodule("norm")(product)  # type: ignore[no-any-return]

    return _classifier("scaled_bias", middle, layer=nn.Linear(8, 16), norm=nn.BatchNorm1d(16))


def grouped_transpose() -> Classifier:
    """Put a batch norm behind a transposed convolution of two groups."""

    def middle(net: Network, x: torch.Tensor) -> torch.Tensor:
        return net.get_submodule("norm")(net.get_submodule("transposed")(x))  # type: ignore[no-any-return]

    transposed = nn.ConvTranspose2d(8, 8, 3, stride=2, groups=2)
    return _classifier("grouped_transpose", middle, transposed=transposed, norm=nn.BatchNorm2d(8))


def two_readers() -> Classifier:
    """Let two convolutions without a bias read one value, as every residual network does."""

    def middle(net: Network, x: torch.Tensor) -> torch.Tensor:
        one, other = (net.get_submodule(f"norm_{k}")(net.get_submodule(f"read_{k}")(x)) for k in "ab")
        return torch.relu(one + other)

    return _classifier(
        *("two_readers", middle),
        read_a=nn.Conv2d(8, 8, 3, padding=1, bias=False),
        norm_a=nn.BatchNorm2d(8),
        read_b=nn.Conv2d(8, 8, 1, bias=False),
        norm_b=nn.BatchNorm2d(8),
    )


def padded_convolution() -> Classifier:
    """Pad at the end alone, then a convolution that pads too."""

    def middle(net: Network, x: torch.Tensor) -> torch.Tensor:
        return net.get_submodule("second")(functional.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]

    return _classifier("padded_convolution", middle, second=nn.Conv2d(8, 8, 3, padding=1))


def antialiased() -> Classifier:
    """Resize to less, smoothly."""
    return _classifier(
        "antialiased", lambda net, x: functional.interpolate(x, (5, 5), mode="bilinear", antialias=True)
    )


def small_reciprocal() -> Classifier:
    """Divide by small numbers."""
    return _classifier("small_reciprocal", lambda net, x: (x * 0.01 + 0.001).reciprocal() / 100)


def floored() -> Classifier:
    """Cut off what is behind the point."""
    return _classifier("floored", lambda net, x: torch.floor_divide(x * 3, 1.0))


def masked_by_the_least() -> Classifier:
    """Mask as transformers do: by the least number of fp32, times 0 or 1."""

    def middle(net: Network, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(2)
        hidden = (1.0 - (rows > 0.2).float()) * torch.finfo(torch.float32).min
        return 100 * (rows + hidden).softmax(-1)

    return _classifier("masked_by_the_least", middle)


def scaled_addition() -> Classifier:
    """Add three times the mirror image."""
    return _classifier("scaled_addition", lambda net, x: torch.add(x, x.flip(3), alpha=3))
