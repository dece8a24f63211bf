from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coreml.networks import close, normal, run
from tests.coreml.programs import call


def _sample(x: np.ndarray, grid: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate along one axis with NumPy, at positions within the image."""
    points = np.arange(x.shape[axis])
    return np.apply_along_axis(lambda line: np.interp(grid, points, line), axis, x.astype(np.float64))


def _upsampling(mode: str, size: int, count: int) -> np.ndarray:
    """Place the points as UpsampleLayerParams says."""
    i = np.arange(count)
    if mode == "DEFAULT":
        spacing = (size - size / count) / (count - 1) if count > 1 else 0
        return np.minimum(size - 1, i * spacing)
    if mode == "ALIGN_CORNERS_TRUE":
        return np.minimum(size - 1, i * ((size - 1) / (count - 1) if count > 1 else 0))
    spacing = size / count
    return np.clip(i * spacing + 0.5 * spacing - 0.5, 0, size - 1)


@pytest.mark.parametrize("mode", ["DEFAULT", "ALIGN_CORNERS_TRUE", "ALIGN_CORNERS_FALSE"])
@given(st.tuples(st.integers(1, 4), st.integers(1, 4)), st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_bilinear_upsampling(mode: str, size: tuple[int, int], scale: tuple[int, int]) -> None:
    x = normal(2, 3, *size)
    expected = x
    for axis in (0, 1):
        expected = _sample(expected, _upsampling(mode, size[axis], size[axis] * scale[axis]), axis - 2)

    found = run(lambda b: b.add_upsample("u", *scale, "x", "y", mode="BILINEAR", linear_upsample_mode=mode), x=x)

    close(found, expected)


def test_the_default_upsampling_holds_the_last_pixel() -> None:
    found = run(lambda b: b.add_upsample("u", 2, 3, "x", "y", mode="BILINEAR"), x=[[[1.0, 2.0, 3.0]]])

    third = 1 / 3
    close(found, [[[1, 1 + third, 2 - third, 2, 2 + third, 3 - third, 3, 3, 3]] * 2])


@pytest.mark.parametrize("mode", ["ALIGN_CORNERS_TRUE", "ALIGN_CORNERS_FALSE"])
def test_upsampling_by_a_fraction_rounds_the_size_down(mode: str) -> None:
    x = normal(1, 1, 5, 3)
    expected = _sample(_sample(x, _upsampling(mode, 5, 7), -2), _upsampling(mode, 3, 5), -1)

    found = run(lambda b: b.add_upsample("u", 1.5, 1.75, "x", "y", mode="BILINEAR", linear_upsample_mode=mode), x=x)

    close(found, expected)


@pytest.mark.parametrize("shape", [(3, 2, 4), (2, 3, 2, 4), (1, 2, 3, 2, 4)])
def test_nearest_upsampling_repeats_pixels(shape: tuple[int, ...]) -> None:
    x = normal(*shape)

    found = run(lambda b: b.add_upsample("u", 2, 3, "x", "y", mode="NN"), x=x)

    close(found, x.repeat(2, -2).repeat(3, -1))


@pytest.mark.parametrize(("size", "scale"), [(3, 5 / 3), (7, 9 / 7), (49, 1 / 49), (161, 3 / 161), (14, 110 / 14)])
@pytest.mark.parametrize("mode", ["ALIGN_CORNERS_TRUE", "ALIGN_CORNERS_FALSE"])
def test_upsampling_by_a_ratio_of_sizes_gives_the_second_size(size: int, scale: float, mode: str) -> None:
    x = normal(1, size, 2)

    found = run(
        lambda b: b.add_upsample("u", scale, 2.5, "x", "y", mode="BILINEAR", linear_upsample_mode=mode), x=x
    )

    assert found.shape == (1, round(size * scale), 5)


# Of all pairs of sizes below 300, those for which floats and integers disagree on a pixel: multiples, mostly.
@pytest.mark.parametrize(("size", "target"), [(14, 110), (28, 220), (25, 275), (49, 294), (161, 299), (299, 161)])
def test_the_nearest_pixel_is_that_of_a_program(size: int, target: int) -> None:
    x = np.arange(size, dtype=np.float32).reshape(1, 1, size)
    exact = np.arange(target) * size // target

    def add(b: Any) -> None:
        b.add_upsample("u", 1, 1, "x", "y", mode="NN")
        layer = b.nn_spec.layers[0].upsample
        layer.ClearField("scalingFactor")
        layer.fractionalScalingFactor.extend([1, (target + 1e-4) / size])

    np.testing.assert_array_equal(run(add, x=x)[0, 0], exact)
    program = call("resize_nearest_neighbor", x=x, target_size_height=1, target_size_width=target)
    np.testing.assert_array_equal(program[0, 0], exact)


_SAMPLING = ["STRICT_ALIGN_ENDPOINTS_MODE", "ALIGN_ENDPOINTS_MODE", "UPSAMPLE_MODE", "ROI_ALIGN_MODE"]


def _sampling(mode: str, size: float, count: int) -> np.ndarray:
    """Place the points as SamplingMode says, in the interval from 0 to size - 1."""
    if mode == "STRICT_ALIGN_ENDPOINTS_MODE":
        return np.linspace(0, size - 1, count)
    if mode == "ALIGN_ENDPOINTS_MODE":
        return np.linspace(0, size - 1, count) if count > 1 else np.array([(size - 1) / 2])
    if mode == "UPSAMPLE_MODE":
        return np.minimum(size - 1, np.linspace(0, size - size / count, count))
    spacing = max(1, size - 1) / count
    return np.minimum(size - 1, 0.5 * spacing + spacing * np.arange(count))


@pytest.mark.parametrize("mode", _SAMPLING)
@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_resize_bilinear(mode: str, size: tuple[int, int], target: tuple[int, int]) -> None:
    x = normal(2, *size)
    expected = x
    for axis in (0, 1):
        expected = _sample(expected, _sampling(mode, size[axis], target[axis]), axis - 2)

    close(run(lambda b: b.add_resize_bilinear("r", "x", "y", *target, mode=mode), x=x), expected)


def test_what_is_not_set_has_its_default() -> None:
    def upsample(b: Any) -> None:
        b.add_upsample("u", 2, 2, "x", "y")
        b.nn_spec.layers[0].upsample.ClearField("scalingFactor")

    def resize(b: Any) -> None:
        b.add_resize_bilinear("r", "x", "y", 2, 2, mode=_SAMPLING[0])
        b.nn_spec.layers[0].resizeBilinear.ClearField("targetSize")

    def crop_resize(b: Any) -> None:
        b.add_crop_resize("c", ["x", "b"], "y", 2, 2, _SAMPLING[0])
        b.nn_spec.layers[0].cropResize.ClearField("targetSize")
        b.nn_spec.layers[0].cropResize.ClearField("spatialScale")

    x = normal(1, 1, 2, 4, 5)

    close(run(upsample, x=x), x)
    close(run(resize, x=x), x[..., :1, :1])
    close(run(crop_resize, x=x, b=np.reshape([1, 2, 3, 4], (1, 1, 4, 1, 1))), x[:, :, :, 1:2, 2:3])


_BOXES = np.array([[0.5, 1.0, 3.0, 4.25], [1.0, 0.0, 2.0, 5.0], [2.0, 2.0, 2.0, 2.0]])


def _as_given(box: np.ndarray, mode: str) -> list[float]:
    """Write (top, left, bottom, right) in the way of BoxCoordinatesMode."""
    top, left, bottom, right = box
    if mode.startswith("CENTER"):
        box = np.array([(top + bottom) / 2, (left + right) / 2, bottom - top, right - left])
    return list(box[[1, 0, 3, 2]] if mode.endswith("WIDTH_FIRST") else box)


def _cut(x: np.ndarray, box: np.ndarray, target: tuple[int, int], mode: str) -> np.ndarray:
    for axis in (0, 1):
        start, end = box[axis], box[axis + 2]
        x = _sample(x, start + _sampling(mode, end - start + 1, target[axis]), axis - 2)
    return x


@pytest.mark.parametrize("mode", _SAMPLING)
@pytest.mark.parametrize(
    "boxes_as",
    ["CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST"],
)
@pytest.mark.parametrize("normalized", [False, True])
def test_crop_resize_cuts_every_box_out_of_every_image(mode: str, boxes_as: str, normalized: bool) -> None:
    x, target = normal(1, 2, 3, 5, 7), (2, 3)
    boxes = _BOXES / ([4, 6, 4, 6] if normalized else 1)
    given_boxes = np.array([_as_given(b, boxes_as) for b in boxes]).reshape(3, 1, 4, 1, 1)

    def add(b: Any) -> None:
        b.add_crop_resize("c", ["x", "b"], "y", *target, mode, normalized, boxes_as)

    close(run(add, x=x, b=given_boxes), [_cut(x[0], box, target, mode) for box in _BOXES], 1e-5)


def test_crop_resize_by_boxes_that_name_their_image_and_a_spatial_scale() -> None:
    x, target = normal(1, 2, 3, 5, 7), (2, 2)
    boxes = np.array([[which, *(2 * box)] for which, box in zip((1, 0, 1), _BOXES, strict=True)])
    mode = _SAMPLING[0]

    def add(b: Any) -> None:
        b.add_crop_resize("c", ["x", "b"], "y", *target, mode, False, spatial_scale=0.5)

    expected = [_cut(x[0, w : w + 1], box, target, mode) for w, box in zip((1, 0, 1), _BOXES, strict=True)]
    close(run(add, x=x, b=boxes.reshape(3, 1, 5, 1, 1)), expected, 1e-5)
    assert math.isclose(float(x[0, 1, 0, 2, 2]), float(np.asarray(expected)[2, 0, 0, 0, 0]), rel_tol=1e-6)
