"""MODEL -> a classifier; of a bare network what it does not say is tried or assumed, and each assumption told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.answers import pick
from conversion.artifact import open_artifact
from conversion.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, Preprocessing
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
# Coloured and grey images.
CHANNELS = (3, 1)
_GREY_MEAN, _GREY_STD = (0.5,), (0.5,)
# So many images that no logits of an untrained network lie between 0 and 1 for all of them by chance.
_TRIED = 16
_WRAP = "write a function that returns a conversion.Classifier, and give that as MODEL"


@dataclass(frozen=True)
class Assumptions:
    """Hold what a bare network does not say and the user must confirm, a line for each."""

    weights: str
    size: str
    resize: str
    statistics: str
    labels: str
    head: str

    @property
    def lines(self) -> tuple[str, ...]:
        """Return them in the order in which they stand in models.py."""
        return (self.weights, self.size, self.resize, self.statistics, self.labels, self.head)


@dataclass(frozen=True)
class Tried:
    """Hold what a bare network showed on noise.

    channels, size: of the first images that it takes. classes: how many it tells apart.
    head: what a Classifier must be told of its answers, as keywords. about: the same in words.
    """

    channels: int
    size: int
    classes: int
    head: Mapping[str, str]
    about: str


@dataclass(frozen=True)
class StartingModel:
    """Hold the model that a suite is to be about.

    reference: `file.py:callable` and the like, as a file in the suite's directory names it.
    assumptions: what the classifier of a bare network is made of; None where MODEL returns a classifier.
    head: what such a classifier is told of the network's answers, as keywords.
    """

    reference: str
    classifier: Classifier
    assumptions: Assumptions | None = None
    head: Mapping[str, str] = field(default_factory=dict)


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
    tried = _try(reference, network.eval())
    labels, origin = _labels(finished, tried.classes)
    preprocessing = _preprocessing(tried)
    name = reference.rpartition(":")[2]
    classifier = Classifier(name, network, preprocessing, labels, **tried.head)  # type: ignore[arg-type]
    weights = "the trained network" if is_the_same else "other weights at each call, not trained ones"
    assumptions = Assumptions(
        weights=f"{reference} returns {weights}; load its weights there",
        size=f"size: {tried.size}x{tried.size}, the first of the sizes tried that the network takes",
        resize=f"resize: the shorter side to {preprocessing.resize}, {preprocessing.interpolation}; "
        "then the centre is cropped",
        statistics=_about_statistics(preprocessing),
        labels=f"labels: {origin}, one for each of {tried.classes} classes",
        head=f"answers: {tried.about}",
    )
    return StartingModel(reference, classifier, assumptions, tried.head)


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


def _try(reference: str, network: torch.nn.Module) -> Tried:
    """Show noise of every size to a network until it answers."""
    import torch

    noise = torch.Generator().manual_seed(0)
    refusals = []
    for channels in CHANNELS:
        for size in SIZES:
            examples = torch.rand((1, channels, size, size), generator=noise)
            try:
                answer = _answer(reference, network, examples)
            except UserCodeError:
                raise
            except Exception as error:  # the user's own code
                refusals.append(told_error(error))
                continue
            classes = _count(reference, answer)
            more = torch.rand((_TRIED, channels, size, size), generator=noise)
            return Tried(channels, size, classes, *_head(_rows(reference, network, more)))
    raise ParityError(
        f"{reference}: the network takes no image [1, 3, H, W] or [1, 1, H, W] of the sizes that were tried "
        f"({_listed(SIZES)}); at {SIZES[0]}: {refusals[0]}; {_WRAP}"
    )


def _answer(reference: str, network: torch.nn.Module, images: torch.Tensor) -> Any:
    import torch

    with kept_torch_defaults(), user_code(reference), torch.no_grad():
        return network(images)


def _rows(reference: str, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return what a network answers to images one by one: not every network takes several."""
    import torch

    return torch.cat([pick(_answer(reference, network, image[None])) for image in images])


def _count(reference: str, answer: Any) -> int:
    """Count the classes of what a network answers to one image; what no Classifier takes is refused."""
    try:
        row = pick(answer)
    except ConversionError as error:
        raise ParityError(f"{reference}: {error}; {_WRAP}") from None
    if row.ndim != 2 or row.shape[0] != 1 or not row.shape[1] or not row.is_floating_point():
        raise ParityError(
            f"{reference}: the network answers {row.dtype} {list(row.shape)} to one image; "
            f"a classifier answers floats [1, classes]; {_WRAP}"
        )
    # One number decides between two classes.
    return max(2, int(row.shape[1]))


def _head(rows: torch.Tensor) -> tuple[Mapping[str, str], str]:
    """Say what a Classifier must be told of answers like these, as keywords and in words."""
    alone = rows.shape[1] == 1
    if not bool(((rows >= 0) & (rows <= 1)).all()):
        return {}, "one logit, that of the second class" if alone else "logits; the conversion adds softmax"
    if alone:
        return {"softmax": "inside"}, "one probability, that of the second class"
    if bool(((rows.sum(dim=1) - 1).abs() < 1e-3).all()):
        return {"softmax": "inside"}, "probabilities that add up to 1; nothing is added"
    return {"sigmoid": "inside"}, "a probability for each class by itself; nothing is added"


def _preprocessing(tried: Tried) -> Preprocessing:
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if tried.channels == len(IMAGENET_MEAN) else (_GREY_MEAN, _GREY_STD)
    # The share of the shorter side that torchvision crops to: 224 of 256.
    return Preprocessing((tried.size, tried.size), resize=round(tried.size * 256 / 224), mean=mean, std=std)


def _about_statistics(preprocessing: Preprocessing) -> str:
    values = f"mean {_listed(preprocessing.mean)} and std {_listed(preprocessing.std)}"
    whose = "ImageNet's" if preprocessing.channels == len(IMAGENET_MEAN) else "those of grey images -1..1"
    return f"{values}: {whose}, for pixels 0..1"


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
