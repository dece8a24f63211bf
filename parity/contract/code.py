"""The app's part of a contract as lines of Python and of Swift, to be copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conversion.contract import RANGES
from parity.backends.outputs import read_outputs
from parity.formats import format_of
from parity.formats.app import AppCode, Call
from parity.formats.outputs import WANTED

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.classifier import Preprocessing

# Types of arrays as the formats call them -> NumPy's, where these differ.
_NUMPY = {"float": "float32", "double": "float64"}
_SWIFT = {"float64": "Double", "float16": "Float16", "uint8": "UInt8", "int32": "Int32"}


@dataclass(frozen=True)
class Deployment:
    """Hold what the lines are written from."""

    artifact: Artifact
    preprocessing: Preprocessing
    call: Call

    @property
    def app(self) -> AppCode:
        """The lines that run a file of its format."""
        return format_of(self.artifact).app


def deployment(artifact: Artifact, preprocessing: Preprocessing) -> Deployment:
    """Read from a file what the lines need."""
    declared = format_of(artifact).declared_input(artifact)
    probabilities, shapes = read_outputs(artifact)
    answer = artifact.output or probabilities or (WANTED if WANTED in shapes else next(iter(shapes), WANTED))
    kind = "" if declared.color_space else _NUMPY.get(declared.type, declared.type)
    channels = preprocessing.channels
    shape = f"[1, height, width, {channels}]"
    if artifact.contract.layout != "NHWC":
        shape = f"[1, {channels}, height, width]"
    call = Call(artifact.path.name, declared.name, kind, shape, answer, bool(probabilities))
    return Deployment(artifact, preprocessing, call)


def python_lines(what: Deployment) -> Iterator[str]:
    """Write the app's part in Python: from `photo.jpg` to `probabilities`."""
    contract, preprocessing = what.artifact.contract, what.preprocessing
    yield "import numpy as np"
    yield what.app.PYTHON
    yield "from PIL import Image, ImageOps"
    yield "from torchvision.transforms import InterpolationMode, functional"
    yield ""
    yield 'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")'
    if preprocessing.channels == 1:
        yield 'image = image.convert("L")'
    if preprocessing.resize is not None:
        size = [preprocessing.resize] if isinstance(preprocessing.resize, int) else list(preprocessing.resize)
        yield f"image = functional.resize(image, {size}, InterpolationMode.{preprocessing.interpolation.upper()})"
    if preprocessing.crop_rounding == "down":
        height, width = preprocessing.size
        yield f"top, left = max(0, image.height - {height}) // 2, max(0, image.width - {width}) // 2"
        yield f"right, below = min(image.width, left + {width}), min(image.height, top + {height})"
        yield "image = image.crop((left, top, right, below))"
    yield f"image = functional.center_crop(image, {list(preprocessing.size)})"
    if what.call.kind:
        height, width = preprocessing.size
        shape = f"(1, {height}, {width}, {preprocessing.channels})"
        yield f"x = np.asarray(image, np.float64).reshape{shape}  # 0..255"
        if "normalise" not in contract.inside:
            yield f"x = (x / 255 - {list(contract.mean)}) / {list(contract.std)}"
        elif contract.range != "0..255":
            scale, offset = RANGES[contract.range]
            yield f"x = x / {1 / scale:g}{f' - {-offset:g}' if offset else ''}"
        if contract.layout != "NHWC":
            yield f"x = x.transpose(0, 3, 1, 2)  # {what.call.shape}"
        yield f"x = np.ascontiguousarray(x, np.{what.call.kind})"
    yield from what.app.python_call(what.call, "x" if what.call.kind else "image")
    yield from _python_behind(what)


