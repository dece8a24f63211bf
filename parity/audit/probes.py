"""Pictures of the kinds that a suite may lack, made of the suite's own so that the model knows what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageOps

# Of the pictures that probes are made of.
_BASES = 3
_ORIENTATION = 0x0112  # EXIF's tag

# Kind -> how it is called in advice.
KINDS: Mapping[str, str] = {
    "colour": "a colour image",
    "asymmetric": "an image without symmetry",
    "detailed": "an image larger than the model's input, with fine detail",
    "non-square": "an image that is not square",
    "exif": "an image with an EXIF orientation",
    "transparent": "an image with transparent parts (a PNG with an alpha channel)",
    "unsure": "an image that the model is unsure of, between two classes",
}


def make_probes(pictures: Sequence[Image.Image], size: tuple[int, int]) -> dict[str, tuple[Image.Image, ...]]:
    """Make pictures of every kind. size: the model's input, (height, width)."""
    side = max(size)
    step = max(1, len(pictures) // _BASES)
    bases = [_upright(picture, side) for picture in list(pictures)[::step][:_BASES]]
    return {kind: tuple(make(bases, side)) for kind, make in _MAKERS.items()}


def _upright(picture: Image.Image, side: int) -> Image.Image:
    image = ImageOps.exif_transpose(picture).convert("RGB")
    return ImageOps.fit(image, (side, side))


def _coloured(bases: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Tint pictures, warm and cold, and paint one of random fields of colour."""
    gains = ((1.0, 0.6, 0.25), (0.2, 0.7, 1.0), (1.0, 0.3, 0.8))
    tinted = [_scaled(base, gain) for base, gain in zip(bases, gains, strict=False)]
    # Dark strokes on white carry no tint: what is white gets one the other way about.
    inverted = [_scaled(ImageOps.invert(base), gains[1]) for base in bases[:1]]
    return [*tinted, *inverted, _fields(side)]


def _scaled(image: Image.Image, gain: Sequence[float]) -> Image.Image:
    return Image.fromarray((np.asarray(image, np.float64) * gain).astype(np.uint8))


def _fields(side: int) -> Image.Image:
    random = np.random.default_rng(side)
    colours = random.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(colours).resize((side, side), Image.Resampling.NEAREST)


def _asymmetric(bases: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Darken one corner, and put halves of two pictures beside each other."""
    corner = np.array(bases[0])
    corner[: side // 2, : side // 3] //= 3
    halves = np.array(bases[0])
    halves[:, side // 2 :] = np.asarray(bases[-1])[::-1, side // 2 :]
    return [Image.fromarray(corner), Image.fromarray(halves)]


def _detailed(bases: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Enlarge a picture three times and put grain and a fine grid over it."""
    large = 3 * side
    pixels = np.asarray(bases[0].resize((large, large)), np.float64)
    grain = np.random.default_rng(side).normal(0, 60, (large, large, 1))
    grid = 90.0 * (np.indices((large, large)).sum(axis=0) % 3 == 0)[..., None]
    both = [pixels + grain, pixels * 0.7 + grid]
    return [Image.fromarray(np.clip(one, 0, 255).astype(np.uint8)) for one in both]


def _long(bases: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Put two pictures beside each other, and one above another."""
    wide = np.concatenate([np.asarray(bases[0]), np.asarray(bases[-1])], axis=1)
    tall = np.concatenate([np.asarray(bases[-1]), np.asarray(bases[0])], axis=0)
    return [Image.fromarray(wide), Image.fromarray(tall)]


def _oriented(bases: Sequence[Image.Image], side: int) -> list[Image.Image]:
    pictures = []
    for image, orientation in zip(_asymmetric(bases, side), (6, 3), strict=True):
        image.getexif()[_ORIENTATION] = orientation
        pictures.append(image)
    return pictures


def _transparent(bases: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Let a picture fade from left to right, and from top to bottom."""
    ramp = np.tile(np.linspace(0, 255, side).astype(np.uint8), (side, 1))
    pictures = []
    for image, alpha in ((bases[0], ramp), (bases[-1], ramp.T)):
        faded = image.copy()
        faded.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
        pictures.append(faded)
    return pictures


def _unsure(bases: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Blend two pictures, and take most of the contrast from one: probabilities in between move most."""
    shares = (0.35, 0.5, 0.65)
    blended = [Image.blend(bases[0], bases[-1], share) for share in shares]
    grey = Image.new("RGB", bases[0].size, (128, 128, 128))
    return [*blended, Image.blend(grey, bases[0], 0.3)]


_MAKERS: Mapping[str, Callable[[Sequence[Image.Image], int], list[Image.Image]]] = {
    "colour": _coloured,
    "asymmetric": _asymmetric,
    "detailed": _detailed,
    "non-square": _long,
    "exif": _oriented,
    "transparent": _transparent,
    "unsure": _unsure,
}
