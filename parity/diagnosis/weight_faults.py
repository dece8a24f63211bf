"""What is wrong with one weight, by what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from parity.core.noise import GRID_FACTOR, GRID_OFF, WEIGHT_HALF, WEIGHT_SAME, WEIGHT_UNRELATED
from parity.diagnosis.compression import Compressed
from parity.diagnosis.likeness import likeness
from parity.diagnosis.types import ExpectedWeight, WeightFinding, WeightKind
from parity.diagnosis.types import place as place_of

_FEW = 256
_MOST_ROWS = 4096
# A grid of 8 bits has 127 steps on either side; of fewer numbers than these chance may lay all near one.
_MOST_STEPS, _ENOUGH = 127, 8


def compare_weight(
    expected: ExpectedWeight,
    all_expected: Sequence[ExpectedWeight],
    sharing: Sequence[str],
    precision: str,
    compressed: Compressed | None = None,
) -> WeightFinding | None:
    """Compare a weight with what it should be; None where it is that.

    all_expected: what every weight of the file should be. sharing: other operations that read the same constant.
    compressed: how the file says that it is compressed.
    """
    operation, place = expected.operation, expected.place
    array = operation.weights[place].astype(np.float64)
    wanted = expected.array.reshape(array.shape)
    allowed = WEIGHT_SAME if precision == "fp32" else WEIGHT_HALF
    if _apart(array, wanted) <= allowed or (precision == "fp16" and _is_rounded(array, wanted)):
        return None
    # What is compressed is off by that, whatever else is wrong with it.
    off = GRID_FACTOR * compressed.error if compressed and not compressed.absurd else 0.0
    declared = compressed is not None and (compressed.faithful or (compressed.absurd and not compressed.unrelated))
    if compressed and declared:
        kind, message = _as_declared(compressed)
    else:
        kind, message = _judge(array, expected, all_expected, sharing, max(allowed, 3e-4, off))
    weight = expected.constant or f"{operation.name}.{place}"
    size = float(np.square(wanted).mean())
    noise = float(np.square(array - wanted).mean()) if np.isfinite(array).all() else float("inf")
    snr = 10 * float(np.log10(max(size, 1e-300) / max(noise, 1e-300))) if np.isfinite(noise) else float("-inf")
    name = f"`{weight}` of `{operation.name}` ({operation.type})"
    return WeightFinding(
        operation.name,
        operation.type,
        place,
        weight,
        expected.module,
        kind,
        f"{name}, which should come from {place_of(expected.module)}, {message} (SNR {snr:.1f} dB)",
        wanted.astype(np.float32),
        snr,
        len(np.unique(array)),
        harmless=kind == "rounded to fp16" or (compressed is not None and compressed.faithful),
        compressed=declared,
    )


def _as_declared(compressed: Compressed) -> tuple[WeightKind, str]:
    """Say how a weight is compressed, where the file is true to its grid, or the grid is none."""
    manner = f"{compressed.weight.manner} {compressed.weight.granularity}"
    if compressed.faithful:
        return "quantised", f"is {manner}, as the file says"
    return "quantised", f"is {manner} on a grid that is {compressed.worse:.3g} times worse than the best one"


def _apart(array: np.ndarray, wanted: np.ndarray) -> float:
    if not np.isfinite(array).all():
        return float("inf")
    return float(np.linalg.norm(array - wanted) / (np.linalg.norm(wanted) + 1e-30))


def _is_rounded(array: np.ndarray, wanted: np.ndarray) -> bool:
    """Say whether an array is what rounding to fp16 makes of another, give or take one step."""
    with np.errstate(over="ignore"):
        half = np.array_equal(array, array.astype(np.float16))
    return half and bool((np.abs(array - wanted) <= np.maximum(2.0**-10 * np.abs(wanted), 2.0**-24)).all())


def _judge(
    array: np.ndarray,
    expected: ExpectedWeight,
    all_expected: Sequence[ExpectedWeight],
    sharing: Sequence[str],
    same: float,
) -> tuple[WeightKind, str]:
    """Name a difference as tellingly as can be."""
    wanted = expected.array.reshape(array.shape)
    if not np.isfinite(array).all():
        return "non-finite", f"holds {int((~np.isfinite(array)).sum())} numbers that are NaN or infinite"
    if not array.any():
        return "zeroed", "is all zero"
    apart = _apart(array, wanted)
    near = {name: _apart(array, other.reshape(array.shape)) for name, other in expected.mistakes.items()}
    mistake = min(near, key=near.__getitem__, default="")
    # Another epsilon is nearly the right one: only what fits far better than the right one is a mistake.
    if mistake and near[mistake] < min(0.1 * apart, 1e-2):
        return _named(mistake), f"is what it would be with this mistake: {mistake}"
    for other in all_expected:
        if _is_that_of(array, wanted, other.array, same):
            where = f"; the same constant is read by `{sharing[0]}`" if sharing else ""
            return "shared by mistake", f"is that of `{other.module}`{where}"
    if _is_rounded(array, wanted):
        return "rounded to fp16", "is rounded to fp16"
    for axis, kind, word in ((0, "rows permuted", "output"), (1, "columns permuted", "input")):
        moved = _permuted(array, wanted, axis, same)
        if moved:
            message = f"has its {word} channels in another order ({moved} of {array.shape[axis]} moved)"
            return cast(WeightKind, kind), message
    for axes in ((0, 1), (-2, -1)) if array.ndim >= 2 else ():
        turned = array.swapaxes(*axes)
        if turned.shape == wanted.shape and _apart(turned, wanted) <= same:
            return "transposed", f"is transposed (axes {axes[0] % array.ndim} and {axes[1] % array.ndim})"
    scale = float(array.reshape(-1) @ wanted.reshape(-1) / (np.square(wanted).sum() + 1e-30))
    if abs(scale) > 1e-6 and _apart(array, scale * wanted) <= same * abs(scale):
        return "scaled", f"is {scale:.6g} times what it should be"
    cosine = likeness(array, wanted)
    if cosine > 0.5 and (values := _levels(array)):
        return "quantised", f"holds {values} distinct values at most in a channel: quantised or palettised"
    if cosine > 0.5 and (steps := steps_of_grid(array)):
        bits = int(np.ceil(np.log2(steps + 1))) + 1
        return "quantised", f"holds multiples of one step in each channel, up to {steps}: quantised to {bits} bits"
    if sharing and cosine < 0.9:
        return "shared by mistake", f"is read by `{sharing[0]}` too, whose weights are others"
    if abs(cosine) < WEIGHT_UNRELATED and array.size >= 16:
        return (
            "not loaded",
            f"has nothing in common with it (cosine {cosine:.2f}): not loaded, or of another checkpoint",
        )
    return "other numbers", f"has other numbers (cosine {cosine:.4f})"


def _is_that_of(array: np.ndarray, wanted: np.ndarray, other: np.ndarray, same: float) -> bool:
    """Say whether a weight is another one, and that other one is not the same as the right one."""
    if other.size != array.size or other.size < 2:
        return False
    flat = other.reshape(-1)
    return _apart(array.reshape(-1), flat) <= same < _apart(wanted.reshape(-1), flat)


def _named(mistake: str) -> WeightKind:
    known = ("batch-norm mean and variance swapped", "batch-norm epsilon lost")
    return cast(WeightKind, next((k for k in known if mistake.startswith(k)), "batch norm folded without its bias"))


def _levels(array: np.ndarray) -> int:
    """Count distinct values in the channel that has most; 0 where they are as many as chance gives."""
    if array.ndim < 2:
        return 0
    if len(np.unique(array)) <= min(_FEW, array.size // 2):
        return len(np.unique(array))
    rows = array.reshape(array.shape[0], -1)
    most = max(len(np.unique(row)) for row in rows)
    return most if most <= _FEW and most * 2 <= rows.shape[1] else 0


def steps_of_grid(array: np.ndarray) -> int:
    """Count the steps of the grid that every channel's numbers lie on; 0 where a channel lies on none."""
    if array.ndim < 2 or array[0].size < _ENOUGH:
        return 0
    counts = np.arange(1, _MOST_STEPS + 1)
    most = 0
    for row in array.reshape(array.shape[0], -1):
        highest = np.abs(row).max()
        if highest == 0:
            continue
        # The highest is a whole number of steps; of which, only trying tells.
        shares = row[: 64 * _ENOUGH, None] / highest * counts
        fits = np.abs(shares - np.round(shares)).max(axis=0) < GRID_OFF
        if not fits.any():
            return 0
        most = max(most, int(counts[fits.argmax()]))
    return most


def _permuted(array: np.ndarray, wanted: np.ndarray, axis: int, same: float) -> int:
    """Count the slices along an axis that changed places, where that is all that happened."""
    if array.ndim <= axis or not 2 <= array.shape[axis] <= _MOST_ROWS:
        return 0
    a, b = (np.moveaxis(t, axis, 0).reshape(t.shape[axis], -1) for t in (array, wanted))
    # Each row by one number that hardly two share, instead of all rows against all.
    probe = np.random.default_rng(0).standard_normal(a.shape[1])
    one, two = np.argsort(a @ probe, kind="stable"), np.argsort(b @ probe, kind="stable")
    order = np.empty(len(a), int)
    order[one] = two
    moved = int((order != np.arange(len(a))).sum())
    return moved if moved and _apart(a, b[order]) <= same else 0
