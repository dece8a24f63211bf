"""Our pixels against those of the library that a model comes from, or of the user's own transform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.classifier import Classifier, Preprocessing
from conversion.errors import ConversionError
from conversion.images import load_image, to_pixels
from conversion.sources.weights_file import one_line

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What fp32 loses on the way is far below; another pixel is 1.
_EQUAL = 0.05
# Photos that are compared: where the ways differ, they differ on each.
PHOTOS = 8


@dataclass(frozen=True)
class OwnTransform:
    """Hold what a library, or a user, makes of a picture.

    owner: whose it is, as remarks name it.
    function: RGB picture -> normalised numbers [C, height, width], or [1, C, height, width].
    why: where its numbers are known to be others than ours, the reason.
    """

    owner: str
    function: Callable[[Image.Image], torch.Tensor]
    why: str = ""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Return what the model is shown of a picture: float [C, height, width]."""
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
        torch.tensor(s, dtype=torch.float64).reshape(-1, 1, 1) for s in (preprocessing.mean, preprocessing.std)
    )
    ours = torch.from_numpy(to_pixels(picture, preprocessing)).permute(2, 0, 1).double()
    theirs = transform(picture).double()
    if theirs.shape != ours.shape:
        raise ConversionError(f"it gives numbers of shape {list(theirs.shape)}, and not {list(ours.shape)}")
    return float(((theirs * std + mean) * 255 - ours).abs().max())


def difference_told(classifier: Classifier, files: Sequence[Path]) -> str:
    """Say how far the classifier's own transform is from ours on the first photos; "" where they agree."""
    own = classifier.own_transform
    if own is None:
        return ""
    whose = f"{own.owner}'" if own.owner.endswith("s") else f"{own.owner}'s"
    largest = 0.0
    for path in files[:PHOTOS]:
        picture = load_image(path)
        try:
            largest = max(largest, difference(classifier.preprocessing, own, picture))
        except Exception as error:  # a library's code, or the user's
            return f"{whose} own transform cannot be compared on {path.name} ({one_line(error)})"
    why = f" ({own.why})" if own.why else ""
    return "" if largest < _EQUAL else f"{whose} own transform gives other pixels: up to {largest:.3g}/255{why}"
