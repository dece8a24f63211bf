"""Shapes that an input may have, and what a file says of them. Source: FeatureTypes.proto."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """Hold the sizes from low to high, both included; high None stands for no limit."""

    low: int
    high: int | None

    def __contains__(self, size: int) -> bool:
        return self.low <= size and (self.high is None or size <= self.high)

    def __str__(self) -> str:
        return f"{self.low}.." if self.high is None else f"{self.low}..{self.high}"


# None stands for any size.
Size = int | Span | None
Shape = tuple[Size, ...]


def fits(shape: Sequence[int], wanted: Shape) -> bool:
    """Say whether a shape is one of those that another stands for."""
    return len(shape) == len(wanted) and all(
        size in w if isinstance(w, Span) else w in (None, size) for size, w in zip(shape, wanted, strict=True)
    )


def name_shapes(shapes: Iterable[Shape]) -> str:
    """Write shapes as people do: `(1, 3, 48..96, 48..128)`, `(2) or (4)`."""
    return " or ".join(f"({', '.join('any' if size is None else str(size) for size in shape)})" for shape in shapes)


def core_ml_words(shape: Sequence[int], allowed: Sequence[Shape]) -> str:
    """Say as Core ML does why an array's shape is not allowed; empty where its words are not known.

    Source: what coremltools' own tests expect, TestTorchInputs in test_torch_conversion_api.py.
    """
    alike = [wanted for wanted in allowed if len(wanted) == len(shape)]
    if len(alike) > 1:
        return f"MultiArray Shape ({' x '.join(map(str, shape))}) was not in enumerated set of allowed shapes"
    for dimension, (size, wanted) in enumerate(zip(shape, alike[0], strict=True) if alike else ()):
        if isinstance(wanted, Span) and wanted.high is not None and size not in wanted:
            return f"Size ({size}) of dimension ({dimension}) is not in allowed range ({wanted})"
    return ""


def name_sizes(sizes: Iterable[tuple[Size, Size]]) -> str:
    """Write sizes of images: `48..128 x 48..96`, `6 x 4 or 4 x 6`."""
    return " or ".join(f"{width} x {height}" for width, height in sizes)


def array_shapes(array: Any) -> list[Shape]:
    """List the shapes that an ArrayFeatureType allows, the default first; empty where it says nothing."""
    default: Shape = tuple(int(size) for size in array.shape)
    ranges = array.shapeRange.sizeRanges
    if len(ranges):
        return [tuple(_size(r) for r in ranges)]
    enumerated = [tuple(int(size) for size in one.shape) for one in array.enumeratedShapes.shapes]
    return list(dict.fromkeys([default, *enumerated] if default else enumerated))


def default_shape(array: Any) -> tuple[int, ...]:
    """Return an ArrayFeatureType's default shape; the smallest or first where it names none."""
    if len(array.shape):
        return tuple(int(size) for size in array.shape)
    if len(array.shapeRange.sizeRanges):
        return tuple(int(r.lowerBound) for r in array.shapeRange.sizeRanges)
    return next((tuple(int(size) for size in one.shape) for one in array.enumeratedShapes.shapes), ())


def image_sizes(image: Any) -> list[tuple[Size, Size]]:
    """List the sizes, width and height, that an ImageFeatureType allows, the default first."""
    flexibility = image.WhichOneof("SizeFlexibility")
    if flexibility == "imageSizeRange":
        return [(_size(image.imageSizeRange.widthRange), _size(image.imageSizeRange.heightRange))]
    default = [(int(image.width), int(image.height))] if image.width or image.height else []
    enumerated = image.enumeratedSizes.sizes if flexibility == "enumeratedSizes" else ()
    return list(dict.fromkeys([*default, *((int(size.width), int(size.height)) for size in enumerated)]))


def _size(size_range: Any) -> Size:
    low, high = int(size_range.lowerBound), int(size_range.upperBound)
    if low == high:
        return low
    return Span(low, None if high < 0 else high)
