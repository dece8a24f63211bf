"""Which shapes [N, 3, H, W] the image input of a converted model takes, and which axes were asked to be open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from conversion.contract import Layout
from conversion.errors import ConversionError
from conversion.files.json_text import parse_json
from conversion.files.packages import read_specification

if TYPE_CHECKING:
    from conversion.artifact import Artifact, Format
    from conversion.classifier import Preprocessing

Dynamic = Literal["batch", "size"]
AXES = ("batch", "channels", "height", "width")

# Channels of an image.
_COLOURS = 3
# How many images a model takes at once when the batch is open and nobody says how far.
_BATCH = (1, 16)
# ArrayFeatureType and ImageFeatureType write an open end as a number below zero; ONNX as a name.
_NO_BOUND = -1


@dataclass(frozen=True)
class Axis:
    """Bound the size of one axis, both ends included; an upper end of None is open."""

    lower: int
    upper: int | None

    def __contains__(self, size: int) -> bool:
        return self.lower <= size and (self.upper is None or size <= self.upper)

    def __str__(self) -> str:
        if self.upper is None:
            return f"{self.lower} or more"
        return str(self.lower) if self.lower == self.upper else f"{self.lower}..{self.upper}"


@dataclass(frozen=True)
class InputShapes:
    """Hold the shapes that an input takes: those that fit one of the options, axis by axis; no option: unknown.

    size: height and width that the file itself declares, whatever else it takes; None where they are open.
    """

    options: tuple[tuple[Axis, ...], ...]
    size: tuple[int, int] | None = field(default=None, compare=False)

    def __contains__(self, shape: Sequence[int]) -> bool:
        return any(
            len(shape) == len(option) and all(size in axis for size, axis in zip(shape, option, strict=True))
            for option in self.options
        )

    def __str__(self) -> str:
        return " or ".join(f"[{', '.join(map(str, option))}]" for option in self.options)

    def images_at_once(self, most: int, images: int, size: tuple[int, int]) -> int | None:
        """Return how many images of a size (height, width) go in together: `most`, or as many as it takes.

        No more than there are `images`, unless it takes no fewer. None where it takes no such images, or only more
        than `most` at once.
        """
        options = [option for option in self.options if len(option) == 4]
        # Colours where it takes them, else what it takes: grey.
        channels = _COLOURS if any(_COLOURS in option[1] for option in options) else 1
        batches = [option[0] for option in options if (option[0].lower, channels, *size) in self]
        wanted = min(most, max(images, 1))
        counts = [max(b.lower, wanted if b.upper is None else min(wanted, b.upper)) for b in batches]
        able = [count for count in counts if count <= most and (count, channels, *size) in self]
        return max((count for count in able if count <= wanted), default=min(able, default=None))


@dataclass(frozen=True)
class OpenAxes:
    """Say which axes stay open in a conversion, and how far; made by `open_axes`, part of the provenance.

    batch, height, width: (smallest, largest). sizes: every (height, width) that is taken, in the place of bounds.
    """

    batch: tuple[int, int] | None = None
    height: tuple[int, int] | None = None
    width: tuple[int, int] | None = None
    sizes: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> str:
        """Write what was asked for, for the provenance."""
        return json.dumps({name: value for name, value in vars(self).items() if value})

    @staticmethod
    def from_json(text: str) -> OpenAxes:
        """Read what `to_json` wrote; what cannot be read, in another tool's file, asks for nothing."""
        try:
            content = parse_json(text)
            bounds = {name: _pair(name, value) for name, value in content.items() if name != "sizes"}
            sizes = tuple(_pair("sizes", size) for size in content.get("sizes", ()))
            return OpenAxes(**bounds, sizes=sizes)
        except (ValueError, TypeError, AttributeError, ConversionError):
            return OpenAxes()


