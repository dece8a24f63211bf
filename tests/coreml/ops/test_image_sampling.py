from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.coreml.programs import Builder, call, run

_NUMBERS = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
_CORNERS = np.float32([[[[11, 22], [33, 44]]]])


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).normal(size=shape).astype(np.float32)


# PyTorch's reflection is Apple's where the corners' middles are aligned, and the symmetric one where they are not.
_PADDINGS = [
    ("constant", "zeros", True),
    ("constant", "zeros", False),
    ("border", "border", True),
    ("border", "border", False),
    ("reflection", "reflection", True),
    ("symmetric", "reflection", False),
]


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 2),
    padding=st.sampled_from(_PADDINGS),
    mode=st.sampled_from(["bilinear", "nearest"]),
    reach=st.sampled_from([0.9, 5.0]),
)
def test_resample_is_pytorchs_grid_sample(
    sizes: tuple[int, int], padding: tuple[str, str, bool], mode: str, reach: float
) -> None:
    x = _normal(2, 3, *sizes)
    points = np.random.default_rng(0).uniform(-reach, reach, (2, 3, 4, 2)).astype(np.float32)
    name, torchs, aligned = padding

    found = call(
        "resample",
        x=x,
        coordinates=points,
        sampling_mode=mode,
        padding_mode=name,
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=aligned,
    )

    wanted = F.grid_sample(torch.from_numpy(x), torch.from_numpy(points), mode, torchs, aligned)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


_POINTS = np.float32([[[[-1, -2], [-3.7, -1]], [[0, 0], [3.5, 1.2]]]])


# Apple's own four cases.
@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True), [8.585, 6.17, 27.5, 6.17]),
        (("nearest", "border", -1.0, "unnormalized", False), [11, 11, 11, 44]),
        (("bilinear", "reflection", -1.0, "normalized_zero_to_one", True), [22, 36.3, 11, 34.1]),
        (("nearest", "symmetric", -1.0, "normalized_zero_to_one", False), [22, 33, 11, 33]),
    ],
)
def test_resample_gives_apples_numbers(settings: tuple[Any, ...], wanted: list[float]) -> None:
    names = ("sampling_mode", "padding_mode", "padding_value", "coordinates_mode", "align_corners")

    found = call("resample", x=_CORNERS, coordinates=_POINTS, **dict(zip(names, settings, strict=True)))

    np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-5)


@pytest.mark.parametrize("aligned", [False, True])
def test_unnormalized_coordinates_are_pixels_and_may_be_integers(aligned: bool) -> None:
    given: dict[str, Any] = {
        "x": _NUMBERS,
        "sampling_mode": "bilinear",
        "padding_mode": "constant",
        "padding_value": 100.0,
        "coordinates_mode": "unnormalized",
        "align_corners": aligned,
    }

    whole = call("resample", coordinates=np.int32([[[[3, 1], [0, 2], [4, 0]]]]), **given)
    between = call("resample", coordinates=np.float32([[[[2.5, 1], [3.5, 0], [0, -0.25]]]]), **given)

    assert whole.reshape(-1).tolist() == [8, 9, 100]
    # Half a pixel beyond the right edge, half of what is seen is padding; a quarter above the upper one.
    np.testing.assert_allclose(between.reshape(-1), [7.5, 52, 25.75])


def test_a_coordinate_that_is_no_number_gives_none() -> None:
    found = call(
        "resample",
        x=_NUMBERS,
        coordinates=np.float32([[[[np.nan, 1], [1, 1]]]]),
        sampling_mode="bilinear",
        padding_mode="border",
        padding_value=0.0,
        coordinates_mode="unnormalized",
        align_corners=True,
    )

    np.testing.assert_array_equal(found.reshape(-1), [np.nan, 6])


@pytest.mark.parametrize(("aligned", "wanted"), [(True, [1, 2.5, 4]), (False, [1, 2.5, 4])])
def test_normalised_coordinates_reach_the_corners(aligned: bool, wanted: list[float]) -> None:
    end = 1.0 if aligned else 0.75
    for mode, points in (
        ("normalized_minus_one_to_one", [-end, 0, end]),
        ("normalized_zero_to_one", [(1 - end) / 2, 0.5, (1 + end) / 2]),
    ):
        coordinates = np.float32([[[[p, p] for p in points]]])

        found = call(
            "resample",
            x=np.tile(np.float32([1, 2, 3, 4]), (1, 1, 4, 1)),
            coordinates=coordinates,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode=mode,
            align_corners=aligned,
        )

        np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-6)


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 2, *[st.integers(2, 5)] * 2),
    batches=st.sampled_from([(1, 1), (2, 1), (2, 2)]),
    aligned=st.booleans(),
)
def test_affine_is_pytorchs_affine_grid(
    sizes: tuple[int, int, int, int], batches: tuple[int, int], aligned: bool
) -> None:
    height, width, target_height, target_width = sizes
    x = _normal(batches[0], 2, height, width)
    matrix = np.random.default_rng(1).uniform(-1.2, 1.2, (batches[1], 6)).astype(np.float32)

    found = call(
        "affine",
        x=x,
        transform_matrix=matrix,
        output_height=target_height,
        output_width=target_width,
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=aligned,
    )

    theta = torch.from_numpy(matrix).reshape(-1, 2, 3).expand(batches[0], -1, -1)
    points = F.affine_grid(theta, [batches[0], 2, target_height, target_width], aligned)
    wanted = F.grid_sample(torch.from_numpy(x), points, "bilinear", "zeros", aligned)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_affine_gives_apples_numbers() -> None:
    found = call(
        "affine",
        x=_CORNERS,
        transform_matrix=np.float32([[-1, -2, -3.7, -1, 3.5, 1.2]]),
        output_height=2,
        output_width=5,
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=True,
    )

    np.testing.assert_allclose(found[0, 0, 0], [10.752501, 5.94, 2.5025, 0.44, 0], rtol=1e-5, atol=1e-5)
    assert not found[0, 0, 1].any()


