"""Other sizes by interpolation, in each alignment.

Core AI samples at (i + 0.5 - offset) / scale - 0.5. ML Program's alignments are each a first point and a spacing,
from the text of its `resize_bilinear`. Both say the same with scale = 1 / spacing and
offset = 0.5 - (first + 0.5) / spacing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, numbers

_MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS")


def points(size: int, target: int, mode: str) -> tuple[float, float]:
    """Return the first point and the spacing of the points at which an axis is sampled, before they are clamped."""
    if mode == "ALIGN_CORNERS" and target == 1:
        return (size - 1) / 2, 1.0
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return 0.0, (size - 1) / (target - 1) if target > 1 else 1.0
    if mode == "UNALIGN_CORNERS":
        return 0.5 * size / target - 0.5, size / target
    if mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / target
        return 0.5 * delta, delta
    return 0.0, size / target


def grid(size: int, target: int, mode: str) -> np.ndarray:
    """Return the points themselves, within the data, in float64."""
    first, spacing = points(size, target, mode)
    return np.clip(first + spacing * np.arange(target), 0, size - 1)


def _half_way(size: int, target: int, mode: str) -> bool:
    """Tell whether a point lies in the middle between two elements, where neither of them is nearest."""
    fractions = grid(size, target, mode) % 1
    return bool((np.abs(fractions - 0.5) < 1e-6).any())


@st.composite
def _resizes(draw: st.DrawFn, modes: tuple[str, ...] = _MODES, whole: bool = False) -> dict[str, Any]:
    sizes = [draw(st.integers(1, 7)) for _ in range(2)]
    mode = draw(st.sampled_from(modes))
    targets = [draw(st.integers(1, 12)) for _ in range(2)]
    if whole:
        targets = [size * draw(st.integers(1, 3)) for size in sizes]
    return {
        "channels": draw(st.integers(1, 3)),
        "sizes": sizes,
        "targets": targets,
        "mode": mode,
        "half_way": any(_half_way(s, t, mode) for s, t in zip(sizes, targets, strict=True)),
        "numbers": "normal",
    }


def _inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": numbers("normal", (1, a["channels"], *a["sizes"]), random)}


def _interpolated(c: Any, a: Attributes, x: Any, scales: list[float], offsets: list[float], how: str) -> Any:
    shape = np.array([1, a["channels"], *a["targets"]], np.int32)
    scale, offset = (np.array([lead, lead, *rest], np.float32) for lead, rest in ((1, scales), (0, offsets)))
    return c.interpolate(x, shape, scale, offset, how)


def _core(how: str) -> Any:
    def build(c: Any, a: Attributes, x: Any) -> Any:
        sampled = [points(s, t, a["mode"]) for s, t in zip(a["sizes"], a["targets"], strict=True)]
        # One element is all that there is: any spacing will do, and none divides.
        spacings = [spacing or 1.0 for _, spacing in sampled]
        offsets = [0.5 - (first + 0.5) / spacing for (first, _), spacing in zip(sampled, spacings, strict=True)]
        return _interpolated(c, a, x, [1 / spacing for spacing in spacings], offsets, how)

    return build


def _core_repeated(c: Any, a: Attributes, x: Any) -> Any:
    """floor(i * size / target) as the nearest to a point that never lies half-way: that less 1/2 - 1/(2 target)."""
    scales = [target / size for size, target in zip(a["sizes"], a["targets"], strict=True)]
    offsets = [0.5 - 0.5 / size for size in a["sizes"]]
    return _interpolated(c, a, x, scales, offsets, "nearest_neighbor")


def _linear(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    """PyTorch's own resize where it has the alignment, else its sampling at the points of the text."""
    if a["mode"] in ("STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS"):
        aligned = a["mode"] == "STRICT_ALIGN_CORNERS"
        return F.interpolate(x, a["targets"], mode="bilinear", align_corners=aligned)
    ys, xs = (grid(s, t, a["mode"]) for s, t in zip(a["sizes"], a["targets"], strict=True))
    return _sampled(x, *np.meshgrid(ys, xs, indexing="ij"))


def _sampled(x: torch.Tensor, ys: np.ndarray, xs: np.ndarray) -> torch.Tensor:
    """Sample [1, C, H, W] at points in elements; -1 to 1 is what grid_sample calls the first and the last."""
    spans = [max(size - 1, 1) for size in x.shape[-2:]]
    where = torch.from_numpy(np.stack([2 * xs / spans[1] - 1, 2 * ys / spans[0] - 1], axis=-1))[None]
    return F.grid_sample(x, where, mode="bilinear", padding_mode="border", align_corners=True)


