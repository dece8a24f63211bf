"""How the search knows: the steps of an examination, in the order in which a person would check them.

What was compared, what enters the network, its weights, its operations, its answer and labels. Each step says what
was measured there, or that it was not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from parity.backends import RECORDED
from parity.core.evidence import Check
from parity.core.noise import PROBABILITY_SUM
from parity.core.results import FAILING_CASES, Subject
from parity.diagnosis.examination import OPERATIONS, WEIGHTS
from parity.diagnosis.network_input import entrances, image_at, is_same
from parity.diagnosis.outcome import divergence_of, printable

if TYPE_CHECKING:
    from parity.backends.reference import Reference
    from parity.core.prediction import Prediction
    from parity.diagnosis.examination import Examination

# How many weights that differ are told.
_TOLD = 3


def check_comparison(subject: Subject, reference: Reference, prediction: Prediction | None) -> Check:
    """Say what was compared with what, how far apart it is, and what is allowed."""
    if prediction is None:
        return Check("comparison", f"`{printable(subject.artifact)}` gave no answer", None)
    count, pixels = len(reference.images.names), reference.images.pixels
    height, width = pixels.shape[1:3]
    source = f"{count} image(s) of {height}x{width}"
    if subject.backend.startswith(RECORDED):
        same = "the record's pixels are these" if prediction.same_pixels else "the record may be of other pixels"
        file = "and its file is this one" if prediction.same_file else "and of another file of that name"
        parts = [f"{source}: {same}, {file}"]
    else:
        parts = [f"{source}: the same pixels went into PyTorch and `{printable(subject.artifact)}`"]
    parts.append("classes are matched by label" if prediction.labels else "classes are matched by position")
    if subject.max_abs_diff is not None and subject.tolerance is not None:
        beyond = sum(case.verdict in FAILING_CASES for case in subject.cases)
        parts.append(
            f"|dp| up to {subject.max_abs_diff:.1e}, {beyond} of {len(subject.cases)} fail; allowed "
            f"{subject.tolerance:.1e} ({subject.tolerance_reason or 'given'})"
        )
    else:
        parts.append(subject.reason)
    return Check("comparison", "; ".join(filter(None, parts)), subject.verdict == "pass")


def checks_of(examination: Examination, unwanted: str = "", seconds: float | None = None) -> tuple[Check, ...]:
    """Look at input, weights, operations and answer.

    unwanted: why nobody asks where the operations part; empty where that was looked at. seconds: after so many the
    search ended, and nothing more is begun; None: it did not end by the clock.
    """
    over = "" if seconds is None else f"the {seconds:.0f} s of the search were over"
    return (
        _input(examination, over),
        _weights(examination, over),
        _operations(examination, unwanted or over),
        _answer(examination),
    )


def _input(examination: Examination, over: str) -> Check:
    """Compare what enters the network with PyTorch's normalised image, of a test picture."""
    if over:
        return _unseen("input", over)
    seen = examination.failures.attempt("what enters the network", lambda: _entering(examination), lambda e: None)
    if seen is None:
        return _unseen("input", "the values inside the file cannot be shown")
    pixels, expected = examination.pixels, examination.torch.module_input[0]
    shown = f"pixels {pixels.min()}..{pixels.max()}; of a test picture"
    if not seen:
        return _unseen("input", "no value before the first layer has the image's shape")
    same = any(is_same(image, expected) for image in seen)
    if same:
        return Check("input", f"{shown} the network reads what PyTorch's does: {_spread(expected)}", True)
    told = f"{shown} the network reads {_spread(seen[-1])}, PyTorch's {_spread(expected)}"
    return Check("input", told, False)


def _entering(examination: Examination) -> list[np.ndarray] | None:
    graph, values = examination.file.graph, examination.candidate.values(examination.torch.probe)
    if graph is None or values is None:
        return None
    shape = examination.torch.module_input[0].shape
    return [image_at(values, entry) for entry in entrances(graph, values, shape)]


def _spread(image: np.ndarray) -> str:
    """Say in which range numbers lie, with mean and standard deviation of each channel: [C, H, W]."""
    finite = image[np.isfinite(image)]
    if len(finite) < image.size:
        return f"{image.size - len(finite)} of {image.size} numbers that are not finite"
    means, stds = (", ".join(f"{x:.3g}" for x in f(image, axis=(1, 2))) for f in (np.mean, np.std))
    return f"{image.min():.3g}..{image.max():.3g}, mean ({means}), std ({stds})"


