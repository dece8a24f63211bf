"""Whose column is whose: a candidate's probabilities in the order of the classifier's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from conversion.task import CLASS_PROBABILITIES, OutputSpec
from parity.core.results import Prediction


def aligned(spec: OutputSpec, candidate: Prediction) -> tuple[np.ndarray | None, str]:
    """Bring a candidate's probabilities into the order of a spec's labels, or say why not.

    Those of an only output are a classifier's, whatever it is called; of several the name tells.
    """
    if len(candidate.outputs) < 2 or spec.name == CLASS_PROBABILITIES:
        return align(spec.labels, candidate)
    if spec.name not in candidate.outputs:
        return None, f"no output `{spec.name}`; the outputs are {', '.join(candidate.outputs)}"
    rows = {spec.name: candidate.outputs[spec.name]}
    return align(spec.labels, candidate.answering(rows))


def align(labels: tuple[str, ...], candidate: Prediction) -> tuple[np.ndarray | None, str]:
    """Bring the candidate's columns into the order of `labels`, or say why not; never by a dictionary's order."""
    values = np.asarray(candidate.probabilities, dtype=np.float64)
    if candidate.labels is None:
        return values, ""
    if values.ndim != 2 or values.shape[1] != len(candidate.labels):
        return None, f"outputs of shape {list(values.shape)} for {len(candidate.labels)} labels; convert again"
    places = {label: i for i, label in enumerate(candidate.labels)}
    if places.keys() != set(labels) or len(candidate.labels) != len(labels):
        apart = tell_labels_apart("the candidate", candidate.labels, labels)
        return None, f"{apart}; convert again with the classifier's labels"
    return values[:, [places[label] for label in labels]], ""


def tell_labels_apart(whose: str, theirs: Sequence[str], labels: Sequence[str]) -> str:
    """Say how the labels of `whose` differ from a classifier's: in number, in names, in order; empty if not at all.

    theirs: in the order of the columns; labels: the classifier's. Indices count from 0.
    """
    if list(theirs) == list(labels):
        return ""
    known, counts = set(labels), Counter(theirs)
    absent = [index for index, label in enumerate(labels) if label not in counts]
    strange = [label for label in theirs if label not in known]
    alike = f"{whose} has as many labels as the classifier, {len(labels)}"
    repeated = ""
    if label := next((label for label in theirs if counts[label] > 1), ""):
        first, second, *_ = [index for index, other in enumerate(theirs) if other == label]
        repeated = f"; labels {first} and {second} are both {label!r}"
    if repeated or len(theirs) != len(labels):
        count = f"{whose} has {len(theirs)} labels, the classifier {len(labels)}"
        names = f"absent {_few([labels[index] for index in absent])}, unknown {_few(strange)}"
        return f"{alike if len(theirs) == len(labels) else count}{repeated}; {names}"
    differing = absent or [i for i, (one, other) in enumerate(zip(theirs, labels, strict=True)) if one != other]
    index = differing[0]
    differ = f"but {len(absent)} of other names" if absent else "but in another order"
    if absent and theirs[index] not in strange:
        first_names = f"label {index} of the classifier, {labels[index]!r}, is not there, and {strange[0]!r} is"
    else:
        first_names = f"label {index} is {theirs[index]!r} there and {labels[index]!r} in the classifier"
    return f"{alike}, {differ}: {first_names}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
