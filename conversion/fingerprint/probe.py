"""What a module answers to two fixed pictures: kept beside what was converted from it, and compared before reuse.

Not all that decides an answer can be read from code: a file that forward opens under a name that it computes, a
library that was changed in place. Then the answers still tell that it is another module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conversion.answers import pick
from conversion.errors import ConversionError
from conversion.files.json_text import parse_json
from conversion.guards.user_code import user_code

if TYPE_CHECKING:
    from conversion.classifier import Classifier

FILE = "probe.json"

# Other kernels (without vectors, oneDNN for SSE4.1, without oneDNN) and threads move the logits of the fixtures by
# at most 1.6e-6 of the largest. Twenty times that is left for processors that were not at hand; where it is passed
# all the same, the model is converted once more than it need be.
TOLERANCE = 3e-5


def probe(classifier: Classifier) -> np.ndarray:
    """Return the module's logits to two pictures of its size, the same in every process: [2, classes].

    The first is noise around the mean, the second a bright one that is smooth: a decision by brightness differs.
    A module that draws random numbers gets the same ones each time. Raises ConversionError where it fails.
    """
    import torch

    from conversion.deployed import check_model

    with torch.random.fork_rng(devices=[]), torch.no_grad(), _one_thread():
        torch.default_generator.manual_seed(0)
        generator = torch.Generator("cpu").manual_seed(1)
        height, width = classifier.preprocessing.size
        channels = classifier.preprocessing.channels
        noise = torch.randn(1, channels, height, width, generator=generator, device="cpu")
        ramp = torch.linspace(0, 2, height * width, device="cpu").reshape(1, 1, height, width)
        colour = torch.tensor([1.0, 0.5, -0.25][:channels], device="cpu").reshape(1, -1, 1, 1)
        try:
            with user_code(classifier.name):
                answers = pick(classifier.module(torch.cat([noise, ramp * colour])), classifier.output)
            if not answers.is_floating_point():
                raise TypeError(f"logits of {answers.dtype}")
            return np.asarray(answers.detach().to(torch.float64).numpy())
        except ConversionError:
            raise
        except Exception as error:
            check_model(classifier)  # says what is wrong with it, where it knows
            said = " ".join(str(error).split()) or type(error).__name__
            raise ConversionError(
                f"{classifier.name}: the module fails on two images of shape [{channels}, {height}, {width}]: "
                f"{said}; a classifier takes any number of images"
            ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch add up in one order, however many processors there are; on busy ones it is faster, too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_probe(directory: Path, answers: np.ndarray) -> None:
    """Keep the answers in a directory, exactly."""
    (directory / FILE).write_text(json.dumps(answers.tolist()) + "\n", encoding="utf-8")


def answers_alike(directory: Path, answers: np.ndarray) -> bool:
    """Say whether these are the answers that a directory keeps, but for rounding; what is damaged keeps none."""
    try:
        kept = np.array(parse_json((directory / FILE).read_bytes()), np.float64)
    except (ArithmeticError, OSError, ValueError, TypeError):
        return False
    if kept.shape != answers.shape:
        return False
    finite = np.abs(kept[np.isfinite(kept)])
    allowed = TOLERANCE * float(finite.max(initial=0.0))
    return bool(np.allclose(answers, kept, rtol=0.0, atol=allowed, equal_nan=True))