def _python_behind(what: Deployment) -> Iterator[str]:
    if what.call.names:
        yield "probabilities = answer  # name -> probability"
        return
    yield "answer = np.asarray(answer, np.float64).reshape(1, -1)"
    if "softmax" in what.artifact.contract.inside:
        yield "probabilities = answer"
    else:
        yield "powers = np.exp(answer - answer.max(axis=1, keepdims=True))"
        yield "probabilities = powers / powers.sum(axis=1, keepdims=True)"
    yield "best = int(probabilities[0].argmax())  # its place in the list of classes"


def swift_lines(what: Deployment) -> Iterator[str]:
    """Write the app's part in Swift: from a CGImage `photo`, upright, to `probabilities`."""
    height, width = what.preprocessing.size
    yield "import CoreGraphics"
    yield "import Foundation"
    yield what.app.SWIFT
    yield ""
    yield f"let width = {width}, height = {height}"
    yield from _swift_scale(what.preprocessing)
    yield "let context = CGContext("
    grey = what.preprocessing.channels == 1
    row, space, alpha = ("width", "genericGrayGamma2_2", "none") if grey else ("4 * width", "sRGB", "noneSkipLast")
    yield f"    data: nil, width: width, height: height, bitsPerComponent: 8, bytesPerRow: {row},"
    yield f"    space: CGColorSpace(name: CGColorSpace.{space})!,"
    yield f"    bitmapInfo: CGImageAlphaInfo.{alpha}.rawValue)!"
    yield "context.interpolationQuality = .high  // no filter of CoreGraphics is PIL's: pixels differ by a little"
    yield "let left = (CGFloat(width) - scaledWidth) / 2, below = (CGFloat(height) - scaledHeight) / 2"
    yield "context.draw(photo, in: CGRect(x: left, y: below, width: scaledWidth, height: scaledHeight))"
    if what.call.kind:
        yield from _swift_array(what)
    yield from what.app.swift_call(what.call)
    if what.call.names:
        return
    if "softmax" in what.artifact.contract.inside:
        yield "let probabilities = logits  // softmax is inside"
        return
    yield "let powers = logits.map { exp($0 - logits.max()!) }"
    yield "let probabilities = powers.map { $0 / powers.reduce(0, +) }"


def _swift_scale(preprocessing: Preprocessing) -> Iterator[str]:
    resize = preprocessing.resize
    if isinstance(resize, int):
        yield f"let scale = {resize} / CGFloat(min(photo.width, photo.height))"
        yield "let scaledWidth = scale * CGFloat(photo.width), scaledHeight = scale * CGFloat(photo.height)"
        return
    tall, wide = resize if resize else ("CGFloat(photo.height)", "CGFloat(photo.width)")
    yield f"let scaledWidth: CGFloat = {wide}, scaledHeight: CGFloat = {tall}"


def _swift_array(what: Deployment) -> Iterator[str]:
    contract = what.artifact.contract
    channels = what.preprocessing.channels
    scale, bias = contract.affine(channels)
    swift = {"float64": "Double", "float16": "Float16", "uint8": "UInt8", "int32": "Int32"}.get(
        what.call.kind, "Float"
    )
    colours = "red, green, blue, unused" if channels == 3 else "grey"
    yield f"let bytes = context.data!.assumingMemoryBound(to: UInt8.self)  // {colours}"
    yield f"var numbers = [{swift}](repeating: 0, count: {channels} * height * width)"
    if not contract.takes_pixels:
        yield f"let factor: [Double] = {_listed(scale)}, bias: [Double] = {_listed(bias)}"
    pixel = "Double(bytes[4 * place + channel])" if channels == 3 else "Double(bytes[place])"
    number = pixel if contract.takes_pixels else f"{pixel} * factor[channel] + bias[channel]"
    target = f"{channels} * place + channel" if contract.layout == "NHWC" else "channel * height * width + place"
    yield "for place in 0..<(height * width) {"
    yield f"    for channel in 0..<{channels} {{"
    yield f"        let number = {number}"
    yield f"        numbers[{target}] = {swift}(number)"
    yield "    }"
    yield "}"


def _listed(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:.9g}' for number in numbers)}]"
