"""What is wrong with one weight, by what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from parity.core.noise import GRID_FACTOR, GRID_OFF, WEIGHT_HALF, WEIGHT_SAME, WEIGHT_UNRELATED
from parity.diagnosis.compression import Compressed
from parity.diagnosis.likeness import distance, likeness
from parity.diagnosis.types import ExpectedWeight, WeightFinding, WeightKind
from parity.diagnosis.types import place as place_of

_FEW = 256
_MOST_ROWS, _PROBES = 4096, 8
# A grid of 8 bits has 127 steps on either side; of fewer numbers than these chance may lay all near one.
_MOST_STEPS, _ENOUGH = 127, 8
# So many numbers of a channel say by what it was multiplied.
_SOME = 3
# How many channels are listed; and a factor that is as good as 0, or as none.
_ARROWS, _NOTHING = 6, 1e-6


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
    if distance(array, wanted) <= allowed or (precision == "fp16" and _is_rounded(array, wanted)):
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
    if mistake := _mistake(array, wanted, expected):
        return _named(mistake), f"is what it would be with this mistake: {mistake}"
    if not array.any():
        return "zeroed", "is all zero"
    for other in all_expected:
        if _is_that_of(array, wanted, other.array, same):
            where = f"; the same constant is read by `{sharing[0]}`" if sharing else ""
            return "shared by mistake", f"is that of `{other.module}`{where}"
    if _is_rounded(array, wanted):
        return "rounded to fp16", "is rounded to fp16"
    if moved := _moved(array, wanted, expected, same):
        return moved
    if expected.factor is not None and (expected.factor != 0).all():
        # What changed places before the batch norm was folded in shows without its factors.
        factor = expected.factor.reshape(array.shape)
        if moved := _moved(array / factor, wanted / factor, expected, same):
            return moved
    if scaled := _scaled(array, wanted, expected, same):
        return "scaled", scaled
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
    return distance(array.reshape(-1), flat) <= same < distance(wanted.reshape(-1), flat)


def _named(mistake: str) -> WeightKind:
    if "not loaded" in mistake:
        return "batch-norm statistics not loaded"
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


def _mistake(array: np.ndarray, wanted: np.ndarray, expected: ExpectedWeight) -> str:
    """Name the mistake that makes a weight what it is; empty where none of the known does."""
    near = {name: distance(array, other.reshape(array.shape)) for name, other in expected.mistakes.items()}
    mistake = min(near, key=near.__getitem__, default="")
    # Another epsilon is nearly the right one: only what fits far better than the right one is a mistake.
    return mistake if mistake and near[mistake] < min(0.1 * distance(array, wanted), 1e-2) else ""


def _moved(
    array: np.ndarray, wanted: np.ndarray, expected: ExpectedWeight, same: float
) -> tuple[WeightKind, str] | None:
    """Say which numbers changed places, where that is all that happened."""
    axes = expected.axes if len(expected.axes) == array.ndim else ("output", "input", "row", "column", "plane")
    for axis in range(array.ndim):
        order = permutation(array, wanted, axis, same)
        if order is not None:
            moved = [i for i, j in enumerate(order) if i != j]
            arrows = ", ".join(f"{i} is {order[i]}" for i in moved[:_ARROWS])
            more = ", ..." if len(moved) > _ARROWS else ""
            kind: WeightKind = "rows permuted" if axis == 0 else "columns permuted"
            word = f"{axes[axis]}s" if axes[axis] in ("row", "column", "plane") else f"{axes[axis]} channels"
            count = f"{len(moved)} of {len(order)} moved"
            return kind, f"has its {word} in another order ({count}: {arrows}{more})"
    for one, other in ((0, 1), (array.ndim - 2, array.ndim - 1)) if array.ndim >= 2 else ():
        turned = array.swapaxes(one, other)
        if turned.shape == wanted.shape and distance(turned, wanted) <= same:
            return "transposed", f"is transposed (axes {one} and {other})"
    for mirrored in ((-1,), (-2,), (-2, -1)) if array.ndim >= 4 else ():
        if distance(np.flip(array, mirrored), wanted) <= same:
            names = " and ".join("columns" if axis == -1 else "rows" for axis in mirrored)
            return "transposed", f"is mirrored (its {names} are backwards)"
    return None


def _scaled(array: np.ndarray, wanted: np.ndarray, expected: ExpectedWeight, same: float) -> str:
    """Say by what a weight is multiplied: all of it, or some of its output channels."""
    scale = float(array.reshape(-1) @ wanted.reshape(-1) / (np.square(wanted).sum() + 1e-30))
    if abs(scale) > _NOTHING and distance(array, scale * wanted) <= same * abs(scale):
        return f"is {scale:.6g} times what it should be"
    if array.ndim < 2 or array[0].size < _SOME:
        return ""
    axis = expected.axes.index("output") if len(expected.axes) == array.ndim and "output" in expected.axes else 0
    a, b = (np.moveaxis(t, axis, 0).reshape(t.shape[axis], -1) for t in (array, wanted))
    scales = (a * b).sum(1) / (np.square(b).sum(1) + 1e-30)
    if distance(a, scales[:, None] * b) > same or not (np.abs(scales) > _NOTHING).all():
        return ""
    other = [i for i, each in enumerate(scales) if abs(each - 1) > max(same, _NOTHING)]
    some = ", ".join(f"{i} by {scales[i]:.4g}" for i in other[:_ARROWS])
    more = ", ..." if len(other) > _ARROWS else ""
    return f"has {len(other)} of {len(scales)} output channels multiplied ({some}{more})"


def permutation(array: np.ndarray, wanted: np.ndarray, axis: int, same: float) -> list[int] | None:
    """Find which slice along an axis each is, where slices changed places and that is all that happened."""
    if not 2 <= array.shape[axis] <= _MOST_ROWS or array.shape != wanted.shape:
        return None
    a, b = (np.moveaxis(t, axis, 0).reshape(t.shape[axis], -1) for t in (array, wanted))
    # Each row by a few numbers that hardly two share, not all rows against all; rounding moves them a little.
    probes = np.random.default_rng(0).standard_normal((a.shape[1], _PROBES))
    order = _paired(a @ probes, b @ probes)
    if (order == np.arange(len(a))).all() or distance(a, b[order]) > same:
        return None
    return [int(place) for place in order]


def _paired(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give each row one of the others, all of them once; what is where it was stays there.

    Rows that are as good as equal, single numbers among them, have one nearest: those left over are paired by size.
    """
    from scipy.spatial import cKDTree

    order = np.arange(len(a))
    moved = np.flatnonzero((np.abs(a - b) > WEIGHT_HALF * np.abs(b).max(initial=0.0)).any(axis=1))
    if not moved.size:
        return order
    taken, first = np.unique(cKDTree(b[moved]).query(a[moved])[1], return_index=True)
    order[moved[first]] = moved[taken]
    rows, places = np.delete(moved, first), np.delete(moved, taken)
    order[rows[np.argsort(a[rows, 0], kind="stable")]] = places[np.argsort(b[places, 0], kind="stable")]
    return order
