"""What is wrong with one weight, told from what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from parity.core.noise import GRID_OFF, WEIGHT_HALF, WEIGHT_SAME
from parity.diagnosis.types import WeightFinding, WeightKind
from parity.diagnosis.types import place as place_of
from parity.formats.graph import Operation

_FEW = 256
_MOST_ROWS = 4096
# A grid of 8 bits has 127 steps on either side; of fewer numbers than these chance may lay all near one.
_MOST_STEPS, _ENOUGH = 127, 8


def likeness(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the cosine of the angle between two arrays."""
    a, b = found.astype(np.float64).reshape(-1), wanted.astype(np.float64).reshape(-1)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 and np.isfinite(size) else 0.0


def compare_weight(
    operation: Operation,
    place: str,
    module: str,
    wanted: np.ndarray,
    alternatives: Mapping[str, np.ndarray],
    others: Sequence[tuple[str, np.ndarray]],
    shared: Sequence[str],
    precision: str,
) -> WeightFinding | None:
    """Compare a weight with what it should be; None where it is that.

    alternatives: told -> what it would be after a known mistake. others: what the other weights should be, by
    module. shared: the other operations that read the same constant.
    """
    found = operation.weights[place].astype(np.float64)
    wanted = wanted.reshape(found.shape)
    allowed = WEIGHT_SAME if precision == "fp32" else WEIGHT_HALF
    if _apart(found, wanted) <= allowed or (precision == "fp16" and _is_rounded(found, wanted)):
        return None
    kind, told = _judge(found, wanted, alternatives, others, shared, max(allowed, 3e-4))
    weight = operation.sources.get(place, f"{operation.name}.{place}")
    size = float(np.square(wanted).mean())
    noise = float(np.square(found - wanted).mean()) if np.isfinite(found).all() else float("inf")
    snr = 10 * float(np.log10(max(size, 1e-300) / max(noise, 1e-300))) if np.isfinite(noise) else float("-inf")
    name = f"`{weight}` of `{operation.name}` ({operation.type})"
    return WeightFinding(
        operation.name,
        operation.type,
        place,
        weight,
        module,
        kind,
        f"{name}, which should come from {place_of(module)}, {told} (SNR {snr:.1f} dB)",
        wanted.astype(np.float32),
        snr,
        len(np.unique(found)),
        harmless=kind == "rounded to fp16",
    )


def _apart(found: np.ndarray, wanted: np.ndarray) -> float:
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.linalg.norm(found - wanted) / (np.linalg.norm(wanted) + 1e-30))


