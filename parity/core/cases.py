"""Cases: how far apart reference and candidate are on each image, judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

from conversion.task import PROBABILITIES, OutputSpec
from parity.core.metric import Measurement
from parity.core.noise import TIE_TOLERANCE
from parity.core.results import FAILING_CASES, NO_ANSWER, Case, CaseVerdict, OutputCase

# The verdicts of an image, the worst first: of several outputs the worst one decides.
WORST_FIRST: tuple[CaseVerdict, ...] = ("error", "flip", "drift", "tie", "match")


def judge_case(difference: float, same_answer: bool, margin: float, allowed: float) -> CaseVerdict:
    """Judge one image with finite answers.

    difference: the distance of the two answers. margin: by how much the reference prefers its own answer to the
    candidate's.
    """
    small = min(allowed, TIE_TOLERANCE)
    # Answers this close leave the reference's two labels no margin above twice as much.
    if not (same_answer or difference <= small or margin <= 2 * small):
        return "flip"
    # A near tie excuses the label, but not an answer that is apart.
    if difference > allowed:
        return "drift"
    return "match" if same_answer else "tie"


def cases_of(
    images: Sequence[str],
    measured: Sequence[tuple[OutputSpec, Iterable[Measurement]]],
    allowed: float,
    truths: Sequence[str | None] | None = None,
) -> Iterator[Case]:
    """Judge what was measured of each image. measured: of each output, in the order of the images.

    truths: what each image shows, where that is known.
    """
    shown = truths if truths is not None else [None] * len(images)
    specs = [spec for spec, _ in measured]
    if [spec.kind for spec in specs] == [PROBABILITIES]:
        for image, truth, one in zip(images, shown, measured[0][1], strict=True):
            verdict = _judge(one.distance, one.same_answer, one.margin, one.reason, allowed)
            distance, reason = one.distance, one.reason
            yield Case(image, verdict, max_abs_diff=distance, reason=reason, truth=truth, **one.fields)
        return
    rows = zip(*(measurements for _, measurements in measured), strict=True)
    for image, truth, row in zip(images, shown, rows, strict=True):
        outputs = tuple(_entry(spec, one, allowed) for spec, one in zip(specs, row, strict=True))
        fields: dict[str, Any] = {"reference": NO_ANSWER, "candidate": NO_ANSWER}
        fields |= {name: value for one in row for name, value in one.fields.items()}
        yield _with_outputs(Case(image, "match", truth=truth, **fields), outputs)


def judge_case_again(case: Case, allowed: float) -> Case:
    """Judge an image again by its numbers, whatever it was said to be; its own allowance holds where it is more."""
    allowed = max(allowed, case.own_allowed or 0.0)
    if case.outputs:
        outputs = tuple(
            replace(one, verdict=_judge(one.distance, one.same_answer, one.margin, one.reason, allowed))
            for one in case.outputs
        )
        return case if outputs == case.outputs else _with_outputs(case, outputs)
    same = case.reference.label == case.candidate.label
    verdict = _judge(case.max_abs_diff, same, None if same else case.margin, case.reason, allowed)
    return case if verdict == case.verdict else replace(case, verdict=verdict)


def is_incurable(case: Case) -> bool:
    """Say whether no tolerance helps: no finite answer, one that denies itself, or one far from a tie."""
    return judge_case_again(case, inf).verdict in FAILING_CASES


def _judge(
    distance: float | None, same_answer: bool, margin: float | None, reason: str, allowed: float
) -> CaseVerdict:
    if distance is None:
        return "error"
    if reason:  # the model names a class against its own probabilities
        return "flip"
    return judge_case(distance, same_answer, inf if margin is None else margin, allowed)


def _entry(spec: OutputSpec, one: Measurement, allowed: float) -> OutputCase:
    finite = one.distance is not None and isfinite(one.distance)
    distance = one.distance if finite else None
    reason = one.reason or ("" if finite else "the two have no finite distance")
    verdict = _judge(distance, one.same_answer, one.margin, reason, allowed)
    return OutputCase(spec.name, verdict, distance, one.same_answer, one.margin, reason, dict(one.detail))


def _with_outputs(case: Case, outputs: tuple[OutputCase, ...]) -> Case:
    """Let the worst output say what the image is."""
    distances = [one.distance for one in outputs]
    finite = [distance for distance in distances if distance is not None]
    return replace(
        case,
        verdict=min((one.verdict for one in outputs), key=WORST_FIRST.index),
        max_abs_diff=max(finite) if len(finite) == len(distances) else None,
        reason="; ".join(f"`{one.output}`: {one.reason}" for one in outputs if one.reason),
        outputs=outputs,
    )
