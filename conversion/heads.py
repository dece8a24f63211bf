"""What follows a classifier's module: softmax or sigmoid, added by the conversion or inside the module already.

softmax: one of the labels is right; the probabilities add up to 1. Of two labels one logit will do, the second's.
sigmoid: each label is right or wrong by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from conversion.answers import pick
from conversion.errors import ConversionError
from conversion.labels import check_labels
from conversion.task import (
    CLASS_PROBABILITIES,
    LABEL_PROBABILITIES,
    LABELS_APART,
    NOISE,
    PROBABILITIES,
    OutputSpec,
    Task,
)

Activation = Literal["softmax", "sigmoid"]
Place = Literal["added", "inside"]
# Fewer numbers than these may lie between 0 and 1 by chance.
_MANY = 16


@dataclass(frozen=True)
class Head:
    """Say what follows a classifier's module.

    activation: what makes probabilities of logits. place: `added` by the conversion, or `inside` the module.
    output: which of the module's answers counts (conversion.answers.pick).
    """

    activation: Activation = "softmax"
    place: Place = "added"
    output: str | int | None = None


def head_of(softmax: Place, sigmoid: Place | None, output: str | int | None) -> Head:
    """Make a head of what a Classifier says. Raises ConversionError."""
    for name, place in (("softmax", softmax), ("sigmoid", sigmoid or "added")):
        if place not in get_args(Place):
            raise ConversionError(f"{name} is `added` by the conversion or `inside` the module, not {place!r:.60}")
    if sigmoid is not None and softmax == "inside":
        raise ConversionError("softmax is inside and sigmoid follows: state the one that gives the probabilities")
    if output is not None and (isinstance(output, bool) or not isinstance(output, str | int)):
        raise ConversionError(f"output is a name or a place in a tuple, not {output!r:.60}")
    return Head("sigmoid", sigmoid, output) if sigmoid else Head("softmax", softmax, output)


def task_of(labels: tuple[str, ...], head: Head = Head()) -> Task:
    """Make the task of a classifier with such a head.

    Its one output has a probability for each label; with sigmoid each stands by itself.
    """
    if head.activation == "sigmoid":
        spec = OutputSpec(LABEL_PROBABILITIES, LABELS_APART, labels)
    else:
        spec = OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, labels)
    activate = _ACTIVATIONS[head.activation, head.place, len(labels) == 2]
    return Task((spec,), _Activated(head, activate), _Check(labels, head))


@dataclass(frozen=True)
class _Activated:
    """Make probabilities of what the module answers."""

    head: Head
    activate: Callable[[Any], Any]

    def __call__(self, answer: Any) -> Any:
        return self.activate(pick(answer, self.head.output))


def _softmax(logits: Any) -> Any:
    import torch

    return torch.softmax(logits, dim=1)


def _sigmoid(logits: Any) -> Any:
    import torch

    return torch.sigmoid(logits)


def _as_it_is(probabilities: Any) -> Any:
    return probabilities


def _softmax_of_two(logits: Any) -> Any:
    """Make two probabilities, of one logit too: softmax of 0 and z is sigmoid of -z and z."""
    import torch

    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return torch.softmax(logits, dim=1)


def _both_of_two(probabilities: Any) -> Any:
    import torch

    if probabilities.shape[1] == 1:
        probabilities = torch.cat([1 - probabilities, probabilities], dim=1)
    return probabilities


# Activation, where it is, and whether there are two labels -> what the conversion adds.
_ACTIVATIONS: dict[tuple[Activation, Place, bool], Callable[[Any], Any]] = {
    ("softmax", "added", False): _softmax,
    ("softmax", "added", True): _softmax_of_two,
    ("softmax", "inside", False): _as_it_is,
    ("softmax", "inside", True): _both_of_two,
    ("sigmoid", "added", False): _sigmoid,
    ("sigmoid", "added", True): _sigmoid,
    ("sigmoid", "inside", False): _as_it_is,
    ("sigmoid", "inside", True): _as_it_is,
}


@dataclass(frozen=True)
class _Check:
    """Refuse a module that does not answer what these labels and this head need."""

    labels: tuple[str, ...]
    head: Head

    def __call__(self, name: str, answer: Any) -> None:
        import torch

        try:
            logits = pick(answer, self.head.output)
        except ConversionError as error:
            raise ConversionError(f"{name}: {error}") from None
        what = "probabilities" if self.head.place == "inside" else "logits"
        if logits.ndim != 2 or logits.shape[0] != NOISE:
            raise ConversionError(
                f"{name}: for {NOISE} images the module answers shape {list(logits.shape)}; a classifier answers "
                f"{what} of shape [{NOISE}, classes]. Wrap the module so that its forward returns just that tensor"
            )
        if logits.dtype not in (torch.float32, torch.float64):
            raise ConversionError(
                f"{name}: the module's {what} are of {logits.dtype}; a classifier answers numbers of fp32: "
                "let its forward return them, with .float() where they are of another type"
            )
        self._check_count(name, logits.shape[1])
        _CHECKS[self.head.activation, self.head.place](name, logits)

    def _check_count(self, name: str, columns: int) -> None:
        if (columns, len(self.labels)) == (1, 2):
            if self.head.activation == "softmax":
                return
            raise ConversionError(
                f"{name}: the module answers one number for an image, and there are two labels that are judged "
                "apart; where one number decides between the two, leave sigmoid out"
            )
        try:
            check_labels(self.labels, columns)
        except ConversionError as error:
            raise ConversionError(f"{name}: {error}") from None


def _refuse_softmax(name: str, logits: Any) -> None:
    total = logits.sum(dim=1)
    if logits.shape[1] > 1 and _are_shares(logits) and bool(((total - 1).abs() < 1e-3).all()):
        raise ConversionError(
            f"{name}: the module's outputs are probabilities already (0..1, summing to 1), so softmax would "
            "be applied twice; give the module without its softmax, the conversion adds it, or state "
            'softmax="inside"'
        )
    normaliser = logits.exp().sum(dim=1)
    if logits.shape[1] > 1 and bool((logits <= 0).all()) and bool(((normaliser - 1).abs() < 1e-3).all()):
        raise ConversionError(
            f"{name}: the module's outputs are log-probabilities (log_softmax); give the module without it, "
            "the conversion adds softmax"
        )


def _want_softmax(name: str, probabilities: Any) -> None:
    # One number, of the second of two labels, is a share by itself.
    alone = probabilities.shape[1] == 1
    total = _both_of_two(probabilities).sum(dim=1) if alone else probabilities.sum(dim=1)
    if not _are_shares(probabilities) or not bool(((total - 1).abs() < 1e-3).all()):
        raise ConversionError(
            f"{name}: softmax is stated to be inside the module, but its answers are no probabilities "
            f"({_range(probabilities)}, adding up to {float(total.min()):.4g} to {float(total.max()):.4g}); "
            'leave softmax="inside" out'
        )


def _refuse_sigmoid(name: str, logits: Any) -> None:
    if logits.numel() >= _MANY and _are_shares(logits):
        raise ConversionError(
            f"{name}: the module's outputs lie between 0 and 1 ({_range(logits)}), so sigmoid would be applied "
            'twice; give the module without its sigmoid, the conversion adds it, or state sigmoid="inside"'
        )


def _want_sigmoid(name: str, probabilities: Any) -> None:
    if not _are_shares(probabilities):
        raise ConversionError(
            f"{name}: sigmoid is stated to be inside the module, but its answers are no probabilities "
            f'({_range(probabilities)}); state sigmoid="added"'
        )


_CHECKS: dict[tuple[Activation, Place], Callable[[str, Any], None]] = {
    ("softmax", "added"): _refuse_softmax,
    ("softmax", "inside"): _want_softmax,
    ("sigmoid", "added"): _refuse_sigmoid,
    ("sigmoid", "inside"): _want_sigmoid,
}


def _are_shares(numbers: Any) -> bool:
    return bool(((numbers >= 0) & (numbers <= 1)).all())


def _range(numbers: Any) -> str:
    return f"{float(numbers.min()):.4g} to {float(numbers.max()):.4g}"
