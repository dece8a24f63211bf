"""Activations from tables: knots of a function, straight lines between them.

In one kind each power of two of the fp16 numbers is cut into equal segments, as few as keep every result within so
many units in the last place. In the other 33 knots lie evenly over a function's domain, however far off that is.
Knots are fp16 numbers, and what lies between two of them is rounded to fp16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

_MANTISSA = 1024
_INFINITY = 31 * _MANTISSA
_SIGN = 1 << 15

Function = Callable[[torch.Tensor], torch.Tensor]
KNOTS = 33


@dataclass(frozen=True)
class Domain:
    """Say where the knots of a function lie, the first at `low` and the last at `high`.

    odd: the knots are for what is not negative, and the rest is its mirror image.
    """

    low: float
    high: float
    odd: bool = False


def make_table(function: Function, units: int) -> torch.Tensor:
    """Tabulate a function of single numbers: float32 [65536], by the bits of the fp16 number that goes in.

    function: takes and gives float64. units: in the last place, how far off a result may be.
    """
    bits = np.arange(1 << 16, dtype=np.uint16)
    x = bits.view(np.float16).astype(np.float64)
    exact = function(torch.from_numpy(x)).numpy()
    with np.errstate(over="ignore"):
        table = exact.astype(np.float16).astype(np.float64)
        for start in (*range(0, _INFINITY, _MANTISSA), *range(_SIGN, _SIGN + _INFINITY, _MANTISSA)):
            part = slice(start, start + _MANTISSA)
            table[part] = _approximate(x[part], exact[part], units)
    return torch.from_numpy(table.astype(np.float32))


def make_knots(function: Function, domain: Domain) -> torch.Tensor:
    """Tabulate a function by 33 knots that lie evenly: float32 [65536], as `make_table` does; outside it is exact.

    function: takes and gives float64.
    """
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    exact = function(torch.from_numpy(x)).numpy()
    places = np.linspace(domain.low, domain.high, KNOTS)
    values = function(torch.from_numpy(places)).numpy().astype(np.float16).astype(np.float64)
    size, sign = (np.abs(x), np.where(np.signbit(x), -1.0, 1.0)) if domain.odd else (x, np.ones_like(x))
    inside = (size >= domain.low) & (size <= domain.high)
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.where(inside, sign * np.interp(size, places, values), exact)
        return torch.from_numpy(result.astype(np.float16).astype(np.float32))


def look_up(table: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return what a table has for each element, which is rounded to fp16 first."""
    # Channels stay last where they are: what follows computes in that order.
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    rows = (x.permute(0, 2, 3, 1) if last else x).to(torch.float16).contiguous()
    index = rows.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
    found = torch.nn.functional.embedding(index, table[:, None])[..., 0]
    return found.permute(0, 3, 1, 2) if last else found


def last_place(y: np.ndarray) -> np.ndarray:
    """Return how far the fp16 numbers around each number are apart."""
    exponent = np.frexp(y)[1] - 1
    step: np.ndarray = np.ldexp(1.0, np.maximum(exponent, -14) - 10)
    return step


def _approximate(x: np.ndarray, exact: np.ndarray, units: int) -> np.ndarray:
    """Take the longest segments whose straight lines stay near enough, over numbers that lie evenly."""
    length = len(x)
    while length > 1:
        lines = _lines(x, exact, length)
        with np.errstate(invalid="ignore"):
            near = np.abs(lines - exact) <= units * last_place(exact)
        if np.all(near & np.isfinite(lines)):
            return lines
        length //= 2
    return exact.astype(np.float16).astype(np.float64)


def _lines(x: np.ndarray, exact: np.ndarray, length: int) -> np.ndarray:
    # The last knot of a segment is its last number: the first of the next may be infinite.
    first, last = np.arange(0, len(x), length), np.arange(length - 1, len(x), length)
    left, right = (
        exact[first].astype(np.float16).astype(np.float64),
        exact[last].astype(np.float16).astype(np.float64),
    )
    share = (x.reshape(-1, length) - x[first, None]) / (x[last] - x[first])[:, None]
    with np.errstate(invalid="ignore"):
        lines: np.ndarray = (left[:, None] + share * (right - left)[:, None]).astype(np.float16).astype(np.float64)
    return lines.reshape(-1)
