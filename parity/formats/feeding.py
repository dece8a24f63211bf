"""What all backends share: images go in by batches of a shape that the artefact says it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.errors import ConversionError
from conversion.shapes import layout_of, read_input_shapes
from parity.core.errors import ParityError

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.shapes import InputShapes


_FP32 = np.dtype(np.float32)
# What the runtimes count the elements of an axis with.
MOST_AT_ONCE = 2**31 - 1


class InputShapeError(ParityError):
    """The artefact does not take images of this shape."""


def answers(
    artifact: Artifact,
    accepted: InputShapes,
    pixels: np.ndarray,
    batch: int,
    run: Callable[[np.ndarray], Any],
) -> Iterator[Any]:
    """Run an artefact over all images, `batch` of them at once, and give each run's answer with its images' number.

    pixels: uint8 [N, H, W, 3]. run: takes uint8 pixels, exactly `batch` of them; the last image fills up the last
    batch. What the artefact does not declare to take is refused here, by every backend in the same words.
    """
    check_shape(artifact, accepted, pixels, batch)
    for start in range(0, len(pixels), batch):
        part = pixels[start : start + batch]
        filling = np.repeat(part[-1:], batch - len(part), axis=0)
        try:
            answer = run(np.concatenate([part, filling]))
        except ParityError:
            raise
        except Exception as error:  # the runtime's own classes
            raise ParityError(f"{artifact.path}: fails on images of {list(part.shape[1:])}: {error}") from error
        yield answer, len(part)


def check_batch(batch: int) -> int:
    """Return how many images are to go in at once, or refuse what is no such number."""
    if not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= MOST_AT_ONCE:
        raise ParityError(f"a batch of {batch!r}: give how many images go in at once, from 1 to {MOST_AT_ONCE}")
    return batch


# Whoever fixes a batch fixes a small one; the first image that is missing fills it up.
MOST_FIXED = 64


def fitting_batch(pixels: np.ndarray, batch: int, artifact: Artifact) -> int:
    """Return the batch for these images: all of them at most, unless the file takes this batch and no smaller one.

    One by one, where nobody asks for more, becomes as many as a file takes whose batch is fixed.
    pixels: uint8 [N, H, W, 3].
    """
    fewer = min(batch, max(len(pixels), 1))
    height, width, channels = pixels.shape[1:]
    with suppress(ConversionError, ParityError):  # a damaged file, of which the backends say more
        accepted = read_input_shapes(artifact)
        if (fewer, channels, height, width) in accepted:
            return fewer
        if (batch, channels, height, width) in accepted:
            return batch
        if batch == 1:
            return accepted.images_at_once(MOST_FIXED, 1, (height, width)) or batch
    return fewer


def check_shape(artifact: Artifact, accepted: InputShapes, pixels: np.ndarray, batch: int) -> None:
    """Raise InputShapeError unless the artefact takes batches of these pixels."""
    if pixels.ndim != 4:
        raise InputShapeError(
            f"{artifact.path}: takes images of shape {accepted} (images, channels, height, width), not an array of "
            f"{pixels.ndim} axes, {list(pixels.shape)}"
        )
    height, width, channels = pixels.shape[1:]
    shape = (batch, channels, height, width)
    if accepted.options and shape not in accepted:
        raise InputShapeError(
            f"{artifact.path}: takes images of shape {accepted} (images, channels, height, width), not "
            f"{list(shape)}; give such images, or convert with dynamic= for others"
        )


def as_array(
    artifact: Artifact, pixels: np.ndarray, dims: Sequence[Any], dtype: np.dtype[Any] = _FP32
) -> np.ndarray:
    """Make what an array input takes of pixels, uint8 [N, H, W, 3], by the file's contract.

    dims: of the input; three of them are an image without a batch. dtype: of its numbers.
    """
    planes = artifact.contract.fill(pixels)
    if dtype.kind in "iu" and not artifact.contract.takes_pixels:
        raise ParityError(
            f"{artifact.path}: takes whole numbers ({dtype}), and is said to be fed fractions; the only range of "
            "whole numbers is 0..255, with `normalise` inside"
        )
    if layout_of(dims, artifact.contract.layout) == "NHWC":
        planes = planes.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(planes[0] if len(dims) == 3 else planes).astype(dtype, copy=False)
