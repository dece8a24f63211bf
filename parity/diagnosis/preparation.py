"""The usual ways from a picture to pixels: what apps, tutorials and frameworks do in the place of our own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from conversion.errors import ImageError
from conversion.images import read_picture

if TYPE_CHECKING:
    from conversion import Preprocessing
    from conversion.classifier import CropRounding

_FILTERS: Mapping[str, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
# Without antialiasing, as tensors are resized, and OpenCV's images.
_PLAIN = ("bilinear", "bicubic")
# Orientation tags of EXIF, and what undoes them.
_TURNS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored left to right": lambda x: x[:, ::-1],
    "turned by 180 degrees": lambda x: x[::-1, ::-1],
    "mirrored top to bottom": lambda x: x[::-1],
    "transposed": lambda x: x.transpose(1, 0, 2),
    "turned left by 90 degrees": lambda x: np.rot90(x),
    "turned right by 90 degrees": lambda x: np.rot90(x, -1),
    "transposed along the other diagonal": lambda x: np.rot90(x, 2).transpose(1, 0, 2),
}


@dataclass(frozen=True)
class Recipe:
    """Describe how a picture becomes pixels.

    upright: EXIF's orientation is applied. alpha: dropped, or blended over white or black. colours: RGB, BGR, grey.
    resize: the shorter side, (height, width), `fit` for letterbox, or None. filter: of the resize; antialias: it
    looks at all pixels that become one. crop_rounding: as in Preprocessing. turn: a name in the table of turns,
    after all else. shift: right, down.
    noise: the least bits of the pixels are others.
    """

    resize: int | tuple[int, int] | str | None
    filter: str
    upright: bool = True
    alpha: str = "dropped"
    colours: str = "RGB"
    antialias: bool = True
    crop_rounding: CropRounding = "even"
    turn: str = ""
    shift: tuple[int, int] = (0, 0)

    def fault(self, own: Recipe) -> str:
        """Name what is other than in our own recipe."""
        if self.upright != own.upright or self.turn:
            return "pre-exif-orientation"
        if self.colours != own.colours:
            return "pre-bgr-swap" if self.colours == "BGR" else "pre-colour-mode"
        if self.alpha != own.alpha:
            return "pre-colour-mode"
        if self.resize != own.resize or self.shift != own.shift:
            return "pre-crop-geometry"
        return "pre-resize-antialias" if self.antialias != own.antialias else "pre-interp-kernel"

    def sentence(self, own: Recipe) -> str:
        """Say which pixels the candidate got, as far as they are other than ours."""
        parts = []
        if self.upright != own.upright:
            parts.append("EXIF's orientation was not applied (use ImageOps.exif_transpose)")
        if self.turn:
            parts.append(f"the image was {self.turn}")
        if self.colours != own.colours:
            parts.append("red and blue were swapped (BGR)" if self.colours == "BGR" else "the image was made grey")
        if self.alpha != own.alpha:
            parts.append(f"transparency was blended over {self.alpha}, where PyTorch's pixels drop it")
        if self.resize != own.resize:
            parts.append(f"the image was {_geometry(self.resize)}, where PyTorch's was {_geometry(own.resize)}")
        if self.shift != own.shift:
            parts.append(f"the crop lies {self.shift[0]} pixel(s) to the right and {self.shift[1]} further down")
        if self.antialias != own.antialias:
            parts.append(f"it was resized by {self.filter} without antialiasing")
        elif self.filter != own.filter:
            parts.append(f"it was resized by {self.filter}, where PyTorch's was by {own.filter}")
        return f"The candidate's answers are those to other pixels: {'; '.join(parts)}"

    def fix(self, own: Recipe) -> str:
        """Say what the app should do."""
        return "" if self.fault(own) != "pre-exif-orientation" else "image = ImageOps.exif_transpose(image)"


def usual(preprocessing: Preprocessing) -> Recipe:
    """Write the classifier's own preprocessing as a recipe."""
    return Recipe(preprocessing.resize, preprocessing.interpolation, crop_rounding=preprocessing.crop_rounding)


def read_pictures(files: Sequence[Path]) -> list[Image.Image] | None:
    """Read the pictures as they are in their files; None where there are no files."""
    if not files:
        return None
    try:
        return [read_picture(path) for path in files]
    except ImageError:
        return None


def single(own: Recipe) -> Iterator[Recipe]:
    """Change one thing."""
    yield replace(own, upright=False)
    yield replace(own, colours="BGR")
    yield from (replace(own, alpha=over) for over in ("white", "black"))
    yield from _filtered(own)
    yield from (replace(own, resize=resize) for resize in _resizes(own))
    yield from (replace(own, turn=turn) for turn in _TURNS)
    yield replace(own, colours="grey")
    yield from (replace(own, shift=(x, y)) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0))


def double(own: Recipe) -> Iterator[Recipe]:
    """Change two things that go together: geometry and filter, colours and either."""
    for resize in _resizes(own):
        yield from _filtered(replace(own, resize=resize))
        yield replace(own, resize=resize, colours="BGR")
        yield replace(own, resize=resize, upright=False)
    for recipe in _filtered(own):
        yield replace(recipe, colours="BGR")
        yield replace(recipe, upright=False)
    yield replace(own, colours="BGR", upright=False)


def of_pixels(own: Recipe) -> Iterator[Recipe]:
    """Change what can be changed where only the pixels are there."""
    yield replace(own, colours="BGR")
    yield from (replace(own, turn=turn) for turn in _TURNS)
    yield replace(own, colours="grey")
    yield from (replace(own, shift=(x, y)) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0))


