"""Our pixels against those of the library that a model comes from, or of the user's own transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conversion.classifier import Preprocessing
from conversion.errors import ConversionError
from conversion.images import to_pixels

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class OwnTransform:
    """Hold what a library, or a user, makes of a picture.

    owner: whose it is, as remarks name it.
    function: RGB picture -> normalised numbers [3, height, width], or [1, 3, height, width].
    why: where its numbers are known to be others than ours, the reason.
    """

    owner: str
    function: Callable[[Image.Image], torch.Tensor]
    why: str = ""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Return what the model is shown of a picture: float [3, height, width]."""
        numbers = self.function(picture)
        return numbers[0] if numbers.ndim == 4 else numbers


def difference(
    preprocessing: Preprocessing, transform: Callable[[Image.Image], torch.Tensor], picture: Image.Image
) -> float:
    """Return how far a transform's numbers are from ours at most, in units of 1/255 of a pixel's range 0..1.

    transform: as Classifier.own_transform. picture: upright; its mode is made RGB for both.
    Raises ConversionError: the transform gives another shape.
    """
    import torch

    picture = picture.convert("RGB")
    mean, std = (
        torch.tensor(s, dtype=torch.float64).reshape(3, 1, 1) for s in (preprocessing.mean, preprocessing.std)
    )
    ours = torch.from_numpy(to_pixels(picture, preprocessing)).permute(2, 0, 1).double()
    theirs = transform(picture).double()
    if theirs.shape != ours.shape:
        raise ConversionError(f"it gives numbers of shape {list(theirs.shape)}, and not {list(ours.shape)}")
    return float(((theirs * std + mean) * 255 - ours).abs().max())