def open_axes(
    preprocessing: Preprocessing,
    dynamic: Dynamic | None,
    bounds: Sequence[Any] | None = None,
    sizes: Sequence[Sequence[int]] | None = None,
) -> OpenAxes | None:
    """Check what a user asks to be open; None where nothing is.

    bounds: for a batch (smallest, largest), 1..16 unless given; for a size ((height, width), (height, width)), the
        smallest and the largest, half to twice the classifier's size unless given.
    sizes: for a size, the ones that are taken, each (height, width), in the place of bounds.
    Raises ConversionError; the classifier's own size must be among those that are taken.
    """
    if dynamic is None:
        if bounds or sizes:
            raise ConversionError(
                'bounds and sizes say how far an axis is open: give dynamic="batch" or "size" too'
            )
        return None
    if dynamic not in ("batch", "size"):
        raise ConversionError(f'dynamic is "batch" or "size", not {dynamic!r}')
    if sizes and (bounds or dynamic == "batch"):
        raise ConversionError('sizes go with dynamic="size", in the place of bounds; give one of the two')
    if dynamic == "batch":
        return OpenAxes(batch=_range("bounds", bounds or _BATCH))
    own = preprocessing.size
    if sizes:
        listed = tuple(dict.fromkeys(_pair("sizes", size) for size in sizes))
        if own not in listed:
            raise ConversionError(f"sizes {list(listed)} are without the classifier's own, {own}; add it")
        return OpenAxes(sizes=listed)
    ends_of_size = bounds or ([max(1, side // 2) for side in own], [2 * side for side in own])
    if len(ends_of_size) != 2:
        raise ConversionError(f"bounds of a size are the smallest and the largest (height, width), not {bounds}")
    smallest, largest = (_pair("bounds", end) for end in ends_of_size)
    height, width = (_range("bounds", ends) for ends in zip(smallest, largest, strict=True))
    if not (height[0] <= own[0] <= height[1] and width[0] <= own[1] <= width[1]):
        raise ConversionError(f"bounds {smallest} to {largest} are without the classifier's own size, {own}")
    return OpenAxes(height=height, width=width)


def read_input_shapes(artifact: Artifact) -> InputShapes:
    """Read from the file which shapes its image takes; ONNX has no bounds, there the provenance gives them."""
    return _READERS[artifact.format](artifact)


def input_size(artifact: Artifact) -> tuple[int, int] | None:
    """Read height and width of the image that the file takes; None where they are open."""
    return read_input_shapes(artifact).size


def _read_onnx(artifact: Artifact) -> InputShapes:
    import onnx

    graph = onnx.load(str(artifact.path), load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    dims = inputs[0].type.tensor_type.shape.dim if inputs else []
    return onnx_input_shapes(artifact, [dim.dim_value if dim.dim_value > 0 else None for dim in dims])


def _read_coreml(artifact: Artifact) -> InputShapes:
    features = read_specification(artifact.path).description.input
    return coreml_input_shapes(features[0], artifact.contract.layout) if features else InputShapes(())


def _read_coreai(artifact: Artifact) -> InputShapes:
    from conversion.coreai import described

    inputs = described(artifact.path).inputs
    return onnx_input_shapes(artifact, inputs[0].shape if inputs else [])


# The one place of this package that depends on what is read: of the formats, these alone describe an input.
_READERS: Mapping[Format, Callable[[Artifact], InputShapes]] = {
    "onnx": _read_onnx,
    "mlprogram": _read_coreml,
    "neuralnetwork": _read_coreml,
    "coreai": _read_coreai,
}


def layout_of(dims: Sequence[Any], layout: str = "") -> Layout:
    """Say where the channels of an array stand: as somebody says, else where its shape has 3 of them, else NCHW.

    dims: a number where the size is fixed, anything else where it is open; with a batch axis or without.
    """
    if layout:
        return cast(Layout, layout)
    image = list(dims[-3:])
    return "NHWC" if len(image) == 3 and image[2] == _COLOURS and image[0] != _COLOURS else "NCHW"


def in_nchw(dims: Sequence[Any], layout: str = "") -> list[Any]:
    """Put the sizes of an array in the order NCHW, or CHW."""
    if len(dims) < 3 or layout_of(dims, layout) == "NCHW":
        return list(dims)
    *batch, height, width, channels = dims
    return [*batch, channels, height, width]


def onnx_input_shapes(artifact: Artifact, dims: Sequence[Any]) -> InputShapes:
    """Say which shapes an ONNX input takes, in the order NCHW whatever its layout.

    dims: of the file; a number where the size is fixed, anything else where it is open.
    """
    dims = in_nchw(dims, artifact.contract.layout)
    options = artifact.provenance.options if artifact.provenance else {}
    asked = OpenAxes.from_json(options.get("open", "{}"))
    bounds = {0: asked.batch, 2: asked.height, 3: asked.width}
    axes = tuple(
        Axis(size, size) if isinstance(size, int) and size > 0 else Axis(*(bounds.get(place) or (1, None)))
        for place, size in enumerate(dims)
    )
    if not asked.sizes or len(axes) != 4:
        return InputShapes((axes,), _size(dims[2:]))
    return InputShapes(tuple((*axes[:2], *map(_fixed, size)) for size in asked.sizes), _size(dims[2:]))


def coreml_input_shapes(feature: Any, layout: str = "") -> InputShapes:
    """Say which shapes a Core ML input takes, an image as [1, 3, H, W] (or 1 channel where it is grey).

    An array without a batch axis counts as a batch of one; one of another layout is told in the order NCHW.
    feature: a FeatureDescription of Model.proto. layout: of an array, where somebody says it.
    """
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        channels = 1 if image.colorSpace in (image.GRAYSCALE, image.GRAYSCALE_FLOAT16) else 3
        pictures = [(_fixed(1), _fixed(channels), *size) for size in _image_sizes(image)]
        return InputShapes(tuple(pictures), _size((image.height, image.width)))
    array = feature.type.multiArrayType
    layout = layout_of(array.shape, layout)
    kind = array.WhichOneof("ShapeFlexibility")
    if kind == "shapeRange":
        options = [[_ends(size) for size in array.shapeRange.sizeRanges]]
    else:
        listed = (array, *array.enumeratedShapes.shapes)
        options = [[_fixed(int(size)) for size in one.shape] for one in listed if one.shape]
    taken = dict.fromkeys(tuple(in_nchw(option, layout)) for option in options)
    own = in_nchw(list(array.shape), layout)[-2:]
    return InputShapes(tuple((_fixed(1), *o) if len(o) == 3 else o for o in taken), _size(own))


def _size(sizes: Sequence[Any]) -> tuple[int, int] | None:
    """Return height and width where both are numbers."""
    known = [int(size) for size in sizes if isinstance(size, int) and size > 0]
    return (known[0], known[1]) if len(sizes) == len(known) == 2 else None


def _image_sizes(image: Any) -> Iterator[tuple[Axis, Axis]]:
    own = (int(image.height), int(image.width))
    kind = image.WhichOneof("SizeFlexibility")
    if kind == "imageSizeRange":
        yield _ends(image.imageSizeRange.heightRange), _ends(image.imageSizeRange.widthRange)
        return
    others = [(int(s.height), int(s.width)) for s in image.enumeratedSizes.sizes] if kind else []
    yield from ((_fixed(height), _fixed(width)) for height, width in dict.fromkeys([own, *others]))


def _fixed(size: int) -> Axis:
    return Axis(size, size)


def _ends(bounds: Any) -> Axis:
    return Axis(int(bounds.lowerBound), None if bounds.upperBound <= _NO_BOUND else int(bounds.upperBound))


def _range(name: str, ends: Iterable[Any]) -> tuple[int, int]:
    lower, upper = _pair(name, ends)
    if lower > upper:
        raise ConversionError(f"{name}: the smallest, {lower}, is above the largest, {upper}")
    return lower, upper


def _pair(name: str, pair: Any) -> tuple[int, int]:
    values = list(pair) if isinstance(pair, Iterable) and not isinstance(pair, str | Mapping) else [pair]
    if len(values) != 2 or not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values):
        raise ConversionError(f"{name} takes pairs of whole numbers above 0, not {pair!r}")
    return values[0], values[1]
