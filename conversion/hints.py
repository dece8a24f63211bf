"""What to do about errors of converters that say little by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

_INSIDE = (
    "put the normalisation (mean and std) inside the torch module instead, and do not average the three into one "
    "[pre-perchannel-scale-rejected]"
)
_SCALAR = f"coremltools' ImageType takes one number as scale, not one for each channel; {_INSIDE}"
_SCALAR_TOO = (
    "coremltools' ImageType takes one number as scale, not one for each channel, and so does image_scale of "
    f"onnx-coreml; {_INSIDE}"
)
# Pattern in the error, its blanks single -> advice.
_HINTS: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile("only 0-dimensional arrays can be converted to Python scalars"),
        "coremltools up to 9.0 does not work with numpy 2.4 or later: pip install 'numpy<2.4'",
    ),
    # Of an ML Program: the three numbers stand where the image's width does.
    (re.compile(r"Incompatible dim 3 in shapes \(\w+, 3, \w+, \w+\) vs\. \(1, 1, 1, 3\)"), _SCALAR),
    # Of a NeuralNetwork: protobuf's word for a list in the place of channelScale.
    (re.compile("must be real number, not (list|tuple)"), _SCALAR_TOO),
)


def hint(error: str) -> str:
    """Return what to do about an error; empty where nothing is known of it."""
    text = " ".join(error.split())
    return next((advice for pattern, advice in _HINTS if pattern.search(text)), "")
