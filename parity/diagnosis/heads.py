"""HEADS: what makes probabilities of logits, and how it is seen and undone, by the kind of a model's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from conversion.task import LABELS_APART, PROBABILITIES, OutputSpec
from parity.formats.graph import Graph, Operation

# Of logarithms; of what is compared as columns, where 1e-9 is as good as 0; and of logits of what is told apart.
_SMALLEST, _LEAST, _CLEAR = 1e-30, 1e-9, 1e-6
# What softens logits near 0 and 1, so that fp16's rounding there does not count.
_SOFT = 1e-2
# The candidate's numbers and PyTorch's, to be compared one by one.
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Head:
    """Describe what follows the logits.

    activation: its name. types: what operations that compute it are called, in lower case.
    probabilities: of logits. logits: of probabilities, up to what the activation takes away; float64
        [images, labels], both.
    clear: of two such logits those that can be compared number by number, the candidate's and PyTorch's.
    columns: answers, and PyTorch's probabilities, as numbers by which columns are told apart; the answers may be
        logits.
    sums_to_one: whether the probabilities of an image are shares of 1.
    """

    activation: str
    types: tuple[str, ...]
    probabilities: Callable[[np.ndarray], np.ndarray]
    logits: Callable[[np.ndarray], np.ndarray]
    clear: Callable[[np.ndarray, np.ndarray], Pair]
    columns: Callable[[np.ndarray, np.ndarray], Pair]
    sums_to_one: bool

    def end_of(self, graph: Graph) -> Operation | None:
        """Find the operation of this kind that gives a file's answer; None where another does."""
        return end_of(graph, self.types)


def head_of(spec: OutputSpec) -> Head | None:
    """Return the head of an output; None where its numbers are no probabilities of labels."""
    return HEADS.get(spec.kind)


def activation_of(spec: OutputSpec) -> str:
    """Name what follows a module, for people."""
    head = head_of(spec)
    return head.activation if head else "the task's head"


def end_of(graph: Graph, types: tuple[str, ...]) -> Operation | None:
    """Find the operation of some types that gives a file's answer; None where another does."""
    producers = graph.producers()
    producer = producers.get(graph.output)
    # An fp16 program widens its answers in the end.
    while producer is not None and producer.type.lower() in ("cast", "identity") and len(producer.inputs) == 1:
        producer = producers.get(producer.inputs[0])
    return producer if producer is not None and producer.type.lower() in types else None


def softmax(logits: np.ndarray) -> np.ndarray:
    """Divide the powers of each image by their sum."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Make a probability of each logit by itself."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)))


def logit(outputs: np.ndarray) -> np.ndarray:
    """Undo sigmoid, of anything between 0 and 1."""
    inner = np.clip(outputs, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(inner) - np.log1p(-inner))


def unsoftmax(outputs: np.ndarray) -> np.ndarray:
    """Undo softmax, of what it made of probabilities: [images, labels] that sum to 1."""
    logs = np.log(np.maximum(outputs, _SMALLEST))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True) + 1 / outputs.shape[1])


def _logarithm(outputs: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(outputs, _SMALLEST)))


def _against_the_best(logits: np.ndarray, expected: np.ndarray) -> Pair:
    """Take each image's logits against its own best class: softmax says no more of them."""
    best = expected.argmax(axis=1)[:, None]
    y, x = (values - np.take_along_axis(values, best, axis=1) for values in (logits, expected))
    # A probability that is as good as 0 says how small its logit is at most.
    clear = (x > np.log(_CLEAR)) & (y > np.log(_SMALLEST)) & (np.arange(x.shape[1]) != best)
    return y[clear], x[clear]


def _as_they_are(logits: np.ndarray, expected: np.ndarray) -> Pair:
    """Take the logits of which neither side's probability is as good as 0 or 1."""
    clear = (np.abs(expected) < -np.log(_CLEAR)) & (np.abs(logits) < -np.log(1e-11))
    return logits[clear], expected[clear]


def _logarithms(answers: np.ndarray, expected: np.ndarray) -> Pair:
    if bool((answers < 0).any()):  # logits: up to a constant for each image
        answers = answers - answers.max(axis=1, keepdims=True)
        logs = np.log(np.maximum(expected, _LEAST))
        return np.maximum(answers, np.log(_LEAST)), logs - logs.max(axis=1, keepdims=True)
    first, second = (np.log(np.maximum(values, _LEAST)) for values in (answers, expected))
    return first, second


def _soft_logits(answers: np.ndarray, expected: np.ndarray) -> Pair:
    if bool((answers < 0).any()) or bool((answers > 1).any()):
        answers = sigmoid(answers)
    first, second = (np.log(values + _SOFT) - np.log(1 - values + _SOFT) for values in (answers, expected))
    return first, second


HEADS: Mapping[str, Head] = {
    PROBABILITIES: Head(
        "softmax", ("softmax", "softmaxnd"), softmax, _logarithm, _against_the_best, _logarithms, True
    ),
    LABELS_APART: Head("sigmoid", ("sigmoid",), sigmoid, logit, _as_they_are, _soft_logits, False),
}