def test_affine_puts_a_single_pixel_in_the_middle() -> None:
    found = call(
        "affine",
        x=_CORNERS,
        transform_matrix=np.float32([[1, 0, 0, 0, 1, 0]]),
        output_height=1,
        output_width=1,
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=True,
    )

    assert found.tolist() == [[[[27.5]]]]


_BOX = np.float32([1, 1, 2, 2])


# Apple's own five cases of the mode ALIGN_CORNERS.
@pytest.mark.parametrize(
    ("box", "target", "normalized", "wanted"),
    [
        ([1, 1, 2, 2], 2, False, [6, 7, 10, 11]),
        ([1, 1, 2, 2], 1, False, [8.5]),
        ([0, 0, 1 / 3, 1 / 3], 2, True, [1, 2, 5, 6]),
        ([2, 2, 1, 1], 2, False, [11, 10, 7, 6]),
        (
            [1, 1, 2, 2],
            4,
            False,
            [6, 19 / 3, 20 / 3, 7, 22 / 3, 23 / 3, 8, 25 / 3, 26 / 3, 9, 28 / 3, 29 / 3, 10, 31 / 3, 32 / 3, 11],
        ),
    ],
)
def test_crop_resize_gives_apples_numbers(
    box: list[float], target: int, normalized: bool, wanted: list[float]
) -> None:
    found = call(
        "crop_resize",
        "iOS15",
        x=_NUMBERS,
        roi=np.float32(box).reshape(1, 1, 4, 1, 1),
        target_height=target,
        target_width=target,
        normalized_coordinates=normalized,
        sampling_mode="ALIGN_CORNERS",
    )

    assert found.shape == (1, 1, 1, target, target)
    np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-5)


def test_a_point_outside_the_image_has_the_padding_value() -> None:
    # Apple's own three boxes.
    boxes = np.float32([[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]])
    wanted = [3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4, 10.3]
    given: dict[str, Any] = {
        "target_height": 2,
        "target_width": 2,
        "normalized_coordinates": True,
        "sampling_mode": "ALIGN_CORNERS",
    }

    new = call("crop_resize", x=_NUMBERS, boxes=boxes, box_indices=np.int32([0, 0, 0]), pad_value=10.0, **given)
    roi = np.concatenate([np.zeros((3, 1), np.float32), boxes], 1).reshape(3, 1, 5, 1, 1)
    old = call("crop_resize", "iOS16", x=_NUMBERS, roi=roi, pad_value=10.0, **given)
    plain = call("crop_resize", "iOS15", x=_NUMBERS, roi=roi, **given)

    assert new.shape == (3, 1, 2, 2)
    assert old.shape == (3, 1, 1, 2, 2)
    np.testing.assert_allclose(new.reshape(-1), wanted, rtol=1e-3)
    np.testing.assert_array_equal(old.reshape(-1), new.reshape(-1))
    np.testing.assert_allclose(plain.reshape(-1), [0 if w == 10 else w for w in wanted], rtol=1e-3)


