"""What a model is for: the outputs that it has as the phone sees it, and what follows its module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conversion.errors import ConversionError
from conversion.labels import check_labels

# The one output of a classifier: its kind, and its name, which is Core ML's own for it.
PROBABILITIES, CLASS_PROBABILITIES = "probabilities", "classLabelProbs"
# How many images of normalised noise a module is tried on before it is converted.
NOISE = 4


@dataclass(frozen=True)
class OutputSpec:
    """Describe one output of a model.

    name: what converted files call it.
    kind: what its numbers are; by this the metric is chosen that measures them (parity.core.metric).
    labels: of its columns, where they have names.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()


def _as_it_is(answer: Any) -> Any:
    return answer


@dataclass(frozen=True)
class Task:
    """Say what a model answers.

    outputs: in the order in which the deployed module gives them.
    head: what follows the module in the deployed model; takes what the module answers, gives one tensor
        [N, ...], or a tuple of them where there are several outputs.
    check: refuses a module by what it answers to NOISE images, as a ConversionError that begins with the model's
        name, which is given first; None takes all.
    """

    outputs: tuple[OutputSpec, ...]
    head: Callable[[Any], Any] = _as_it_is
    check: Callable[[str, Any], None] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of its classes; empty where it has none."""
        return next((output.labels for output in self.outputs if output.labels), ())


def classification(labels: tuple[str, ...]) -> Task:
    """Make the task of a classifier: logits in, one probability for each label out."""
    return Task((OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, labels),), _softmax, _Logits(labels))


def _softmax(logits: Any) -> Any:
    import torch

    return torch.softmax(logits, dim=1)


@dataclass(frozen=True)
class _Logits:
    """Refuse what is no logits of these labels."""

    labels: tuple[str, ...]

    def __call__(self, name: str, logits: Any) -> None:
        import torch

        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[0] != NOISE:
            what = f"shape {list(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ConversionError(
                f"{name}: for {NOISE} images the module answers {what}; a classifier answers "
                f"logits of shape [{NOISE}, classes]. Wrap the module so that its forward returns just that tensor"
            )
        if logits.dtype not in (torch.float32, torch.float64):
            raise ConversionError(
                f"{name}: the module's logits are of {logits.dtype}; a classifier answers numbers of fp32: "
                "let its forward return them, with .float() where they are of another type"
            )
        try:
            check_labels(self.labels, logits.shape[1])
        except ConversionError as error:
            raise ConversionError(f"{name}: {error}") from None
        _refuse_softmax(name, logits)


def _refuse_softmax(name: str, logits: Any) -> None:
    total = logits.sum(dim=1)
    if (
        logits.shape[1] > 1
        and bool(((logits >= 0) & (logits <= 1)).all())
        and bool(((total - 1).abs() < 1e-3).all())
    ):
        raise ConversionError(
            f"{name}: the module's outputs are probabilities already (0..1, summing to 1), so softmax would "
            "be applied twice; give the module without its softmax, the conversion adds it"
        )
    normaliser = logits.exp().sum(dim=1)
    if logits.shape[1] > 1 and bool((logits <= 0).all()) and bool(((normaliser - 1).abs() < 1e-3).all()):
        raise ConversionError(
            f"{name}: the module's outputs are log-probabilities (log_softmax); give the module without it, "
            "the conversion adds softmax"
        )
