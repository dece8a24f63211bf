from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from parity.coreml.ops.image_resizing import grid, nearest_elements, repeated_elements, scaled_size
from tests.coreml.programs import Builder, call, convert, edited, run

_RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape).astype(np.float32)


# Apple's own examples: the grid points of two elements, 0 and 1, rounded to two digits.
@pytest.mark.parametrize(
    ("mode", "points"),
    [
        ("UNALIGN_CORNERS", [0, 0.1, 0.5, 0.9, 1]),
        ("STRICT_ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
        ("ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
        ("DEFAULT", [0, 0.4, 0.8, 1, 1]),
        ("OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("UNALIGN_CORNERS", [0, 0, 0.33, 0.67, 1, 1]),
        ("STRICT_ALIGN_CORNERS", [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ("DEFAULT", [0, 0.33, 0.67, 1, 1, 1]),
        ("OFFSET_CORNERS", [0.08, 0.25, 0.42, 0.58, 0.75, 0.92]),
        ("STRICT_ALIGN_CORNERS", [0]),
        ("ALIGN_CORNERS", [0.5]),
    ],
)
def test_resize_bilinear_samples_at_apples_grid_points(mode: str, points: list[float]) -> None:
    # Between 0 and 1 the interpolated value is the grid point itself.
    x = np.float32([[[0, 1]]])

    found = call("resize_bilinear", x=x, target_size_height=1, target_size_width=len(points), sampling_mode=mode)

    np.testing.assert_allclose(found[0, 0], points, atol=0.005)
    upright = call(
        "resize_bilinear",
        x=np.float32([[[0], [1]]]),
        target_size_height=len(points),
        target_size_width=1,
        sampling_mode=mode,
    )
    np.testing.assert_allclose(upright[0, :, 0], found[0, 0])


@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 2),
    target=st.tuples(*[st.integers(1, 9)] * 2),
    aligned=st.booleans(),
)
def test_two_of_the_modes_are_pytorchs(sizes: tuple[int, int], target: tuple[int, int], aligned: bool) -> None:
    x = _normal(1, 2, *sizes)

    found = call(
        "resize_bilinear",
        x=x,
        target_size_height=target[0],
        target_size_width=target[1],
        sampling_mode="STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS",
    )

    wanted = F.interpolate(torch.from_numpy(x), target, mode="bilinear", align_corners=aligned)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@given(sizes=st.tuples(*[st.integers(1, 6)] * 2), target=st.tuples(*[st.integers(1, 9)] * 2))
def test_nearest_neighbours_are_pytorchs(sizes: tuple[int, int], target: tuple[int, int]) -> None:
    x = _normal(1, 2, *sizes)

    found = call("resize_nearest_neighbor", x=x, target_size_height=target[0], target_size_width=target[1])

    np.testing.assert_array_equal(found, F.interpolate(torch.from_numpy(x), target, mode="nearest"))


_SIZES = range(1, 300)


def test_a_scaled_size_is_what_coremltools_infers_for_all_sizes_below_300() -> None:
    for size in _SIZES:
        # As a ratio, as torch hands it over, and as coremltools' torch front end writes it.
        for scale in ([t / size for t in _SIZES], [(t + 1e-4) / size for t in _SIZES]):
            # The line of upsample_bilinear.type_inference, where `val` is a float32 and the size a Python int.
            inferred = [int(np.floor(val * size)) for val in np.float32(scale)]

            assert [scaled_size(size, float(val)) for val in np.float32(scale)] == inferred


def test_repeated_elements_are_exact_quotients_for_all_sizes_below_300() -> None:
    places = np.concatenate([np.arange(target) for target in _SIZES])
    targets = np.repeat(_SIZES, _SIZES)
    for size in _SIZES:
        elements = torch.cat([repeated_elements(size, target) for target in _SIZES]).numpy()

        # What floor(places * size / targets) means, without a division.
        assert np.all(elements * targets <= places * size)
        assert np.all(places * size < (elements + 1) * targets)


@pytest.mark.parametrize(
    "mode", ["DEFAULT", "UNALIGN_CORNERS", "OFFSET_CORNERS", "ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"]
)
@given(size=st.integers(1, 300), target=st.integers(1, 300))
@example(size=14, target=110)
@example(size=25, target=275)
def test_the_nearest_element_is_that_of_the_exact_grid(mode: str, size: int, target: int) -> None:
    def point(i: int) -> Fraction:
        """Apply Apple's formulas, in exact fractions."""
        if mode == "DEFAULT":
            return i * Fraction(size, target)
        if mode == "UNALIGN_CORNERS":
            return i * Fraction(size, target) + Fraction(size, 2 * target) - Fraction(1, 2)
        if mode == "OFFSET_CORNERS":
            delta = Fraction(max(1, size - 1), target)
            return delta / 2 + i * delta
        if target == 1:
            return Fraction(size - 1, 2) if mode == "ALIGN_CORNERS" else Fraction(0)
        return i * Fraction(size - 1, target - 1)

    points = [min(Fraction(size - 1), max(Fraction(0), point(i))) for i in range(target)]
    half = Fraction(1, 2)
    wanted = [math.ceil(p - half) if mode == "DEFAULT" else math.floor(p + half) for p in points]

    assert nearest_elements(size, target, mode).tolist() == wanted
    np.testing.assert_allclose(grid(torch.tensor(size), target, mode), np.array(points, float), atol=1e-12)


@pytest.mark.parametrize(("size", "scale"), [(3, 5 / 3), (7, 9 / 7), (49, 1 / 49), (161, 3 / 161), (14, 110 / 14)])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_program_gives_the_size_that_it_declares(size: int, scale: float, precision: str) -> None:
    x = np.arange(size * 2, dtype=np.float32).reshape(1, size, 2)

    def body(x: Any) -> list[Any]:
        scales = {"scale_factor_height": np.float32(scale), "scale_factor_width": np.float32(2.5)}
        return [Builder.upsample_bilinear(x=x, **scales), Builder.upsample_nearest_neighbor(x=x, **scales)]

    smooth, coarse = run(body, x, precision=precision)

    # round, because every one of these scales was a size by a size.
    assert smooth.shape == coarse.shape == (1, round(size * scale), 5)


def test_a_size_that_was_declared_from_a_product_in_double_is_kept() -> None:
    x = np.float32([[[1], [2], [3]]])
    model = convert(lambda x: Builder.upsample_nearest_neighbor(x=x, scale_factor_height=np.float32(5 / 3)), x)

    def declare(operations: Any) -> None:
        for operation in operations:
            if operation.type == "upsample_nearest_neighbor":
                operation.outputs[0].type.tensorType.dimensions[1].constant.size = 4

    # float32(5/3) is 1.66666662..., and three times that below 5.
    old = Evaluator(edited(model, declare))

    assert next(iter(old.predict({"x": x}).values())).tolist() == [[[1], [1], [2], [3]]]


@pytest.mark.parametrize("aligned", [False, True])
def test_upsampling_rounds_sizes_down(aligned: bool) -> None:
    x = _normal(1, 2, 3, 4)
    factors = {"scale_factor_height": 2.5, "scale_factor_width": 1.3}

    smooth = call("upsample_bilinear", x=x, align_corners=aligned, **factors)
    coarse = call("upsample_nearest_neighbor", x=x, **factors)

    wanted = F.interpolate(torch.from_numpy(x), (7, 5), mode="bilinear", align_corners=aligned)
    np.testing.assert_allclose(smooth, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(coarse, F.interpolate(torch.from_numpy(x), (7, 5), mode="nearest"))


def test_upsampling_aligns_corners_and_keeps_sizes_by_default() -> None:
    x = _normal(1, 2, 3, 4)

    np.testing.assert_array_equal(call("upsample_bilinear", x=x), x)
    np.testing.assert_array_equal(call("upsample_nearest_neighbor", x=x), x)
    doubled = call("upsample_bilinear", x=x, scale_factor_width=2)
    np.testing.assert_array_equal(doubled[..., -1], x[..., -1])


def test_half_pixel_centers_is_the_other_way_not_to_align_corners() -> None:
    x = np.float32([[[0, 1]]])
    given: dict[str, Any] = {"x": x, "scale_factor_width": 2.5, "align_corners": False}

    middles = call("upsample_bilinear", half_pixel_centers=True, **given)
    edges = call("upsample_bilinear", half_pixel_centers=False, **given)

    np.testing.assert_allclose(middles[0, 0], [0, 0.1, 0.5, 0.9, 1], rtol=1e-6)
    np.testing.assert_allclose(edges[0, 0], [0, 0.4, 0.8, 1, 1], rtol=1e-6)
    with pytest.raises(CoreMLError, match="exclude each other"):
        call("upsample_bilinear", x=x, align_corners=True, half_pixel_centers=True)


def test_crop_cuts_each_side() -> None:
    x = _normal(2, 3, 6, 7)

    np.testing.assert_array_equal(call("crop", x=x, crop_height=(1, 0), crop_width=(2, 3)), x[..., 1:, 2:-3])


def test_resize_keeps_the_size_where_the_shape_has_zero() -> None:
    x = _normal(1, 2, 3, 4)

    # Apple's two examples.
    assert call("resize", x=x, shape=(1, 6, 8), resized_dims=2).shape == (1, 2, 6, 8)
    assert call("resize", x=x, shape=(1, 0, 0), resized_dims=2).shape == (1, 2, 3, 4)
    bilinear = call("resize_bilinear", x=x, target_size_height=6, target_size_width=8)
    np.testing.assert_array_equal(call("resize", x=x, shape=(6, 8), resized_dims=2), bilinear)


def test_resize_takes_the_nearest_element_and_any_number_of_axes() -> None:
    x = np.int32([10, 20, 30])

    def nearest(mode: str, target: int) -> list[int]:
        given: dict[str, Any] = {"interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": mode}
        return list(call("resize", x=x, shape=(target,), resized_dims=1, **given))

    assert nearest("DEFAULT", 6) == [10, 10, 20, 20, 30, 30]
    assert nearest("DEFAULT", 2) == [10, 20]
    # Apple's recorded case: of two elements, the second from the second target on.
    assert list(call("resize", x=x[:2], shape=(3,), resized_dims=1, interpolation_mode="NEAREST_NEIGHBOR")) == [
        10,
        20,
        20,
    ]
    assert nearest("UNALIGN_CORNERS", 2) == [10, 30]
    assert nearest("STRICT_ALIGN_CORNERS", 2) == [10, 30]


def test_all_run_in_a_program() -> None:
    x = _normal(1, 2, 4, 4)

    def body(x: Any) -> list[Any]:
        return [
            Builder.crop(x=x, crop_height=[1, 1], crop_width=[0, 2]),
            Builder.resize_bilinear(
                x=x, target_size_height=3, target_size_width=5, sampling_mode="UNALIGN_CORNERS"
            ),
            Builder.resize_nearest_neighbor(x=x, target_size_height=3, target_size_width=5),
            Builder.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3),
            Builder.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
            Builder.resize(x=x, shape=[8, 8], resized_dims=np.uint32(2), sampling_mode="OFFSET_CORNERS"),
        ]

    shapes = [f.shape[2:] for f in run(body, x, target="iOS17")]

    assert shapes == [(2, 2), (3, 5), (3, 5), (8, 12), (8, 12), (8, 8)]


def test_fp16_rounds_what_is_interpolated() -> None:
    x = np.float32([[[2048, 2050]]])

    def body(x: Any) -> Any:
        return Builder.resize_bilinear(
            x=x, target_size_height=1, target_size_width=3, sampling_mode="STRICT_ALIGN_CORNERS"
        )

    assert run(body, x)[0].tolist() == [[[2048, 2049, 2050]]]
    assert run(body, x, precision="fp16")[0].tolist() == [[[2048, 2048, 2050]]]