def test_unalign_corners_mirrors_what_lies_outside_as_in_apples_test() -> None:
    found = call(
        "crop_resize",
        "iOS15",
        x=_NUMBERS,
        roi=np.float32([2, 2, 1, 1]).reshape(1, 1, 4, 1, 1),
        target_height=2,
        target_width=2,
        normalized_coordinates=True,
        sampling_mode="UNALIGN_CORNERS",
    )

    assert found.reshape(-1).tolist() == [3.5, 5.5, 11.5, 13.5]


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 4),
    mode=st.sampled_from(["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS"]),
    normalized=st.booleans(),
)
def test_a_box_of_a_part_is_that_part_resized(
    sizes: tuple[int, int, int, int], mode: str, normalized: bool
) -> None:
    height, width, *target = sizes
    image = _normal(1, 2, height + 3, width + 2)
    box = np.float32([2, 1, height + 1, width])
    if normalized:
        box = box / np.float32([height + 2, width + 1] * 2)

    found = call(
        "crop_resize",
        x=image,
        boxes=box[None],
        target_height=target[0],
        target_width=target[1],
        normalized_coordinates=normalized,
        sampling_mode=mode,
    )

    part = np.ascontiguousarray(image[:, :, 2 : height + 2, 1 : width + 1])
    wanted = call(
        "resize_bilinear", x=part, target_size_height=target[0], target_size_width=target[1], sampling_mode=mode
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "box"),
    [
        ("CORNERS_HEIGHT_FIRST", [1, 0, 3, 2]),
        ("CORNERS_WIDTH_FIRST", [0, 1, 2, 3]),
        ("CENTER_SIZE_HEIGHT_FIRST", [2, 1, 2, 2]),
        ("CENTER_SIZE_WIDTH_FIRST", [1, 2, 2, 2]),
    ],
)
def test_a_box_is_written_in_four_ways(mode: str, box: list[float]) -> None:
    given: dict[str, Any] = {"target_height": 3, "target_width": 3, "sampling_mode": "ALIGN_CORNERS"}

    whole = call("crop_resize", x=_NUMBERS, boxes=np.float32([box]), box_coordinate_mode=mode, **given)
    half = np.float32([box]) / 2
    scaled = call("crop_resize", x=_NUMBERS, boxes=half, box_coordinate_mode=mode, spatial_scale=2.0, **given)

    np.testing.assert_array_equal(whole[0, 0], _NUMBERS[0, 0, 1:4, 0:3])
    np.testing.assert_array_equal(scaled, whole)


def test_boxes_choose_their_images() -> None:
    x = np.stack([_NUMBERS[0], _NUMBERS[0] + 100])
    boxes = np.float32([[0, 0, 0, 0], [1, 1, 1, 1], [3, 3, 3, 3]])

    chosen = call("crop_resize", x=x, boxes=boxes, box_indices=np.int32([1, 0, 1]))
    in_order = call("crop_resize", x=x, boxes=boxes[:2])
    each = call("crop_resize", "iOS16", x=x, roi=boxes.reshape(3, 1, 4, 1, 1))
    own = call(
        "crop_resize",
        "iOS16",
        x=x,
        roi=np.concatenate([np.float32([[1], [0], [1]]), boxes], 1).reshape(3, 1, 5, 1, 1),
    )

    assert chosen.reshape(-1).tolist() == [101, 6, 116]
    assert in_order.reshape(-1).tolist() == [1, 106]
    assert each.shape == (3, 2, 1, 1, 1)
    assert each.reshape(-1).tolist() == [1, 101, 6, 106, 16, 116]
    assert own.shape == (3, 1, 1, 1, 1)
    assert own.reshape(-1).tolist() == [101, 6, 116]


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17", "iOS18"])
def test_all_run_in_a_program_of_every_opset(target: str) -> None:
    boxes: dict[str, Any] = {"roi": _BOX.reshape(1, 1, 4, 1, 1)}
    if target >= "iOS17":
        boxes = {"boxes": _BOX.reshape(1, 4)}

    def body(x: Any, points: Any) -> list[Any]:
        how: dict[str, Any] = {
            "sampling_mode": "bilinear",
            "padding_mode": "constant",
            "padding_value": np.float32(0),
            "coordinates_mode": "normalized_minus_one_to_one",
            "align_corners": True,
        }
        matrix = np.float32([[1, 0, 0, 0, 1, 0]])
        return [
            Builder.resample(x=x, coordinates=points, **how),
            Builder.affine(x=x, transform_matrix=matrix, output_height=2, output_width=2, **how),
            Builder.crop_resize(x=x, target_height=2, target_width=2, sampling_mode="ALIGN_CORNERS", **boxes),
        ]

    found = run(body, _NUMBERS, np.float32([[[[0, 0], [1, 1]]]]), target=target)

    wanted = [[8.5, 16], [1, 4, 13, 16], [6, 7, 10, 11]]
    assert [f.reshape(-1).tolist() for f in found] == wanted
    assert found[2].shape == ((1, 1, 2, 2) if target >= "iOS17" else (1, 1, 1, 2, 2))


def test_fp16_rounds_what_is_interpolated() -> None:
    def body(x: Any) -> Any:
        return Builder.crop_resize(
            x=x, boxes=np.float32([[0, 0, 0, 1]]), target_width=3, sampling_mode="STRICT_ALIGN_CORNERS"
        )

    x = np.float32([[[[2048, 2050]]]])
    assert run(body, x, target="iOS17")[0].reshape(-1).tolist() == [2048, 2049, 2050]
    assert run(body, x, target="iOS17", precision="fp16")[0].reshape(-1).tolist() == [2048, 2048, 2050]
