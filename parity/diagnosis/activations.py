"""Which function of one number an operation is, by what it reads and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from parity.core.noise import ACTIVATION_LEFT

if TYPE_CHECKING:
    import torch

# PyTorch's names of operations that are functions of one number.
ACTIVATIONS = frozenset(
    (
        *("relu", "hardtanh", "hardswish", "hardsigmoid", "silu", "gelu", "sigmoid", "tanh", "elu", "leaky_relu"),
        *("mish", "softplus", "clamp", "clamp_min", "celu", "selu", "relu6", "log_sigmoid"),
    )
)

# So many numbers are enough to fit one, in this range of powers of two; of fewer than these chance may be a table.
_FITTED, _POWERS, _TABLED = 4096, (-6.0, 5.0), 256
# What reading between the lines of a table may be off, as a share, for so large a share of the numbers.
_TABLE_OFF, _TABLE_SHARE = 1e-3, 0.9


def function_of(
    read: torch.Tensor, result: torch.Tensor, precision: str
) -> tuple[str, Callable[[Any], Any]] | None:
    """Find the function that turns a tensor into another of the same size; None where none of the usual does."""
    size = float(result.square().mean().sqrt())
    best: tuple[float, str, Callable[[Any], Any]] | None = None
    for functions in (_functions, _stretched, _tabled):
        for name, function in functions(read, result):
            rest = float((function(read) - result).square().mean().sqrt())
            # The first of those that are the same is the plainest.
            if rest <= ACTIVATION_LEFT[precision] * size and (best is None or rest < 0.1 * best[0]):
                best = (rest, name, function)
        if best:
            return best[1:]
    return None


def _functions(read: torch.Tensor, result: torch.Tensor) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """List functions, those with a number in them fitted to the two."""
    import torch
    from torch.nn import functional

    yield "identity", lambda x: x
    yield "relu", torch.relu
    yield "relu6", functional.relu6
    yield "hardswish", functional.hardswish
    yield "silu", functional.silu
    yield "hardsigmoid", functional.hardsigmoid
    yield "sigmoid", torch.sigmoid
    yield "tanh", torch.tanh
    yield "gelu", functional.gelu
    yield "gelu (tanh)", partial(functional.gelu, approximate="tanh")
    yield "gelu (sigmoid)", lambda x: x * torch.sigmoid(1.702 * x)
    yield "elu", functional.elu
    yield "selu", functional.selu
    yield "mish", functional.mish
    yield "softplus", functional.softplus
    low, high = float(result.min()), float(result.max())
    yield f"a clip to {low:.4g} and {high:.4g}", partial(torch.clamp, min=low, max=high)
    negative = read < 0
    if bool(negative.any()):
        below = read[negative]
        slope = float((below * result[negative]).sum() / below.square().sum())
        yield f"leaky_relu with slope {slope:.4g}", partial(functional.leaky_relu, negative_slope=slope)
        power = torch.expm1(below)
        alpha = float((power * result[negative]).sum() / power.square().sum())
        yield f"elu with alpha {alpha:.4g}", partial(functional.elu, alpha=alpha)


def _stretched(read: torch.Tensor, result: torch.Tensor) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """List functions of b * x, with the b that fits best."""
    import torch
    from scipy.optimize import minimize_scalar
    from torch.nn import functional

    families: dict[str, Callable[[Any, float], Any]] = {
        "x * sigmoid({} x)": lambda x, b: x * torch.sigmoid(b * x),
        "x * clip({} x + 0.5, 0, 1)": lambda x, b: x * (b * x + 0.5).clamp(0, 1),
        "clip({} x + 0.5, 0, 1)": lambda x, b: (b * x + 0.5).clamp(0, 1),
        "softplus with beta {}": lambda x, b: functional.softplus(x, beta=b),
        "sigmoid({} x)": lambda x, b: torch.sigmoid(b * x),
        "tanh({} x)": lambda x, b: torch.tanh(b * x),
    }
    some = torch.linspace(0, read.numel() - 1, min(_FITTED, read.numel())).long()
    x, y = read.flatten()[some], result.flatten()[some]
    for name, family in families.items():
        fit = minimize_scalar(
            lambda power, family=family: float((family(x, 2.0**power) - y).square().mean()),
            bounds=_POWERS,
            method="bounded",
            options={"xatol": 1e-6},
        )
        b = float(2.0**fit.x)
        yield name.format(f"{b:.4g}"), partial(_with, family, b)


def _with(family: Callable[[Any, float], Any], b: float, x: Any) -> Any:
    return family(x, b)


def _tabled(read: torch.Tensor, result: torch.Tensor) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Take any function of each number, where half of the numbers say what the other half gives."""
    x, order = read.flatten().double().sort()
    y = result.flatten().double()[order]
    if x.numel() < _TABLED or not bool(y.isfinite().all()):
        return
    even, odd = (x[::2], y[::2]), (x[1::2], y[1::2])
    size = float(y.square().mean().sqrt())
    off = (_interpolated(even[0], even[1], odd[0]) - odd[1]).abs()
    # At the ends of the table the numbers lie far apart.
    if float(off.sort().values[int(_TABLE_SHARE * len(off))]) > _TABLE_OFF * size:
        return
    points = x[[x.numel() * i // 6 for i in range(1, 6)]]
    shown = ", ".join(
        f"{float(v):.3g} -> {float(w):.3g}" for v, w in zip(points, _interpolated(x, y, points), strict=True)
    )
    yield f"another function ({shown})", partial(_table, x, y)


def _table(x: torch.Tensor, y: torch.Tensor, read: Any) -> Any:
    return _interpolated(x, y, read.flatten().double()).to(read.dtype).reshape(read.shape)


def _interpolated(x: torch.Tensor, y: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.interp(at.numpy(), x.numpy(), y.numpy()))
