"""How a value differs from the expected one: each description is tried, and is one if it leaves nothing over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from parity.core.noise import LEFT_OVER
from parity.diagnosis.agreement import channel_axis
from parity.diagnosis.types import Difference

if TYPE_CHECKING:
    import torch

_MOST_CHANNELS = 1024
_MOST_TOLD = 6
# Where more of PyTorch's numbers than this lie beyond a limit, it is none: what they all become has another reason.
_MOST_BEYOND = 0.9
# So many steps a grid has at most, where it is one; and how near to a whole number of steps all must lie.
_MOST_STEPS, _ON_GRID = 4096, 1e-3


def describe(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference:
    """Say how a value differs; both in PyTorch's layout, images first.

    allowed: the root mean square that rounding alone may cost.
    """
    if value.shape != expected.shape:
        message = f"gives {list(value.shape)}, PyTorch {list(expected.shape)}"
        return Difference("shape", message)
    descriptions: tuple[Callable[[torch.Tensor, torch.Tensor, float], Difference | None], ...] = (
        _non_finite,
        _scale,
        _border,
        _shift,
        _permutation,
        _affine,
        _mirrored,
        _reordered,
        _gridded,
        _saturation,
    )
    for description in descriptions:
        if difference := description(value, expected, allowed):
            return difference
    relative = _rms(value - expected) / (_rms(expected) + 1e-30)
    message = f"differs all over, by {relative:.2g} of its size"
    return Difference("broadband", message, {"relative": relative})


def _explains(rest: torch.Tensor, value: torch.Tensor, expected: torch.Tensor, allowed: float) -> bool:
    return _rms(rest) <= max(LEFT_OVER * _rms(value - expected), allowed)


def _rms(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().mean().sqrt()) if tensor.numel() else 0.0


def _relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return _rms(value - expected) / (_rms(expected) + 1e-30)


def _non_finite(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    bad = int((~value.isfinite() & expected.isfinite()).sum())
    if not bad:
        return None
    nan = int(value.isnan().sum())
    highest = float(expected[expected.isfinite()].abs().max())
    what = "NaN" if nan else "infinite"
    message = f"{bad} of {value.numel()} numbers are {what} where PyTorch has at most {highest:.4g}"
    return Difference("non-finite", message, {"count": float(bad), "highest": highest})


def _scale(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    a, e = value.double().flatten(), expected.double().flatten()
    scale = float(a @ e / (e @ e + 1e-30))
    offset = float((a - e).mean())
    relative = _relative(value, expected)
    if _explains(a - scale * e, value, expected, allowed):
        message = f"is {scale:.6g} times what it should be"
        return Difference("scale", message, {"relative": relative, "scale": scale})
    if _explains(a - e - offset, value, expected, allowed):
        message = f"is what it should be plus {offset:.4g}"
        return Difference("offset", message, {"relative": relative, "offset": offset})
    return None


def _border(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    if value.ndim != 4:
        return None
    height, width = value.shape[2:]
    apart = (value - expected).double().square().mean((0, 1))
    limit = max(LEFT_OVER * _rms(value - expected), allowed) ** 2
    for edge in range(1, 1 + min(3, (min(height, width) - 1) // 2)):
        if float(apart[edge : height - edge, edge : width - edge].max()) > limit:
            continue
        sides = {
            "top": apart[:edge, :],
            "bottom": apart[height - edge :, :],
            "left": apart[:, :edge],
            "right": apart[:, width - edge :],
        }
        hit = [name for name, side in sides.items() if float(side.median()) > limit]
        message = f"differs at the border alone ({', '.join(hit) or 'in places'}, {edge} pixel(s) wide)"
        return Difference("border only", message, {"relative": _relative(value, expected), "width": float(edge)})
    return None


def _shift(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    if value.ndim != 4 or min(value.shape[2:]) < 5:
        return None
    height, width = value.shape[2:]
    inside = (..., slice(2, height - 2), slice(2, width - 2))
    if _rms((value - expected)[inside]) <= allowed:
        return None
    for dy, dx in ((y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)):
        moved = expected.roll((dy, dx), (2, 3))
        if _explains((value - moved)[inside], value[inside], expected[inside], allowed):
            message = f"is shifted by {dy} pixel(s) down and {dx} to the right"
            figures = {"relative": _relative(value, expected), "dy": float(dy), "dx": float(dx)}
            return Difference("shift", message, figures)
    return None


def _channels(tensor: torch.Tensor) -> torch.Tensor:
    """Lay a tensor out as [channels, all the rest]."""
    return tensor.movedim(channel_axis(tensor.ndim), 0).flatten(1).double()


def _permutation(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    import torch

    from parity.core.pairing import pair

    if value.ndim < 2:
        return None
    a, e = _channels(value), _channels(expected)
    if not 2 <= len(a) <= _MOST_CHANNELS:
        return None
    a, e = (t[:, :: max(1, t.shape[1] // 4096)] for t in (a, e))
    order = pair(torch.cdist(a, e).numpy())
    moved = [i for i, j in enumerate(order) if i != j]
    if not moved or not _explains(a - e[order], a, e, allowed):
        return None
    message = f"{len(moved)} of {len(a)} channels changed places ({_arrows(moved, order)})"
    figures: dict[str, float | tuple[float, ...]] = {
        "relative": _relative(value, expected),
        "channels": tuple(map(float, moved)),
    }
    return Difference("channel permutation", message, figures)


def _arrows(moved: list[int], order: list[int]) -> str:
    shown = ", ".join(f"{i} has {order[i]}'s" for i in moved[:_MOST_TOLD])
    return shown + (", ..." if len(moved) > _MOST_TOLD else "")


def _affine(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    if value.ndim < 2:
        return None
    a, e = _channels(value), _channels(expected)
    if len(a) < 2 or a.shape[1] < 3:
        return None
    for kind, fitted, scale, offset in _fits(a, e):
        if not _explains(a - fitted, value, expected, allowed):
            continue
        apart = (a - e).square().mean(1).sqrt()
        hit = [i for i, own in enumerate(apart.tolist()) if own > max(LEFT_OVER * float(apart.max()), allowed)]
        parts = [f"{i}: " + " ".join(_affinity(kind, float(scale[i]), float(offset[i]))) for i in hit[:_MOST_TOLD]]
        message = f"{len(hit)} of {len(a)} channels: {'; '.join(parts)}{'; ...' if len(hit) > _MOST_TOLD else ''}"
        figures: dict[str, float | tuple[float, ...]] = {
            "relative": _relative(value, expected),
            "channels": tuple(map(float, hit)),
            "scales": tuple(float(scale[i]) for i in hit),
            "offsets": tuple(float(offset[i]) for i in hit),
        }
        return Difference(kind, message, figures)  # type: ignore[arg-type]
    return None


def _affinity(kind: str, scale: float, offset: float) -> list[str]:
    both = {"per-channel scale": (True, False), "per-channel offset": (False, True)}.get(kind, (True, True))
    return [text for text, there in ((f"x{scale:.4g}", both[0]), (f"{offset:+.4g}", both[1])) if there]


def _fits(a: torch.Tensor, e: torch.Tensor) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor]]:
    import torch

    one, zero = torch.ones(len(a)), torch.zeros(len(a))
    offset = (a - e).mean(1)
    yield "per-channel offset", e + offset[:, None], one, offset
    scale = (a * e).sum(1) / (e.square().sum(1) + 1e-30)
    yield "per-channel scale", e * scale[:, None], scale, zero
    if a.shape[1] >= 6:
        centred = e - e.mean(1, keepdim=True)
        scale = (a * centred).sum(1) / (centred.square().sum(1) + 1e-30)
        offset = a.mean(1) - scale * e.mean(1)
        yield "per-channel affine", e * scale[:, None] + offset[:, None], scale, offset


def _mirrored(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    if value.ndim != 4:
        return None
    turns = {
        "left and right exchanged": expected.flip(3),
        "top and bottom exchanged": expected.flip(2),
        "turned by 180 degrees": expected.flip((2, 3)),
    }
    if value.shape[2] == value.shape[3]:
        transposed = expected.transpose(2, 3)
        turns |= {
            "rows and columns exchanged": transposed,
            "turned by 90 degrees": transposed.flip(3),
            "turned by 270 degrees": transposed.flip(2),
            "rows and columns exchanged the other way": transposed.flip((2, 3)),
        }
    for message, moved in turns.items():
        if _explains(value - moved, value, expected, allowed):
            return Difference("mirrored", message, {"relative": _relative(value, expected)})
    return None


def _saturation(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    low, high = float(value.min()), float(value.max())
    share = float(((expected < low) | (expected > high)).double().mean())
    if (
        low < high
        and share < _MOST_BEYOND
        and _explains(value - expected.clamp(low, high), value, expected, allowed)
    ):
        message = f"is cut off at {low:.4g} and {high:.4g}, beyond which {share:.1%} of PyTorch's numbers lie"
        return Difference("saturation", message, {"low": low, "high": high, "share": share})
    low, high = float(expected.min()), float(expected.max())
    share = float(((value < low) | (value > high)).double().mean())
    if (
        low < high
        and share < _MOST_BEYOND
        and _explains(value.clamp(low, high) - expected, value, expected, allowed)
    ):
        message = (
            f"is not cut off where PyTorch does, at {low:.4g} and {high:.4g}; {share:.1%} of its numbers lie beyond"
        )
        return Difference("saturation", message, {"low": low, "high": high, "share": share})
    return None


def _reordered(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    """Take any other order of the same numbers."""
    rest = value.flatten().sort().values - expected.flatten().sort().values
    if value.numel() < 3 or not _explains(rest, value, expected, allowed):
        return None
    return Difference(
        "reordered", "holds the same numbers in another order", {"relative": _relative(value, expected)}
    )


def _gridded(value: torch.Tensor, expected: torch.Tensor, allowed: float) -> Difference | None:
    """Look for a grid that the numbers were rounded to, none of them by more than a step."""
    levels = value.double().unique()
    if not 3 <= len(levels) <= min(_MOST_STEPS, value.numel() // 4):
        return None
    step = float(levels.diff().min())
    on_grid = ((levels / step).round() - levels / step).abs().max() < _ON_GRID
    if not on_grid or len(expected.double().unique()) <= 2 * len(levels):
        return None
    if float((value - expected).abs().max()) > step * (1 + _ON_GRID) + allowed:
        return None
    message = f"is rounded to multiples of {step:.6g}"
    return Difference("rounded", message, {"relative": _relative(value, expected), "step": step})
