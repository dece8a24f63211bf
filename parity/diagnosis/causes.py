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
from parity.diagnosis.candidate import Candidate, Runtime
from parity.diagnosis.examination import Examination
from parity.diagnosis.failures import Broken
from parity.diagnosis.file import File
from parity.diagnosis.outcome import Explanation
from parity.diagnosis.search import explain

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends.reference import Reference

# What the search for causes may take, for one artefact.
SECONDS = 60.0
SEVERAL_OUTPUTS = "causes are looked for in models of one output, and this one has {}"
SEARCH_BROKE = "the search for causes broke, which is a bug of coreml-parity; `parity explain --verbose` says where"


@dataclass
class Explainer:
    """Explain the failing subjects of one artefact; wanted: whether anybody wants to know.

    broken: parts of the searches that broke.
    thorough: every hop is run, and of what holds it is said what looks like a fault and is none.
    """

    wanted: bool = True
    thorough: bool = False
    seconds: float = SECONDS
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
        if (count := len(reference.prediction.measured)) > 1:
            why = SEVERAL_OUTPUTS.format(count)
            return replace(subject, unexplained=why) if subject.verdict in ("fail", "error") else subject
        # Inconclusive without an answer: which output holds it is not known.
        unread = subject.verdict == "inconclusive" and prediction is None
        if not unread and subject.verdict not in ("fail", "error", *(("pass",) if self.thorough else ())):
            return subject
        for known, earlier in self._known if subject.verdict != "pass" else ():
            if _alike(known, subject):
                return explained(subject, earlier)
        if subject.compressed_alike:
            reference = reference.twins[artifact.path] or reference
        if ended(subject.backend, artifact):  # it would be again, by every run that the search makes
            return subject
        examination = examine(subject, reference, artifact, prediction, batch)
        explanation = examination.failures.attempt(
            "the search for causes", partial(_search, examination, self.seconds, self.thorough), lambda error: None
        )
        self.broken += examination.failures.broken
        if explanation is None:
            return replace(subject, unexplained=SEARCH_BROKE)
        self._known.append((subject, explanation))
        return explained(subject, explanation)


def _search(examination: Examination, seconds: float, thorough: bool) -> Explanation | None:
    return explain(examination, seconds, thorough)


def examine(
    subject: Subject, reference: Reference, artifact: Artifact, prediction: Prediction | None, batch: int = 1
) -> Examination:
    """Make the examination of a subject; one without numbers is judged by the strictest tolerance of its kind."""
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
    candidate = Candidate(reference, File(artifact), runtime, prediction, comparison)
    return Examination(candidate, _files(reference), Passage.parse(subject.guilty_hop))


def explained(subject: Subject, explanation: Explanation) -> Subject:
    """Put an explanation into a subject."""
    return replace(
        subject,
        diagnoses=explanation.diagnoses,
        first_divergence=explanation.first_divergence,
        hops=explanation.hops,
        unexplained=explanation.cut_short or explanation.unsaid,
    )


def _files(reference: Reference) -> tuple[Path, ...]:
    files: Sequence[Path] = reference.images.files
    return tuple(files) if len(files) == len(reference.images.names) else ()


def _alike(one: Subject, other: Subject) -> bool:
    """Say whether two runtimes of one file fail alike: the file is then at fault, not they."""
    if len(one.cases) != len(other.cases) or one.verdict != other.verdict:
        return False
    allowed = max(one.tolerance or 0.0, other.tolerance or 0.0)
    pairs = [(a.max_abs_diff, b.max_abs_diff) for a, b in zip(one.cases, other.cases, strict=True)]
    return bool(pairs) and all(
        (a is None) == (b is None) and abs((a or 0.0) - (b or 0.0)) <= 2 * allowed for a, b in pairs
    )
