"""What agrees beside what fails: the same file on another unit or system, or another file of the same model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from parity.backends.limited import ended
from parity.core.environment import operating_system
from parity.core.faults import known
from parity.core.origin import RecordedBy
from parity.core.results import Diagnosis, Subject
from parity.diagnosis.fixes import compute_units

if TYPE_CHECKING:
    from conversion import Artifact

# The unit that computes in the precision that the file declares; what coreml-native takes by default.
_EXACT = "CPU_ONLY"
# How many operations that differ are listed.
_LISTED = 6


@dataclass(frozen=True)
class Sibling:
    """Hold one subject of a model and the file that it is about; None where there is none.

    same_pixels: whether it is known to have got the same pixels as the others.
    """

    subject: Subject
    artifact: Artifact | None
    same_pixels: bool = True

    @cached_property
    def recorded_by(self) -> RecordedBy | None:
        """Who gave the answers, where they are recorded ones."""
        return RecordedBy.parse(self.subject.recorded_by)

    @property
    def unit(self) -> str:
        """The compute unit; empty where that means nothing or is not known."""
        if self.subject.recorded_by:
            return self.recorded_by.compute_unit if self.recorded_by else ""
        return _EXACT if self.subject.backend == "coreml-native" else ""

    @property
    def system(self) -> str:
        """The system that gave the answers, where it is Apple's runtime that did; else empty."""
        if self.subject.backend == "coreml-native":
            return operating_system()
        return self.recorded_by.system if self.recorded_by and self.recorded_by.backend == "coreml-native" else ""


def with_siblings(siblings: Sequence[Sibling]) -> tuple[Subject, ...]:
    """Add to every subject that fails what its siblings say of it.

    Where the same file agrees elsewhere the file is right, and that is the cause. That another file agrees is but
    a hint, and only worth a line where no cause was confirmed.
    """
    return tuple(_with_hint(one, [other for other in siblings if other is not one]) for one in siblings)


def _with_hint(one: Sibling, others: Sequence[Sibling]) -> Subject:
    subject = one.subject
    if subject.verdict not in ("fail", "error") or one.artifact is None or ended(subject.backend, one.artifact):
        return subject
    agreeing = [other for other in others if other.subject.verdict == "pass" and other.artifact is not None]
    same = [o for o in agreeing if o.artifact and o.artifact.path == one.artifact.path and _as_strict(o, one)]
    elsewhere = next(_elsewhere(one, [other for other in same if other.same_pixels and one.same_pixels]), None)
    if elsewhere and elsewhere.confirmed:
        return replace(subject, diagnoses=(elsewhere,))
    if any(diagnosis.confirmed for diagnosis in subject.diagnoses) or (same and not elsewhere):
        return subject
    hint = elsewhere or next(_other_files(one, agreeing), None)
    return replace(subject, diagnoses=(*subject.diagnoses, hint)) if hint else subject


def _as_strict(other: Sibling, one: Sibling) -> bool:
    """Say whether what agrees does so by no looser tolerance than the one that fails had."""
    return one.subject.tolerance is None or (other.subject.tolerance or 0.0) <= one.subject.tolerance


def _elsewhere(one: Sibling, same: Sequence[Sibling]) -> Iterator[Diagnosis]:
    """Compare answers of one file: another unit of the same machine, another system, or the evaluator."""
    apart = _apart(one.subject)
    if one.unit and one.unit != _EXACT:
        for other in (other for other in same if other.unit == _EXACT):
            yield Diagnosis(
                known("p-compute-unit"),
                f"{_EXACT} matches ({_apart(other.subject)}) but {one.unit} does not ({apart}): Core ML hardware "
                "path, not the conversion; file it with Apple.",
                confirmed=True,
                fix=compute_units(one.artifact.format if one.artifact else "mlprogram", _EXACT),
                evidence=f"the same file on {_EXACT} agrees",
            )
        for other in (other for other in same if other.subject.backend == "coreml-evaluator"):
            yield Diagnosis(
                known("p-compute-unit"),
                f"The evaluator matches ({_apart(other.subject)}) but {one.unit} does not ({apart}): the file is "
                f"right; record {_EXACT} too (parity record --compute-unit {_EXACT}), which tells the hardware "
                "path from Core ML itself.",
            )
    for other in same:
        if one.system and other.system and one.system != other.system and one.unit == other.unit:
            yield Diagnosis(
                known("v-os-update"),
                f"Same package, different OS build: it matches on {other.system} ({_apart(other.subject)}) and not "
                f"on {one.system} ({apart}).",
                # Where the units are not known they may be what differs.
                confirmed=bool(one.unit),
                evidence=f"the same file on {other.system} agrees" if one.unit else "",
            )


def _other_files(one: Sibling, agreeing: Sequence[Sibling]) -> Iterator[Diagnosis]:
    from conversion.errors import ConversionError
    from parity.core.errors import ParityError
    from parity.formats import find_format
    from parity.formats.facts import ArtifactFacts, changed_operations, facts

    assert one.artifact is not None
    try:
        mine = facts(one.artifact)
        theirs: list[tuple[Artifact, ArtifactFacts]] = [
            (o.artifact, facts(o.artifact)) for o in agreeing if o.artifact
        ]
    except (ConversionError, ParityError):
        return
    own = find_format(mine.format)
    # The nearest first: of the same format, then of another one of the same runtime.
    for artifact, other in sorted(theirs, key=lambda pair: find_format(pair[1].format) is not own):
        kind = find_format(other.format)
        listed = _differing(changed_operations(other, mine))
        agrees, fails = _name(artifact, other, mine), _name(one.artifact, mine, other)
        if kind.RUNTIME != own.RUNTIME:
            continue
        if kind is not own:
            fault, cause = "i-nn-vs-mlprogram", "the two formats"
        elif artifact.route != one.artifact.route and own.EXPORTER_FAULT:
            fault, cause = own.EXPORTER_FAULT, "the two exporters"
        elif mine.version != other.version:
            fault, cause = own.VERSION_FAULT, "the two versions"
        else:
            continue
        yield Diagnosis(
            known(fault),
            f"{agrees} agrees with PyTorch, {fails} does not: look at what {cause} differ in{listed}.",
        )


def _name(artifact: Artifact, own: object, other: object) -> str:
    """Name a file by its route, and by its version where that is what differs."""
    name = artifact.path.name if artifact.route == "-" else f"the {artifact.route} file"
    version, against = getattr(own, "version", ""), getattr(other, "version", "")
    same_format = getattr(own, "format", "") == getattr(other, "format", "")
    return f"{name} ({version})" if same_format and version != against else name


def _differing(changes: Sequence[str]) -> str:
    if not changes:
        return ""
    more = f" and {len(changes) - _LISTED} more" if len(changes) > _LISTED else ""
    return f" (operations: {', '.join(changes[:_LISTED])}{more})"


def _apart(subject: Subject) -> str:
    return "no finite answer" if subject.max_abs_diff is None else f"{subject.max_abs_diff:.2g}"
