"""The contract of a file: what it does itself, and what is left to the app around it.

    pixels 0..255 --the app's part--> input -> file -> output --the app's part--> probabilities

Our own conversions do all of it inside. torch.onnx.export of a bare module, as most tutorials have it, does none of
it: the app normalises before it and applies softmax behind.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from conversion.errors import ConversionError

if TYPE_CHECKING:
    from conversion.classifier import Preprocessing

Step = Literal["normalise", "softmax", "labels"]
Range = Literal["0..255", "0..1", "-1..1"]
Layout = Literal["NCHW", "NHWC"]
# Who says it: a suite file, a command or the provenance; the file, by the types that it declares; a measurement,
# which restores parity or comes nearest to it; or nobody yet.
Source = Literal["stated", "declared", "measured", "nearest", "assumed"]

STEPS: tuple[Step, ...] = get_args(Step)
# Range -> scale and offset of a pixel 0..255.
RANGES: Mapping[Range, tuple[float, float]] = {
    "0..255": (1.0, 0.0),
    "0..1": (1 / 255, 0.0),
    "-1..1": (2 / 255, -1.0),
}
_OTHER_NAMES = {"normalize": "normalise", "normalisation": "normalise", "normalization": "normalise"}


@dataclass(frozen=True)
class Contract:
    """Say what a file does itself.

    inside: of STEPS, those that the file does. `normalise`: (x / 255 - mean) / std. `softmax`: it answers
        probabilities. `labels`: it names its classes.
    range: of the numbers that go in, where normalise is inside.
    layout: of an array that goes in; empty: the file's own shape says it, and NCHW where it does not.
    input, output: names in the file; empty: the only one, or the one that fits.
    names: what the whole numbers stand for that a file has as class labels.
    mean, std: per channel (RGB), of pixels 0..1; what the app normalises by, where normalise is not inside.
    source: who says it.
    """

    inside: tuple[Step, ...] = STEPS
    range: Range = "0..255"
    layout: Layout | Literal[""] = ""
    input: str = ""
    output: str = ""
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    source: Source = "stated"

    @property
    def is_whole(self) -> bool:
        """Whether pixels 0..255 go in and probabilities come out: the app has nothing to compute."""
        return self.takes_pixels and "softmax" in self.inside

    @property
    def takes_pixels(self) -> bool:
        """Whether pixels go in as they are, 0..255."""
        return "normalise" in self.inside and self.range == "0..255"

    def fill(self, pixels: np.ndarray) -> np.ndarray:
        """Do the app's part before the file: uint8 [N, H, W, C] -> float32 [N, C, H, W].

        Computed in float64 and rounded once, so that nothing of a difference comes from here.
        """
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        if self.takes_pixels:
            return planes.astype(np.float32)
        channels = planes.shape[1]
        scale, offset = (np.array(numbers, np.float64).reshape(1, -1, 1, 1) for numbers in self.affine(channels))
        scaled: np.ndarray = planes.astype(np.float64) * scale + offset
        return scaled.astype(np.float32)

    def finish(self, answers: np.ndarray) -> np.ndarray:
        """Do the app's part behind the file: [N, classes] -> probabilities [N, classes]."""
        if "softmax" in self.inside or answers.ndim != 2:
            return answers
        logits = np.asarray(answers, np.float64)
        with np.errstate(all="ignore"):  # NaN and infinity stay what they are
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def affine(self, channels: int = 3) -> tuple[list[float], list[float]]:
        """Return scale and bias per channel that make of a pixel 0..255 what goes in."""
        if "normalise" in self.inside:
            scale, offset = RANGES[self.range]
            return [scale] * channels, [offset] * channels
        if not self.mean:
            raise ConversionError(
                "the file is fed a normalised image, and nobody says by which mean and std: state them too"
            )
        pairs = list(zip(self.mean, self.std, strict=True))
        return [1 / (255 * std) for _, std in pairs], [-mean / std for mean, std in pairs]

    def of_input(self, scale: Iterable[float], bias: Iterable[float]) -> tuple[list[float], list[float]]:
        """Turn scale and bias for pixels 0..255 into those that make the same of what goes in."""
        wanted = list(zip(scale, bias, strict=True))
        own = zip(*self.affine(len(wanted)), strict=True)
        pairs = [(float(s / k), float(b - s * c / k)) for (s, b), (k, c) in zip(wanted, own, strict=True)]
        return [s for s, _ in pairs], [b for _, b in pairs]


WHOLE, ASSUMED = Contract(), Contract(source="assumed")


def with_statistics(contract: Contract, preprocessing: Preprocessing) -> Contract:
    """Fill in what the app normalises by, where the file does not and nobody gave other numbers."""
    if "normalise" in contract.inside or contract.mean:
        return contract
    return replace(contract, mean=preprocessing.mean, std=preprocessing.std)


def state(
    inside: Iterable[str] | None = None,
    numbers: str | None = None,
    layout: str | None = None,
    image: str | None = None,
    output: str | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Contract:
    """Make a contract of what somebody says; what a file computes stays assumed where nobody says anything of it.

    inside: of STEPS; None: nobody says. numbers: the range of those that go in. image: the input's name.
    mean, std: what the app normalises by, so that the file does not.
    Raises ConversionError, which names what is allowed.
    """
    steps = None if inside is None else tuple(dict.fromkeys(_step(step) for step in inside))
    if bool(mean) != bool(std):
        raise ConversionError("mean and std go together: give both, or neither")
    if steps is None and (mean or numbers):
        steps = ("softmax",) if mean else ("normalise", "softmax")
    if steps is not None and "normalise" in steps and mean:
        raise ConversionError("mean and std are of an app that normalises; leave out either them or `normalise`")
    if steps is not None and "normalise" not in steps and numbers:
        raise ConversionError(
            f"range {numbers} is of a file that normalises itself; leave it out, or add `normalise` to inside"
        )
    return Contract(
        inside=STEPS if steps is None else steps,
        range=_one_of("range", numbers, RANGES) if numbers else "0..255",
        layout=_one_of("layout", layout.upper(), get_args(Layout)) if layout else "",
        input=image or "",
        output=output or "",
        mean=tuple(mean),
        std=tuple(std),
        source="assumed" if steps is None else "stated",
    )


def parse_inside(text: str) -> tuple[str, ...]:
    """Read `normalise,softmax`, as commands take it; `none` and nothing are nothing."""
    words = [word for word in re.split(r"[,\s]+", text.strip()) if word]
    return () if words in ([], ["none"]) else tuple(words)


def _step(step: str) -> Step:
    return cast(Step, _one_of("inside", _OTHER_NAMES.get(step, step), STEPS))


def _one_of(what: str, value: str, allowed: Iterable[Any]) -> Any:
    known = list(allowed)
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConversionError(f"{what}: `{value}` is none of {', '.join(known)}{hint}")