def prepare(recipe: Recipe, own: np.ndarray, pictures: list[Image.Image] | None) -> np.ndarray | None:
    """Follow a recipe for all images: uint8 [N, H, W, C]; None where it cannot be followed.

    own: the pixels by our own recipe. pictures: what they come from; None: only the pixels are there.
    """
    grey = own.shape[3] == 1
    if grey and recipe.colours != "RGB":
        return None
    if pictures is None:
        return np.stack([np.ascontiguousarray(_finished(pixels, recipe)) for pixels in own])
    height, width = own.shape[1:3]
    try:
        if grey:
            pictures = [_rgb(picture, recipe.alpha).convert("L") for picture in pictures]
        pixels = np.stack([_followed(picture, recipe, (height, width)) for picture in pictures])
        return pixels[..., :1] if grey else pixels
    except (ValueError, OSError):
        return None


def _filtered(own: Recipe) -> Iterator[Recipe]:
    yield from (replace(own, filter=name, antialias=False) for name in _PLAIN)
    yield from (replace(own, filter=name) for name in _FILTERS if name != own.filter)


def _resizes(own: Recipe) -> Iterator[int | tuple[int, int] | str | None]:
    size = own.resize if isinstance(own.resize, int) else 256
    common: tuple[Any, ...] = ("stretch", "cover", "fit", 232, 256, size + size // 7, "stretch larger", None)
    yield from (resize for resize in common if resize != own.resize)


def _geometry(resize: int | tuple[int, int] | str | None) -> str:
    words = {
        "stretch": "stretched whole to the input's size (scaleFill)",
        "cover": "resized by its shorter side to the input's size and cropped (centerCrop)",
        "fit": "fitted in whole with bars (scaleFit)",
        "stretch larger": "stretched to a larger square and cropped",
    }
    if resize is None:
        return "cropped without a resize"
    if isinstance(resize, tuple):
        return f"stretched to {resize[0]}x{resize[1]}"
    return words[resize] if isinstance(resize, str) else f"cropped from a shorter side of {resize}"


def _followed(picture: Image.Image, recipe: Recipe, size: tuple[int, int]) -> np.ndarray:
    image = ImageOps.exif_transpose(picture) if recipe.upright else picture
    image = _rgb(image, recipe.alpha)
    if recipe.colours == "grey":
        image = image.convert("L").convert("RGB")
    height, width = size
    if recipe.resize == "fit":
        image = _letterboxed(image, recipe, size)
    else:
        target = _target(image.size, recipe.resize, size)
        image = _resized(image, target, recipe)
    return np.ascontiguousarray(
        _finished(_cropped(np.asarray(image), (height, width), recipe.crop_rounding), recipe)
    )


def _target(
    original: tuple[int, int], resize: int | tuple[int, int] | str | None, size: tuple[int, int]
) -> tuple[int, int]:
    """Return width and height after the resize."""
    width, height = original
    if resize is None:
        return original
    if resize == "stretch":
        return size[1], size[0]
    if resize == "stretch larger":
        return round(size[1] * 256 / 224), round(size[0] * 256 / 224)
    if isinstance(resize, tuple):
        return resize[1], resize[0]
    shorter = min(size) if resize == "cover" else int(resize)
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _resized(image: Image.Image, target: tuple[int, int], recipe: Recipe) -> Image.Image:
    if target == image.size:
        return image
    if recipe.antialias:
        return image.resize(target, _FILTERS[recipe.filter])
    import torch

    tensor = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        tensor, size=(target[1], target[0]), mode=recipe.filter, align_corners=False, antialias=False
    )
    array = resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
    return Image.fromarray(array)


def _letterboxed(image: Image.Image, recipe: Recipe, size: tuple[int, int]) -> Image.Image:
    height, width = size
    share = min(width / image.width, height / image.height)
    inner = _resized(image, (max(1, round(image.width * share)), max(1, round(image.height * share))), recipe)
    whole = Image.new("RGB", (width, height))
    whole.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return whole


def _cropped(pixels: np.ndarray, size: tuple[int, int], rounding: CropRounding) -> np.ndarray:
    """Crop the centre as conversion.images does, with black where the image is smaller."""
    height, width = size
    lack = [max(0, wanted - side) for wanted, side in zip(size, pixels.shape[:2], strict=True)]
    if any(lack):
        around = [(short // 2, (short + 1) // 2) for short in lack]
        pixels = np.pad(pixels, (*around, (0, 0)))
    rounded = round if rounding == "even" else math.floor
    top = rounded((pixels.shape[0] - height) / 2.0)
    left = rounded((pixels.shape[1] - width) / 2.0)
    return pixels[top : top + height, left : left + width]


def _finished(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    if recipe.colours == "BGR":
        pixels = pixels[..., ::-1]
    elif recipe.colours == "grey":
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L").convert("RGB"))
    if recipe.turn:
        pixels = _TURNS[recipe.turn](pixels)
    if any(recipe.shift):
        right, down = recipe.shift
        padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
        height, width = pixels.shape[:2]
        pixels = padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
    return pixels


def _rgb(image: Image.Image, alpha: str) -> Image.Image:
    if alpha != "dropped" and ("A" in image.mode or "transparency" in image.info):
        over = Image.new("RGBA", image.size, alpha)
        return Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
