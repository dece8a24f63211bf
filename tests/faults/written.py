"""Networks as people write them, with what the others lack: slices set in place, norms and heads of one's own.

Each part that can be set wrongly is a setting of a module, so that a fault is one line.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_HEADS = 4


class Settings(nn.Module):
    """Hold the numbers of what is computed by functions."""

    def __init__(self, **values: object) -> None:
        super().__init__()
        for name, value in values.items():
            setattr(self, name, value)


class Fading(Settings):
    """Scale some of the channels in place, as a slice."""

    channels: int
    factor: float

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Write the slice; all else stays."""
        x[:, : self.channels] = x[:, : self.channels] * self.factor
        return x


class HardGate(Settings):
    """Gate by a straight line between 0 and 1."""

    slope: float

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cut the line off at 0 and 1."""
        return (x * self.slope + 0.5).clamp(0.0, 1.0)


class Pooling(Settings):
    """Average or take the largest of windows, by a function."""

    mode: str
    ceil: bool
    padding: int
    divisor: int | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve the sides."""
        if self.mode == "max":
            return functional.max_pool2d(x, 3, 2, self.padding, ceil_mode=self.ceil)
        return functional.avg_pool2d(
            x, 3, 2, self.padding, self.ceil, count_include_pad=False, divisor_override=self.divisor
        )


class Resizing(Settings):
    """Resize to another grid."""

    scale: float
    mode: str
    align: bool | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resize by a factor."""
        return functional.interpolate(x, scale_factor=self.scale, mode=self.mode, align_corners=self.align)


class Gated(nn.Module):
    """Weigh the channels by what is in all of the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)
        self.gate = HardGate(slope=1 / 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply by the gates."""
        return x * self.gate(self.expand(functional.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Sliced(nn.Module):
    """Convolve with reflected borders, write a slice in place, call one block twice, and enlarge again."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, 2, 1, padding_mode="reflect", bias=False)
        self.stem_norm = nn.BatchNorm2d(24)
        self.leak = nn.LeakyReLU(0.1)
        self.fade = Fading(channels=8, factor=0.3)
        self.depthwise = nn.Sequential(
            nn.Conv2d(24, 24, 3, 1, 1, groups=24, bias=False), nn.BatchNorm2d(24), nn.Hardswish()
        )
        self.pool = Pooling(mode="average", ceil=False, padding=1, divisor=None)
        self.twice = nn.ModuleDict({"conv": nn.Conv2d(24, 24, 3, 1, 1, bias=False), "norm": nn.BatchNorm2d(24)})
        self.gated = Gated(24)
        self.overhang = Pooling(mode="max", ceil=True, padding=0, divisor=None)
        self.up = nn.Sequential(nn.ConvTranspose2d(24, 48, 2, 2, bias=False), nn.BatchNorm2d(48))
        self.resize = Resizing(scale=0.5, mode="bilinear", align=False)
        self.last = nn.Sequential(nn.Conv2d(48, 64, 1), nn.BatchNorm2d(64), nn.ELU(0.5))
        self.head = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        y = self.fade(self.leak(self.stem_norm(self.stem(x))))
        y = self.pool(self.depthwise(y))
        for _ in range(2):
            y = y + functional.relu(self.twice["norm"](self.twice["conv"](y)))
        y = self.overhang(self.gated(y))
        y = functional.relu(self.up(y))
        y = self.last(self.resize(y))
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(y, 1), 1))


class RootMeanSquare(nn.Module):
    """Divide by the root of the mean square."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.rand(width) + 0.5), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last axis."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class QuickGelu(Settings):
    """Approximate GELU by a sigmoid."""

    slope: float

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply by the sigmoid."""
        return x * torch.sigmoid(self.slope * x)


class Attention(nn.Module):
    """Let tokens attend to each other, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.scale = _HEADS, (width // _HEADS) ** -0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend within one image."""
        batch, count, width = x.shape
        parts = self.qkv(x).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        weights = (query @ key.transpose(-2, -1) * self.scale).softmax(-1)
        return self.project((weights @ value).transpose(1, 2).reshape(batch, count, width))


class Layer(nn.Module):
    """Attend, then mix the channels; each branch has a scale of its own for every channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width, eps=1e-6), RootMeanSquare(width)
        self.attention = Attention(width)
        self.expand, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.act = QuickGelu(slope=1.702)
        self.gamma = nn.Parameter(0.3 + 0.4 * torch.rand(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add both branches."""
        x = x + self.gamma * self.attention(self.first(x))
        return x + self.shrink(self.act(self.expand(self.second(x))))


class Likeness(nn.Module):
    """Answer how alike an image is to each of some directions, as the cosine of an angle."""

    def __init__(self, width: int, directions: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.randn(directions, width)), 1e-8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compare with each direction."""
        return functional.linear(
            functional.normalize(x, dim=1, eps=self.eps), functional.normalize(self.weight, dim=1)
        )


class Attentive(nn.Module):
    """Cut the image into patches, and let these attend to each other."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(0.5 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.5 * torch.randn(1, 37, width))
        self.layers = nn.ModuleList(Layer(width) for _ in range(2))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Work out the tokens, and the one that stands for the image."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.position
        for layer in self.layers:
            x = layer(x)
        return {"tokens": x, "pooled": self.norm(x)[:, 0]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        return self.head(self.features(x)["pooled"])


class Responses(nn.Module):
    """Weigh each channel by how strongly it answers beside the others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.eps = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale by the norm of each channel over the mean of these."""
        size = x.square().sum((2, 3), keepdim=True).sqrt()
        return x + self.weight * (x * (size / (size.mean(1, keepdim=True) + self.eps))) + self.bias


class Mixing(nn.Module):
    """Exchange channels between groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Lay the groups crosswise."""
        batch, channels, height, width = x.shape
        return x.view(batch, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(x.shape)


class Inverse(Settings):
    """Divide 1 by how far the values are from 0."""

    offset: float

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer a number between 0 and 1 / offset."""
        # 1 / x is an operation of its own, to which coremltools 9.0 adds an epsilon.
        return torch.div(torch.ones(1), x.abs() + self.offset)


class Shuffled(nn.Module):
    """Exchange channels between groups, make pixels of channels, and compare directions in the end."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 4, 4, bias=False), nn.BatchNorm2d(32))
        self.act = nn.PReLU(32, init=0.2)
        self.left = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.GroupNorm(4, 16), nn.Softplus(beta=2.0)
        )
        self.right = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 2, dilation=2, groups=4, bias=False), nn.BatchNorm2d(16), nn.Mish()
        )
        self.mix = Mixing(groups=2)
        self.down = nn.Sequential(nn.Conv2d(32, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48), nn.SiLU())
        self.enlarge = nn.PixelShuffle(2)
        self.respond = Responses(12)
        self.inverse = Inverse(offset=0.5)
        self.last = nn.Sequential(nn.Conv2d(24, 64, 1, bias=False), nn.BatchNorm2d(64), nn.GELU())
        self.likeness, self.head = Likeness(64, 24), nn.Linear(24, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits."""
        left, right = self.act(self.stem(x)).chunk(2, dim=1)
        y = self.mix(torch.cat((self.left(left), self.right(right)), dim=1))
        y = self.respond(self.enlarge(self.down(y)))
        y = self.last(torch.cat((y, self.inverse(y)), dim=1))
        return self.head(self.likeness(y.mean((2, 3))))
