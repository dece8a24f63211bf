from __future__ import annotations

from typing import Any

import pytest

from conversion.guards.quiet import import_coremltools
from parity.coreml.shapes import Span, array_shapes, default_shape, fits, image_sizes, name_shapes, name_sizes

proto = import_coremltools().proto.FeatureTypes_pb2


def array(shape: tuple[int, ...] = (), listed: Any = (), ranges: Any = ()) -> Any:
    made = proto.ArrayFeatureType(shape=shape)
    for one in listed:
        made.enumeratedShapes.shapes.add(shape=one)
    for low, high in ranges:
        made.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
    return made


def image(size: tuple[int, int] = (0, 0), listed: Any = (), ranges: Any = ()) -> Any:
    made = proto.ImageFeatureType(width=size[0], height=size[1])
    for width, height in listed:
        made.enumeratedSizes.sizes.add(width=width, height=height)
    for bounds, target in zip(
        ranges, (made.imageSizeRange.widthRange, made.imageSizeRange.heightRange), strict=False
    ):
        target.lowerBound, target.upperBound = bounds
    return made


@pytest.mark.parametrize(
    ("described", "shapes", "default", "name"),
    [
        (array(), [], (), ""),
        (array((2, 3)), [(2, 3)], (2, 3), "(2, 3)"),
        (array((2,), listed=[(4,), (2,)]), [(2,), (4,)], (2,), "(2) or (4)"),
        (array(listed=[(4,), (2,)]), [(4,), (2,)], (4,), "(4) or (2)"),
        (array((2, 3), ranges=[(1, 5), (3, 3)]), [(Span(1, 5), 3)], (2, 3), "(1..5, 3)"),
        (array(ranges=[(1, -1)]), [(Span(1, None),)], (1,), "(1..)"),
    ],
)
def test_shapes_of_arrays(described: Any, shapes: list[Any], default: tuple[int, ...], name: str) -> None:
    assert array_shapes(described) == shapes
    assert default_shape(described) == default
    assert name_shapes(shapes) == name


@pytest.mark.parametrize(
    ("described", "sizes", "name"),
    [
        (image((6, 4)), [(6, 4)], "6 x 4"),
        (image((6, 4), listed=[(4, 6), (6, 4)]), [(6, 4), (4, 6)], "6 x 4 or 4 x 6"),
        (image(listed=[(4, 6)]), [(4, 6)], "4 x 6"),
        (image((64, 64), ranges=[(48, 128), (48, 96)]), [(Span(48, 128), Span(48, 96))], "48..128 x 48..96"),
        (image((64, 64), ranges=[(1, -1), (7, 7)]), [(Span(1, None), 7)], "1.. x 7"),
    ],
)
def test_sizes_of_images(described: Any, sizes: list[Any], name: str) -> None:
    assert image_sizes(described) == sizes
    assert name_sizes(sizes) == name


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ((), (), True),
        ((2, 3), (2, 3), True),
        ((2, 3), (2, None), True),
        ((2, 3), (2,), False),
        ((2, 3), (3, 2), False),
        ((4,), (Span(4, 5),), True),
        ((5,), (Span(4, 5),), True),
        ((6,), (Span(4, 5),), False),
        ((3,), (Span(4, None),), False),
        ((10**9,), (Span(4, None),), True),
    ],
)
def test_what_fits(found: tuple[int, ...], wanted: Any, expected: bool) -> None:
    assert fits(found, wanted) is expected
