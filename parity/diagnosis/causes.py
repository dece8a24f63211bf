"""Put causes into a subject that fails: once per artefact, and again only where another runtime fails otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from parity.backends.limited import ended
from parity.core.noise import FP16_FLOOR, FP32
from parity.core.origin import Passage
from parity.core.results import Comparison, Prediction, Subject
from parity.core.tolerance import Tolerance
from parity.diagnosis.candidate import Candidate, Runtime
from parity.diagnosis.checks import check_comparison
from parity.diagnosis.examination import Examination
from parity.diagnosis.failures import Broken
from parity.diagnosis.file import File
from parity.diagnosis.outcome import Explanation
from parity.diagnosis.repair import holds
from parity.diagnosis.search import explain
from parity.diagnosis.second_look import judging_again
from parity.diagnosis.several_outputs import NONE_FAILS, failing_views, merged

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends.reference import Reference

# What the search for causes may take, for one artefact.
SECONDS = 60.0
SEARCH_BROKE = "the search for causes broke, which is a bug of coreml-parity; `parity explain --verbose` says where"


@dataclass
class Explainer:
    """Explain the failing subjects of one artefact; wanted: whether anybody wants to know.

    allowed: how images beyond the tolerance are looked at again, where some of many images are explained.
    broken: parts of the searches that broke.
    thorough: every hop is run, and it is said how the search knows; of what holds it is said what looks like a
    fault and is none.
    """

    wanted: bool = True
    thorough: bool = False
    seconds: float = SECONDS
    allowed: Tolerance | None = None
    broken: list[Broken] = field(default_factory=list)
    _known: list[tuple[Subject, Explanation]] = field(default_factory=list)

    def __call__(
        self,
        subject: Subject,
        reference: Reference,
        artifact: Artifact,
        prediction: Prediction | None,
        batch: int = 1,
    ) -> Subject:
        """Return the subject with its diagnoses: causes of a failure, and what looks like one and is none."""
        if not self.wanted or not reference.images.names:
            return subject
        if len(reference.prediction.measured) > 1:
            return self._through_outputs(subject, reference, artifact, prediction, batch)
        # Inconclusive without an answer: which output holds it is not known.
        unread = subject.verdict == "inconclusive" and prediction is None
        if not unread and subject.verdict not in ("fail", "error", *(("pass",) if self.thorough else ())):
            return subject
        for known, earlier in self._known if subject.verdict != "pass" else ():
            if _alike(known, subject):
                return explained(self._with_comparison(subject, reference, prediction), earlier)
        if subject.compressed_alike:
            reference = reference.twins[artifact.path] or reference
        if ended(subject.backend, artifact):  # it would be again, by every run that the search makes
            return subject
        examination = examine(subject, reference, artifact, prediction, batch, self.allowed)
        explanation = examination.failures.attempt(
            "the search for causes", partial(_search, examination, self.seconds, self.thorough), lambda error: None
        )
        self.broken += examination.failures.broken
        if explanation is None:
            return replace(subject, unexplained=SEARCH_BROKE)
        self._known.append((subject, explanation))
        return explained(self._with_comparison(subject, reference, prediction), explanation)

    def _through_outputs(
        self,
        subject: Subject,
        reference: Reference,
        artifact: Artifact,
        prediction: Prediction | None,
        batch: int,
    ) -> Subject:
        """Explain each output that fails by itself, in its share of the time."""
        if subject.verdict not in ("fail", "error"):
            return subject
        views = failing_views(subject, reference, artifact, prediction)
        if not views:
            return replace(subject, unexplained=NONE_FAILS)
        each = replace(self, seconds=self.seconds / len(views))
        one_by_one = [each(view.subject, view.reference, view.artifact, view.prediction, batch) for view in views]
        return merged(subject, views, one_by_one)

    def _with_comparison(self, subject: Subject, reference: Reference, prediction: Prediction | None) -> Subject:
        """Say what was compared, where it is asked how the search knows."""
        if not self.thorough or subject.verdict == "pass":
            return subject
        return replace(subject, checks=(check_comparison(subject, reference, prediction),))


def _search(examination: Examination, seconds: float, thorough: bool) -> Explanation | None:
    return explain(examination, seconds, thorough)


def examine(
    subject: Subject,
    reference: Reference,
    artifact: Artifact,
    prediction: Prediction | None,
    batch: int = 1,
    allowed: Tolerance | None = None,
) -> Examination:
    """Make the examination of a subject; one without numbers is judged by the strictest tolerance of its kind.

    allowed: as judging_again takes it.
    """
    strictest = FP32[artifact.format][0] if artifact.precision == "fp32" else FP16_FLOOR
    comparison = Comparison(
        "fail" if subject.verdict == "error" or prediction is None else subject.verdict,
        subject.reason,
        subject.tolerance or strictest,
        subject.required_tolerance,
        subject.top1_agreement,
        subject.max_abs_diff,
        subject.cases,
    )
    runtime = Runtime(artifact, subject.backend, batch)
    again = judging_again(subject, reference, artifact, allowed)
    if allowed and again and holds(again(reference, comparison)):
        # Each image is excused, and it fails by their number, which these are too few to tell.
        again = None
    candidate = Candidate(reference, File(artifact), runtime, prediction, comparison, judge_again=again)
    return Examination(candidate, _files(reference), Passage.parse(subject.guilty_hop))


def explained(subject: Subject, explanation: Explanation) -> Subject:
    """Put an explanation into a subject."""
    return replace(
        subject,
        diagnoses=explanation.diagnoses,
        first_divergence=explanation.first_divergence,
        hops=explanation.hops,
        checks=(*subject.checks, *explanation.checks),
        attempts=explanation.attempts,
        unexplained=explanation.cut_short or explanation.unsaid,
    )


def _files(reference: Reference) -> tuple[Path, ...]:
    files: Sequence[Path] = reference.images.files
    return tuple(files) if len(files) == len(reference.images.names) else ()


def _alike(one: Subject, other: Subject) -> bool:
    """Say whether two runtimes of one file fail alike: the file is then at fault, not they."""
    if len(one.cases) != len(other.cases) or one.verdict != other.verdict or one.outputs != other.outputs:
        return False
    allowed = max(one.tolerance or 0.0, other.tolerance or 0.0)
    pairs = [(a.max_abs_diff, b.max_abs_diff) for a, b in zip(one.cases, other.cases, strict=True)]
    return bool(pairs) and all(
        (a is None) == (b is None) and abs((a or 0.0) - (b or 0.0)) <= 2 * allowed for a, b in pairs
    )
