"""Image file -> the 8-bit pixels, RGB or grey, that every backend is shown."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from conversion.classifier import PIXELS_LIMIT, Preprocessing
from conversion.errors import ImageError
from conversion.files.git_lfs import tell_pointer
from conversion.files.image_formats import allowed, check_format, foreign_format, open_image
from conversion.files.regular_files import DIRECTORY, MISSING, why_no_file
from conversion.files.suffixes import COMPILED_SUFFIX, IMAGE_SUFFIXES, MODEL_SUFFIXES
from conversion.guards.quiet import chatter_to
from conversion.guards.torchvision_guard import torchvision

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Resizing the shorter side of a very long image makes a giant: 1x5000 becomes 256x1280000, a gigabyte.
RESIZED_PIXELS_LIMIT = PIXELS_LIMIT


def load_image(path: str | Path) -> Image.Image:
    """Decode an image file as RGB, upright: the rotation that a camera stores in EXIF is applied.

    Other colour modes become RGB as in torchvision's loader, which drops transparency without blending;
    16-bit greys are scaled to 8 bits, where Pillow alone would clip them.
    Raises ImageError: no file, no image, a format that is not allowed, damaged, too large
    (PIL.Image.MAX_IMAGE_PIXELS), no range of values.
    """
    with _decoded(Path(path)) as image:
        return _as_rgb(ImageOps.exif_transpose(image))


def read_picture(path: str | Path) -> Image.Image:
    """Decode an image file as it is: in its own colour mode, EXIF's rotation still to be applied.

    Raises ImageError as `load_image` does.
    """
    with _decoded(Path(path)) as image:
        return image


@contextmanager
def _decoded(path: Path) -> Iterator[Image.Image]:
    """Give an image file's picture, and say in an ImageError why it cannot be decoded, or used by the caller."""
    _check_file(path)
    try:
        with warnings.catch_warnings():
            # What Pillow warns of (damaged EXIF, palettes with transparency) leaves the pixels as they are, except
            # this: it warns of a suspiciously large image and then decodes it.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # From an open file, as torchvision's own loader does: given the path, Pillow (13.0 still) maps an
            # uncompressed TIFF into memory by the size that it has once turned, and scrambles one on its side.
            with path.open("rb") as file, open_image(file) as image:
                # libtiff writes what it finds wrong past Python to the screen.
                with chatter_to() if image.format == "TIFF" else nullcontext():
                    image.load()
                yield image
    except ImageError as error:
        raise ImageError(f"{path} cannot be used: {error}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        pixels = "".join(re.findall(r"\d+", str(error))[:1])
        raise ImageError(
            f"{path} has {pixels} pixels and was not decoded; the limit is {Image.MAX_IMAGE_PIXELS}: scale it "
            "down, or raise PIL.Image.MAX_IMAGE_PIXELS if its source is trusted"
        ) from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is {_tell_no_image(path)}") from None
    # Pillow's decoders meet damage with whatever their parsing runs into: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _unreadable(path, error) from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path} is damaged or incomplete ({reason}): save or copy it again") from error


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize and centre-crop with torchvision's own functions: uint8 [height, width, 3] RGB, or [..., 1] grey.

    Colours become grey by ITU-R 601-2, as in Pillow and in torchvision's Grayscale, before they are resized.

    Raises ImageError where the image is so much longer than wide that the resized one would not fit in memory.
    """
    torchvision()
    from torchvision.transforms import InterpolationMode, functional

    image = _as_rgb(image)
    if preprocessing.channels == 1:
        image = image.convert("L")
    if preprocessing.resize is not None:
        size = [preprocessing.resize] if isinstance(preprocessing.resize, int) else list(preprocessing.resize)
        if len(size) == 1:  # how large the image becomes depends on its shape
            _check_resized(image.size, size[0])
        image = functional.resize(image, size, interpolation=InterpolationMode(preprocessing.interpolation))
    cropped = np.array(_centre(image, preprocessing), dtype=np.uint8)
    return cropped.reshape(*preprocessing.size, preprocessing.channels)


def _centre(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    from torchvision.transforms import functional

    if preprocessing.crop_rounding == "down":
        # Where the image is smaller, torchvision pads it first: then nothing is left to round.
        corner = [max(0, side - kept) // 2 for side, kept in zip(image.size[::-1], preprocessing.size, strict=True)]
        kept = [min(side, kept) for side, kept in zip(image.size[::-1], preprocessing.size, strict=True)]
        image = functional.crop(image, *corner, *kept)
    cropped: Image.Image = functional.center_crop(image, list(preprocessing.size))
    return cropped


def to_picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Make a picture of pixels, uint8 [height, width, 3] or [height, width, 1]: RGB or L."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def read_pixels(path: str | Path, preprocessing: Preprocessing, at_least: int = 1) -> NDArray[np.uint8]:
    """Read what a model is shown of an image file: uint8 [height, width, channels]. Raises ImageError.

    at_least: refuse an image of fewer pixels.
    """
    return read_pixels_for(path, [preprocessing], at_least)[0]


def read_pixels_for(
    path: str | Path, preprocessings: Sequence[Preprocessing], at_least: int = 1
) -> list[NDArray[np.uint8]]:
    """Read what each of several models is shown of an image file, as `read_pixels` does; it is decoded once."""
    image = load_image(path)
    if image.width * image.height < at_least:
        raise ImageError(
            f"{path} has {image.width}x{image.height} pixels and shows a model nothing; give a photo, "
            f"of at least {at_least} pixels"
        )
    try:
        return [to_pixels(image, preprocessing) for preprocessing in preprocessings]
    except ImageError as error:
        raise ImageError(f"{path} cannot be used: {error}") from None


def find_images(patterns: Sequence[str | Path], relative_to: Path) -> tuple[Path, ...]:
    """Find image files: sorted by path, each once.

    patterns: files, taken whatever they are called; directories, for the images directly inside; globs, `**`
        included. Directories and globs find files with an image's suffix (IMAGE_SUFFIXES), hidden ones excepted.
    relative_to: the directory from which relative patterns start.
    Raises ImageError for every pattern that finds nothing.
    """
    if isinstance(patterns, str | Path):
        patterns = [patterns]
    if not patterns:
        raise ImageError("no images were named: give files, directories or patterns such as images/*.jpg")
    paths_by_key = {
        Path(os.path.abspath(path)): path  # noqa: PTH100 - Path.absolute keeps `..`, resolve follows links
        for pattern in patterns
        for path in _matches(Path(pattern), relative_to)
    }
    return tuple(paths_by_key[key] for key in sorted(paths_by_key))


def _check_file(path: Path) -> None:
    why = why_no_file(path)
    if why == MISSING:
        raise ImageError(f"{path} does not exist: check the path")
    if why == DIRECTORY:
        raise ImageError(f"{path} is a directory, not an image: name a file in it, or the pattern {path / '*.jpg'}")
    if why:
        raise ImageError(f"{path} {why}")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes): save or copy the image again")


def _tell_no_image(path: Path) -> str:
    """Say what a file is that no plugin of an allowed format takes for its own."""
    if pointer := tell_pointer(path):
        return pointer
    if foreign := foreign_format(path):
        return f"{foreign}, whatever its name ends in, and is not decoded: {allowed()}; save it as JPEG or PNG"
    if path.suffix in MODEL_SUFFIXES:
        return "a converted model, not an image: give a photo, or a directory of them"
    with path.open("rb") as file:
        first = file.read(16)
    return f"not an image that Pillow can read; it begins with {first!r}: save it as JPEG or PNG"


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"{path} cannot be read ({error.strerror}): check the path and its permissions")


def _as_rgb(image: Image.Image) -> Image.Image:
    check_format(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise ImageError(
            f"its pixels are {kind} (mode {image.mode}), which have no defined range: scale them to 0..255 and "
            "save the image with 8 bits per channel"
        )
    return image.convert("RGB")


def _check_resized(original: tuple[int, int], size: int) -> None:
    width, height = original
    # torchvision's rule: the shorter side becomes `size`, the longer one keeps the ratio, rounded down.
    longer = size * max(original) // min(original)
    resized = (longer, size) if width > height else (size, longer)
    if resized[0] * resized[1] > RESIZED_PIXELS_LIMIT:
        raise ImageError(
            f"its {width}x{height} pixels would be resized to {resized[0]}x{resized[1]}, more than the limit of "
            f"{RESIZED_PIXELS_LIMIT} pixels: crop it closer to a square"
        )


def _matches(pattern: Path, relative_to: Path) -> list[Path]:
    path = relative_to / (pattern.expanduser() if pattern.parts[:1] == ("~",) else pattern)
    try:
        if path.is_dir():
            return _images_inside(path)
        # A file may be called photo[1].jpg, so what exists is not a pattern.
        if glob.has_magic(str(pattern)) and not path.exists():
            return _images_matching(path, relative_to)
    except OSError as error:
        raise _unreadable(path, error) from None
    _check_file(path)
    return [path]


def _images_inside(directory: Path) -> list[Path]:
    images = [path for path in directory.iterdir() if _is_image_file(path)]
    if not images and directory.suffix in (*MODEL_SUFFIXES, COMPILED_SUFFIX):
        raise ImageError(f"{directory} is a converted model, not a directory of images: give one of photos")
    if not images:
        raise ImageError(
            f"directory {directory} holds no images ({_suffixes()}): subdirectories are searched only by a pattern "
            f"such as {directory / '**' / '*.jpg'}"
        )
    return images


def _images_matching(pattern: Path, relative_to: Path) -> list[Path]:
    # The directory that relative patterns start from is no part of the pattern, whatever it is called.
    literal = relative_to if pattern.is_relative_to(relative_to) else Path(pattern.anchor)
    escaped = Path(glob.escape(str(literal))) / pattern.relative_to(literal)
    # glob rather than Path.glob, which refuses absolute patterns.
    matches = [Path(match) for match in glob.glob(str(escaped), recursive=True)]  # noqa: PTH207
    images = [path for path in matches if _is_image_file(path)]
    if not images:
        what = f"{matches[0]}, but no image ({_suffixes()})" if matches else "nothing"
        raise ImageError(f"pattern {pattern} matches {what}: correct it, or name the files")
    return images


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _suffixes() -> str:
    return " ".join(IMAGE_SUFFIXES)