def _is_rounded(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Say whether an array is what rounding to fp16 makes of another, give or take one step."""
    with np.errstate(over="ignore"):
        half = np.array_equal(found, found.astype(np.float16))
    return half and bool((np.abs(found - wanted) <= np.maximum(2.0**-10 * np.abs(wanted), 2.0**-24)).all())


def _judge(
    found: np.ndarray,
    wanted: np.ndarray,
    alternatives: Mapping[str, np.ndarray],
    others: Sequence[tuple[str, np.ndarray]],
    shared: Sequence[str],
    same: float,
) -> tuple[WeightKind, str]:
    """Find the most telling name of a difference."""
    if not np.isfinite(found).all():
        return "non-finite", f"holds {int((~np.isfinite(found)).sum())} numbers that are NaN or infinite"
    if not found.any():
        return "zeroed", "is all zero"
    apart = _apart(found, wanted)
    near = {told: _apart(found, other.reshape(found.shape)) for told, other in alternatives.items()}
    mistake = min(near, key=near.__getitem__, default="")
    # Another epsilon is nearly the right one: only what fits far better than the right one is a mistake.
    if mistake and near[mistake] < min(0.1 * apart, 1e-2):
        return _named(mistake), f"is what it would be with this mistake: {mistake}"
    for module, other in others:
        if _is_that_of(found, wanted, other, same):
            where = f"; the same constant is read by `{shared[0]}`" if shared else ""
            return "shared by mistake", f"is that of `{module}`{where}"
    if _is_rounded(found, wanted):
        return "rounded to fp16", "is rounded to fp16"
    for axis, kind, word in ((0, "rows permuted", "output"), (1, "columns permuted", "input")):
        moved = _permuted(found, wanted, axis, same)
        if moved:
            return cast(
                WeightKind, kind
            ), f"has its {word} channels in another order ({moved} of {found.shape[axis]} moved)"
    for axes in ((0, 1), (-2, -1)) if found.ndim >= 2 else ():
        turned = found.swapaxes(*axes)
        if turned.shape == wanted.shape and _apart(turned, wanted) <= same:
            return "transposed", f"is transposed (axes {axes[0] % found.ndim} and {axes[1] % found.ndim})"
    scale = float(found.reshape(-1) @ wanted.reshape(-1) / (np.square(wanted).sum() + 1e-30))
    if abs(scale) > 1e-6 and _apart(found, scale * wanted) <= same * abs(scale):
        return "scaled", f"is {scale:.6g} times what it should be"
    cosine = likeness(found, wanted)
    if cosine > 0.5 and (values := _levels(found)):
        return "quantised", f"holds {values} distinct values at most in a channel: quantised or palettised"
    if cosine > 0.5 and (steps := steps_of_grid(found)):
        bits = int(np.ceil(np.log2(steps + 1))) + 1
        return "quantised", f"holds multiples of one step in each channel, up to {steps}: quantised to {bits} bits"
    if shared and cosine < 0.9:
        return "shared by mistake", f"is read by `{shared[0]}` too, whose weights are others"
    if abs(cosine) < 0.3 and found.size >= 16:
        return (
            "not loaded",
            f"has nothing in common with it (cosine {cosine:.2f}): not loaded, or of another checkpoint",
        )
    return "other numbers", f"has other numbers (cosine {cosine:.4f})"


def _is_that_of(found: np.ndarray, wanted: np.ndarray, other: np.ndarray, same: float) -> bool:
    """Say whether a weight is another one, and that other one is not the same as the right one."""
    if other.size != found.size or other is wanted or other.size < 2:
        return False
    flat = other.reshape(-1)
    return _apart(found.reshape(-1), flat) <= same < _apart(wanted.reshape(-1), flat)


def _named(mistake: str) -> WeightKind:
    known = ("batch-norm mean and variance swapped", "batch-norm epsilon lost")
    return cast(WeightKind, next((k for k in known if mistake.startswith(k)), "batch norm folded without its bias"))


def _levels(found: np.ndarray) -> int:
    """Count distinct values in the channel that has most; 0 where they are as many as chance gives."""
    if found.ndim < 2:
        return 0
    if len(np.unique(found)) <= min(_FEW, found.size // 2):
        return len(np.unique(found))
    rows = found.reshape(found.shape[0], -1)
    most = max(len(np.unique(row)) for row in rows)
    return most if most <= _FEW and most * 2 <= rows.shape[1] else 0


def steps_of_grid(found: np.ndarray) -> int:
    """Count the steps of the grid that every channel's numbers lie on; 0 where a channel lies on none."""
    if found.ndim < 2 or found[0].size < _ENOUGH:
        return 0
    counts = np.arange(1, _MOST_STEPS + 1)
    most = 0
    for row in found.reshape(found.shape[0], -1):
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


def _permuted(found: np.ndarray, wanted: np.ndarray, axis: int, same: float) -> int:
    """Count the slices along an axis that changed places, where that is all that happened."""
    if found.ndim <= axis or not 2 <= found.shape[axis] <= _MOST_ROWS:
        return 0
    a, b = (np.moveaxis(t, axis, 0).reshape(t.shape[axis], -1) for t in (found, wanted))
    # Each row by one number that hardly two share, instead of all rows against all.
    probe = np.random.default_rng(0).standard_normal(a.shape[1])
    one, two = np.argsort(a @ probe, kind="stable"), np.argsort(b @ probe, kind="stable")
    order = np.empty(len(a), int)
    order[one] = two
    moved = int((order != np.arange(len(a))).sum())
    return moved if moved and _apart(a, b[order]) <= same else 0