def _weights(examination: Examination, over: str) -> Check:
    if over and "weight_audit" not in vars(examination):
        return _unseen("weights", over)
    audit = examination.weight_audit
    if audit is None:
        return _unseen("weights", _why_not(examination, WEIGHTS))
    if not audit.compared:
        return _unseen("weights", "the file has none that PyTorch has too")
    wrong = [finding.message for finding in audit.findings if not finding.harmless]
    less_exact = len(audit.findings) - len(wrong)
    told = f"{audit.compared - len(audit.findings)} of {audit.compared} equal"
    if less_exact:
        told += f", {less_exact} apart by what the file's precision costs"
    if wrong:
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        told += f"; {'; '.join(map(printable, wrong[:_TOLD]))}{more}"
    return Check("weights", told, not wrong)


def _operations(examination: Examination, unwanted: str) -> Check:
    graph = examination.file.graph
    if unwanted and not examination.is_located:
        return _unseen("operations", unwanted)
    where = examination.first_divergence
    if where is None:
        if why := _why_not(examination, OPERATIONS) or ("" if graph else "the file's operations cannot be read"):
            return _unseen("operations", why)
        count = len(graph.operations) if graph else 0
        told = f"none of {count} computes otherwise than PyTorch's of the same inputs, as far as can be compared"
        return Check("operations", told, True)
    relative = where.difference.figures.get("relative")
    size = f"; it is off by {relative:.2g} of its size" if isinstance(relative, float) else ""
    place = divergence_of(where)
    assert place is not None
    return Check("operations", f"first of those that read what PyTorch's read: {place.told}{size}", False)


def _answer(examination: Examination) -> Check:
    """Compare the labels, and what an image's numbers come to."""
    labels = _labels(examination.file.labels, tuple(examination.reference.model.labels))
    prediction = examination.candidate.prediction
    if prediction is None:
        return Check("head and labels", f"{labels[0]}; no numbers were given", labels[1])
    rows = np.asarray(prediction.probabilities, np.float64)
    expected = examination.torch.probabilities
    if rows.ndim != 2 or rows.shape != expected.shape:
        told = f"{labels[0]}; {list(rows.shape)} numbers, PyTorch {list(expected.shape)}"
        return Check("head and labels", told, False)
    if lost := int((~np.isfinite(rows)).sum()):
        return Check("head and labels", f"{labels[0]}; {lost} of {rows.size} numbers are not finite", False)
    own, wanted = rows.sum(axis=1), expected.sum(axis=1)
    least = min(expected.min(), 0) - PROBABILITY_SUM
    alike = bool(np.abs(own - wanted).max() <= PROBABILITY_SUM and rows.min() >= least)
    told = f"{labels[0]}; an image's numbers add up to {_range(own)}, the least is {rows.min():.3g}"
    if not alike:
        told += f", PyTorch's to {_range(wanted)}, the least is {expected.min():.3g}"
    return Check("head and labels", told, None if labels[1] is None and alike else labels[1] is not False and alike)


def _labels(own: Sequence[str] | None, wanted: Sequence[str]) -> tuple[str, bool | None]:
    """Compare the file's labels with PyTorch's; with whether they are the same, None where there are none."""
    if own is None:
        return "the file has no labels", None
    if tuple(own) == tuple(wanted):
        return f"{len(own)} labels equal, in the same order", True
    if len(own) != len(wanted):
        return f"{len(own)} labels, PyTorch {len(wanted)}", False
    apart = [i for i, (a, b) in enumerate(zip(own, wanted, strict=True)) if a != b]
    kind = "are the same in another order" if sorted(own) == sorted(wanted) else "differ"
    first = apart[0]
    return (
        f"{len(apart)} of {len(own)} labels {kind}, the first is {printable(own[first])!r} for {wanted[first]!r}",
        False,
    )


def _range(numbers: np.ndarray) -> str:
    low, high = f"{numbers.min():.3g}", f"{numbers.max():.3g}"
    return low if low == high else f"{low}..{high}"


def _why_not(examination: Examination, where: str) -> str:
    failures = examination.failures
    return next((printable(one.reason) for one in (*failures.refused, *failures.broken) if one.where == where), "")


def _unseen(step: str, why: str) -> Check:
    return Check(step, f"not looked at: {why}", None)  # type: ignore[arg-type]