def _nearest(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    """The nearest element; half-way the even one, as Core AI says; ML Program's text leaves it open."""
    for axis, (size, target) in enumerate(zip(a["sizes"], a["targets"], strict=True), start=2):
        x = x.index_select(axis, torch.from_numpy(grid(size, target, a["mode"]).round()).long())
    return x


def _factors(a: Attributes) -> dict[str, float]:
    height, width = (t // s for s, t in zip(a["sizes"], a["targets"], strict=True))
    return {"scale_factor_height": float(height), "scale_factor_width": float(width)}


@st.composite
def _places(draw: st.DrawFn) -> dict[str, Any]:
    sizes = [draw(st.integers(2, 6)) for _ in range(2)]
    return {"channels": 1, "sizes": sizes, "rows": draw(st.integers(1, 4)), "columns": draw(st.integers(1, 4))}


def _placed(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Points (x, y) in elements, some outside the data."""
    shape = (1, a["rows"], a["columns"])
    height, width = a["sizes"]
    where = [random.uniform(-1, size, shape) for size in (width, height)]
    return _inputs(a, random) | {"coordinates": np.stack(where, axis=-1).astype(np.float32)}


def _mil_resample(b: Any, a: Attributes, x: Any, coordinates: Any) -> Any:
    return b.resample(
        x=x,
        coordinates=coordinates,
        sampling_mode="bilinear",
        padding_mode="border",
        padding_value=0.0,
        coordinates_mode="unnormalized",
        align_corners=True,
    )


def _core_resample(c: Any, a: Attributes, x: Any, coordinates: Any) -> Any:
    count = a["rows"] * a["columns"]
    where = c.reverse(c.reshape(coordinates, [count, 2]), [1])
    sampled = c.interpolate_coordinates(c.reshape(x, a["sizes"]), where, "linear")
    return c.reshape(sampled, [1, 1, a["rows"], a["columns"]])


OPERATIONS = (
    Operation(
        "resize (linear)",
        _resizes(),
        _inputs,
        lambda b, a, x: b.resize(
            x=x, shape=a["targets"], resized_dims=np.uint32(2), interpolation_mode="LINEAR", sampling_mode=a["mode"]
        ),
        _core("linear"),
        _linear,
        rounding="sum",
    ),
    Operation(
        "resize (nearest)",
        _resizes(),
        _inputs,
        lambda b, a, x: b.resize(
            x=x,
            shape=a["targets"],
            resized_dims=np.uint32(2),
            interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode=a["mode"],
        ),
        _core("nearest_neighbor"),
        _nearest,
        rounding="none",
    ),
    Operation(
        "resize_bilinear",
        _resizes(),
        _inputs,
        lambda b, a, x: b.resize_bilinear(
            x=x, target_size_height=a["targets"][0], target_size_width=a["targets"][1], sampling_mode=a["mode"]
        ),
        _core("linear"),
        _linear,
        rounding="sum",
    ),
    Operation(
        "resize_nearest_neighbor",
        _resizes(modes=("DEFAULT",)),
        _inputs,
        lambda b, a, x: b.resize_nearest_neighbor(
            x=x, target_size_height=a["targets"][0], target_size_width=a["targets"][1]
        ),
        _core_repeated,
        lambda a, x: F.interpolate(x, a["targets"], mode="nearest"),
        rounding="none",
    ),
    Operation(
        "upsample_bilinear",
        _resizes(modes=("STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS"), whole=True),
        _inputs,
        lambda b, a, x: b.upsample_bilinear(x=x, align_corners=a["mode"] == "STRICT_ALIGN_CORNERS", **_factors(a)),
        _core("linear"),
        _linear,
        rounding="sum",
    ),
    Operation(
        "upsample_nearest_neighbor",
        _resizes(modes=("DEFAULT",), whole=True),
        _inputs,
        lambda b, a, x: b.upsample_nearest_neighbor(x=x, **_factors(a)),
        _core_repeated,
        lambda a, x: F.interpolate(x, a["targets"], mode="nearest"),
        rounding="none",
    ),
    Operation(
        "resample",
        _places(),
        _placed,
        _mil_resample,
        _core_resample,
        lambda a, x, where: _sampled(x, where[0, ..., 1].numpy(), where[0, ..., 0].numpy()),
        rounding="sum",
    ),
)
