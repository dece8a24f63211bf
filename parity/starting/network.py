"""MODEL -> a classifier; of a bare network what it does not say is tried or assumed, and each assumption told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.classifier import Classifier, Preprocessing
from conversion.guards.torch_defaults import kept_torch_defaults
from conversion.guards.user_code import told_error, user_code
from parity.core.errors import ParityError
from parity.suite.models import NoClassifierError, load_classifier

if TYPE_CHECKING:
    import torch

# The usual one first, for many networks take any; then those of small pictures, and of others.
SIZES = (224, 28, 32, 48, 64, 96, 128, 160, 192, 240, 256, 288, 299, 320, 384, 512)
_WRAP = "write a function that returns a conversion.Classifier, and give that as MODEL"


@dataclass(frozen=True)
class StartingModel:
    """Hold the model that a suite is to be about.

    reference: `file.py:callable` and the like, as a file in the suite's directory names it.
    is_bare: it returns a network alone, and the classifier is made of assumptions.
    assumptions: what the user must confirm, a line each.
    """

    reference: str
    classifier: Classifier
    is_bare: bool = False
    assumptions: tuple[str, ...] = ()


def load_subject(reference: str, directory: Path) -> StartingModel:
    """Load MODEL as `load_classifier` does; a function that returns a bare torch.nn.Module will do too.

    Raises ParityError or ConversionError: it cannot be loaded, or is no classifier of images of three channels.
    """
    try:
        return StartingModel(reference, load_classifier(reference, directory=directory))
    except NoClassifierError as error:
        import torch

        if not isinstance(error.answer, torch.nn.Module):
            raise
        network = error.answer
    classifier = _wrapped(reference, network)
    return StartingModel(reference, classifier, True, tuple(_assumptions(reference, classifier)))


def _wrapped(reference: str, network: torch.nn.Module) -> Classifier:
    """Make a classifier of a bare network: its size by trying, ImageNet's mean and std, classes by number."""
    size, classes = _size_and_classes(reference, network.eval())
    # The share of the shorter side that torchvision crops to: 224 of 256.
    preprocessing = Preprocessing(size=(size, size), resize=round(size * 256 / 224))
    name = reference.rpartition(":")[2]
    return Classifier(name, network, preprocessing, tuple(map(str, range(classes))))


def _size_and_classes(reference: str, network: torch.nn.Module) -> tuple[int, int]:
    import torch

    noise = torch.Generator().manual_seed(0)
    refusals = []
    for size in SIZES:
        example = torch.rand((1, 3, size, size), generator=noise)
        try:
            with kept_torch_defaults(), user_code(reference), torch.no_grad():
                answer = network(example)
        except Exception as error:  # the user's own code
            refusals.append(told_error(error))
            continue
        return size, _classes(reference, answer)
    raise ParityError(
        f"{reference}: the network takes no image [1, 3, H, W] of the sizes that were tried ({_listed(SIZES)}); "
        f"at {SIZES[0]}: {refusals[0]}; {_WRAP}"
    )


def _classes(reference: str, answer: Any) -> int:
    """Count the classes of what a network answers to one image; what are no logits is refused."""
    import torch

    if not isinstance(answer, torch.Tensor):
        raise ParityError(
            f"{reference}: the network answers {type(answer).__name__}, not logits [N, classes]; {_WRAP}"
        )
    if answer.ndim != 2 or answer.shape[0] != 1 or answer.shape[1] < 2 or not answer.is_floating_point():
        raise ParityError(
            f"{reference}: the network answers {answer.dtype} {list(answer.shape)} to one image; "
            f"a classifier answers logits, floats [1, classes]; {_WRAP}"
        )
    if bool((answer >= 0).all()) and abs(float(answer.sum()) - 1) < 1e-4:
        raise ParityError(
            f"{reference}: the network answers probabilities, which sum up to 1, and a classifier answers logits: "
            "let the function return the network without its softmax"
        )
    return int(answer.shape[1])


def _assumptions(reference: str, classifier: Classifier) -> Iterator[str]:
    preprocessing, classes = classifier.preprocessing, len(classifier.labels)
    height, width = preprocessing.size
    yield f"{reference} returns the trained network; load its weights there"
    yield f"size: {height}x{width}, the first of the sizes tried that the network takes"
    yield (
        f"resize: the shorter side to {preprocessing.resize}, {preprocessing.interpolation}; "
        "then the centre is cropped"
    )
    yield f"mean {_listed(preprocessing.mean)} and std {_listed(preprocessing.std)}: ImageNet's, for pixels 0..1"
    yield f"labels: by number, 0 to {classes - 1}, one for each of the {classes} logits"


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
