"""MODEL -> a classifier; of a bare network what it does not say is tried or assumed, and each assumption told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.artifact import open_artifact
from conversion.classifier import Classifier, Preprocessing
from conversion.errors import ConversionError
from conversion.guards.torch_defaults import kept_torch_defaults
from conversion.guards.user_code import UserCodeError, told_error, user_code
from parity.core.errors import ParityError
from parity.formats.editing import open_editable
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


def load_model(reference: str, directory: Path, finished: Sequence[Path] = ()) -> StartingModel:
    """Load MODEL as `load_classifier` does; a function that returns a bare torch.nn.Module will do too.

    finished: files that were converted from it; one that names its classes names those of a bare network.
    Raises ParityError or ConversionError: it cannot be loaded, or is no classifier of images of three channels.
    """
    loaded = _classifier_or_network(reference, directory)
    if isinstance(loaded, Classifier):
        return StartingModel(reference, loaded)
    network = loaded
    is_the_same = _have_one_state(network, _classifier_or_network(reference, directory))
    size, classes = _size_and_classes(reference, network.eval())
    labels, origin = _labels(finished, classes)
    # The share of the shorter side that torchvision crops to: 224 of 256.
    preprocessing = Preprocessing(size=(size, size), resize=round(size * 256 / 224))
    classifier = Classifier(reference.rpartition(":")[2], network, preprocessing, labels)
    weights = "the trained network" if is_the_same else "other weights at each call, not trained ones"
    assumptions = (
        f"{reference} returns {weights}; load its weights there",
        *_assumed_of_images(preprocessing),
        f"labels: {origin}, one for each of {classes} logits",
    )
    return StartingModel(reference, classifier, True, assumptions)


def _classifier_or_network(reference: str, directory: Path) -> Any:
    try:
        return load_classifier(reference, directory=directory)
    except NoClassifierError as error:
        import torch

        if isinstance(error.answer, torch.nn.Module):
            return error.answer
        raise


def _have_one_state(network: torch.nn.Module, again: torch.nn.Module) -> bool:
    """Say whether two calls returned the same weights; where they are random, no file agrees with the next call."""
    pairs = zip(network.parameters(), again.parameters(), strict=False)
    return all(bool((one == other).all()) for one, other in pairs if one.shape == other.shape)


def numbers(classes: int) -> tuple[str, ...]:
    """Name classes by number: 0, 1 and so on."""
    return tuple(map(str, range(classes)))


def _labels(finished: Sequence[Path], classes: int) -> tuple[tuple[str, ...], str]:
    """Return the names that a file has for so many classes, or numbers, and where they come from, in words."""
    for path in finished:
        labels = _labels_of(path)
        if len(labels) == classes == len(set(labels)):
            return labels, f"those of {path}, taken to be in the order of the network"
    return numbers(classes), "by number"


def _labels_of(path: Path) -> tuple[str, ...]:
    try:
        labels = open_editable(open_artifact(path)).labels() or ()
    except (ParityError, ConversionError):  # damaged, of which the run says more
        return ()
    return tuple(labels) if all(isinstance(label, str) for label in labels) else ()


def _size_and_classes(reference: str, network: torch.nn.Module) -> tuple[int, int]:
    import torch

    noise = torch.Generator().manual_seed(0)
    refusals = []
    for size in SIZES:
        example = torch.rand((1, 3, size, size), generator=noise)
        try:
            with kept_torch_defaults(), user_code(reference), torch.no_grad():
                answer = network(example)
        except UserCodeError:
            raise
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


def _assumed_of_images(preprocessing: Preprocessing) -> Iterator[str]:
    height, width = preprocessing.size
    yield f"size: {height}x{width}, the first of the sizes tried that the network takes"
    yield (
        f"resize: the shorter side to {preprocessing.resize}, {preprocessing.interpolation}; "
        "then the centre is cropped"
    )
    yield f"mean {_listed(preprocessing.mean)} and std {_listed(preprocessing.std)}: ImageNet's, for pixels 0..1"


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
