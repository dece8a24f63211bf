"""The reference: PyTorch eager, on the CPU, in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conversion.errors import ConversionError
from parity.core.errors import ParityError
from parity.core.results import Prediction

if TYPE_CHECKING:
    from conversion import Classifier
    from parity.backends import Predict


def load_reference(classifier: Classifier, batch: int = 1) -> Predict:
    """Wrap the classifier as every route does, and predict with it, one image at a time unless told otherwise.

    One at a time because that is what the phone does, and because a batch takes other kernels.
    """
    import torch

    from conversion.deployed import check_classifier, deployed_module, pixels_to_tensor

    check_classifier(classifier)
    module = deployed_module(classifier)

    def predict(pixels: np.ndarray) -> Prediction:
        try:
            with torch.inference_mode():
                parts = (pixels[start : start + batch] for start in range(0, len(pixels), batch))
                rows = [module(pixels_to_tensor(part)).numpy() for part in parts]
        except ConversionError:
            raise
        except Exception as error:  # the module's own: a size that it was not made for, memory that runs out
            height, width = pixels.shape[1:3]
            said = " ".join(str(error).split()) or type(error).__name__
            raise ParityError(
                f"{classifier.name}: the module fails on an image of {height}x{width} (height x width): {said}; "
                f"its own size is {'x'.join(map(str, classifier.preprocessing.size))}"
            ) from error
        return Prediction(np.concatenate(rows), tuple(classifier.labels))

    return predict


def check_repeatable(classifier: Classifier, predict: Predict, pixels: np.ndarray) -> Prediction:
    """Predict for one image twice and return the answer; two answers are a ParityError.

    What does not agree with itself (live dropout, batch statistics) is no reference.
    """
    first, second = predict(pixels[:1]), predict(pixels[:1])
    if not np.array_equal(first.probabilities, second.probabilities, equal_nan=True):
        apart = float(np.abs(first.probabilities - second.probabilities).max())
        raise ParityError(
            f"{classifier.name}: PyTorch answers the same image differently twice (by {apart:.1e}); "
            "something in the module is random, dropout perhaps: it cannot be a reference"
        )
    return first
