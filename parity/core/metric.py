"""METRICS: how an output is measured, by its kind. What judges, counts and reports knows no more of it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, cast

import numpy as np

from conversion.task import LABELS_APART, PROBABILITIES, OutputSpec
from parity.core.errors import ParityError
from parity.core.tolerance import Apart, Tolerance, tolerances_for

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.artifact import Precision
    from parity.core.results import Case, Prediction


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Measurement(NamedTuple):
    """Hold what a metric says of one output of one image.

    distance: 0 for equal answers, 1 for answers as far apart as the metric's numbers go; None where there is none.
        A tolerance lies in between, so a metric whose numbers have a unit divides them by their range.
    same_answer: whether both come to the same, where an answer is more than its numbers: a top-1 label.
    margin: by how much the reference prefers its own answer to the candidate's; None where nobody can tell.
    reason: what is wrong with the candidate's answer, whatever its distance.
    detail: further numbers to report. fields: of `Case` itself, whose fields are those of class probabilities.
    A tuple and no dataclass, because a streamed run makes one for each of a million images.
    """

    distance: float | None
    same_answer: bool = True
    margin: float | None = None
    reason: str = ""
    detail: Mapping[str, float | None] = _NOTHING
    fields: Mapping[str, Any] = _NOTHING


class Variety(Protocol):
    """Say whether agreement with a reference's answers proves anything; adds up over parts of the images."""

    def merge(self, other: Self) -> Self:
        """Return what tells it of both."""

    def lacking(self, allowed: float) -> str:
        """Say why agreement within `allowed` would prove nothing; empty where it would."""


# The spec, the reference's numbers, the candidate's (both float64 [N, ...], of one shape), and the name that the
# candidate itself gave each answer, where it gives any -> one measurement for each image.
Measure = Callable[[OutputSpec, np.ndarray, np.ndarray, Sequence[str | None] | None], Iterator[Measurement]]


def _by_position(spec: OutputSpec, answers: Prediction) -> tuple[np.ndarray | None, str]:
    if spec.name not in answers.outputs:
        return None, f"no output `{spec.name}`; the outputs are {', '.join(answers.outputs) or 'none'}"
    return np.asarray(answers.outputs[spec.name], dtype=np.float64), ""


def _unchanged(reference: np.ndarray) -> np.ndarray:
    return reference


def _no_fields(case: Case) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True)
class Metric:
    """Measure one kind of output.

    distance: what the distance of an image is called, `|Δp|`. explained: what the largest over all images is.
    measure: see `Measure`. variety: of the reference's answers, at least one image; float64 [N, ...].
    align: brings the candidate's numbers into the order of the spec, or says why they cannot be compared.
    apart: differences whose largest is the distance of an image, faster than by `measure`; None: there are none.
    tolerances: the default ones of an artefact; see parity.core.tolerance.tolerances_for.
    exact: the reference's answers without what its own arithmetic is known to lose, for a candidate that fails by
        no more than that. exact_told: what is to be said of it, with {lost}, {size} and {allowed} in it.
    contradictions: what cannot be true of the fields that `Measurement.fields` went into.
    """

    distance: str
    measure: Measure
    variety: Callable[[np.ndarray], Variety]
    align: Callable[[OutputSpec, Prediction], tuple[np.ndarray | None, str]] = _by_position
    apart: Apart | None = None
    tolerances: Callable[[Artifact, Callable[[Precision], float], str], Iterator[Tolerance]] = tolerances_for
    exact: Callable[[np.ndarray], np.ndarray] = _unchanged
    exact_told: str = ""
    contradictions: Callable[[Case], Iterator[str]] = _no_fields
    explained: str = ""


# Kind -> the metric, or the module that has it as METRIC. Whoever brings a task of another kind adds its metric.
METRICS: dict[str, Metric | str] = {
    PROBABILITIES: "parity.metrics.classification",
    LABELS_APART: "parity.metrics.labels_apart",
}


def metric_of(kind: str) -> Metric:
    """Return the metric of a kind of output; an unknown kind is a ParityError that names the nearest."""
    metric = METRICS.get(kind)
    if metric is None:
        near = difflib.get_close_matches(kind, METRICS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParityError(
            f"no metric measures outputs of the kind `{kind}`{hint} (kinds: {', '.join(METRICS)}); add one to "
            "parity.core.metric.METRICS"
        )
    return cast(Metric, importlib.import_module(metric).METRIC) if isinstance(metric, str) else metric
