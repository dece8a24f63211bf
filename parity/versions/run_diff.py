"""What changed between two runs: subject by subject, image by image.

    old results.json + new results.json --> RunDiff --> terminal / JSON / Markdown / exit code

Nothing gets better by not running: what passed and is skipped now, or gone, is worse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from parity.core.compare import way
from parity.core.gate import GateVerdict
from parity.core.results import FAILING_CASES, Case, CaseVerdict, Run, Subject, Verdict
from parity.core.schemas import counts_schema, written_schema

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = "parity-run-diff/1"

DiffVerdict = Literal["worse", "better", "changed", "same", "new", "gone"]
DIFF_VERDICTS: tuple[DiffVerdict, ...] = ("worse", "better", "changed", "same", "new", "gone")
_BADNESS: Mapping[Verdict, int] = {"pass": 0, "skipped": 1, "inconclusive": 2, "fail": 3, "error": 4}
# A gate that nobody asked for anew is worse where it passed.
_GATE_BADNESS: Mapping[GateVerdict | None, int] = {"pass": 0, None: 1, "inconclusive": 1, "fail": 2}
_CASE_BADNESS: Mapping[CaseVerdict, int] = {"match": 0, "tie": 0, "drift": 1, "flip": 2, "error": 3}


@dataclass(frozen=True)
class ImageChange:
    """Name an image whose verdict changed, or that only one of the runs has (None)."""

    image: str
    old: CaseVerdict | None
    new: CaseVerdict | None

    @property
    def worse(self) -> bool:
        """Tell whether it fails now and did not, or fails worse."""
        return self.new is not None and _CASE_BADNESS[self.new] > _CASE_BADNESS[self.old or "match"]


@dataclass(frozen=True)
class SubjectDiff:
    """Compare one subject before and after; None where a run does not have it.

    worse: whether it makes the new run worse. A `new` subject that fails does, a `gone` one that passed too.
    notes: what else changed, a line each. images: those that changed; of a run over many images, which keeps the
    worst only, none.
    """

    model: str
    way: str
    backend: str
    verdict: DiffVerdict
    worse: bool
    old_verdict: Verdict | None = None
    new_verdict: Verdict | None = None
    old_max_abs_diff: float | None = None
    new_max_abs_diff: float | None = None
    notes: tuple[str, ...] = ()
    images: tuple[ImageChange, ...] = ()


@dataclass(frozen=True)
class RunDiff:
    """Hold all that changed. environment: name -> (old, new); an empty string where a run has no such package."""

    subjects: tuple[SubjectDiff, ...]
    environment: Mapping[str, tuple[str, str]]
    stale: tuple[str, ...] = ()
    summary: Mapping[str, int] = field(default_factory=dict)
    schema: Literal["parity-run-diff/1"] = "parity-run-diff/1"

    @property
    def exit_code(self) -> int:
        """0 nothing got worse, 1 something did, 3 there is nothing that was judged in both runs."""
        if self.stale or any(s.worse for s in self.subjects):
            return 1
        # What is inconclusive, or never answered, was not judged: that it still is not says nothing.
        judged = ("pass", "fail")
        return 0 if any(s.old_verdict in judged and s.new_verdict in judged for s in self.subjects) else 3


def compare_runs(old: Run, new: Run) -> RunDiff:
    """Compare two runs; a subject is recognised by its model, its route (or file) and its backend."""
    before, after = _keyed(old), _keyed(new)
    subjects = tuple(_subject(key, before.get(key), after.get(key)) for key in dict.fromkeys([*after, *before]))
    stale = tuple(line for line in new.stale_known_issues if line not in old.stale_known_issues)
    counts: dict[str, int] = {verdict: sum(s.verdict == verdict for s in subjects) for verdict in DIFF_VERDICTS}
    return RunDiff(subjects, _environment(old, new), stale, counts)


def diff_to_json(diff: RunDiff) -> str:
    """Write what changed as JSON."""
    return _adapter().dump_json(diff, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a difference of runs (committed as parity/schemas/run-diff.schema.json)."""
    schema = written_schema(_adapter(), "coreml-parity difference of runs")
    schema["properties"]["summary"] = counts_schema("Summary", DIFF_VERDICTS)
    return schema


def _keyed(run: Run) -> dict[tuple[str, str, str, int], Subject]:
    """Key subjects; their order tells those apart that share all names."""
    seen: Counter[tuple[str, str, str]] = Counter()
    keyed = {}
    for s in run.subjects:
        name = (s.model, way(s), s.backend)
        keyed[(*name, seen[name])] = s
        seen[name] += 1
    return keyed


def _subject(key: tuple[str, str, str, int], old: Subject | None, new: Subject | None) -> SubjectDiff:
    names = key[:3]
    if old is None:
        assert new is not None
        worse = new.known_issue is None and new.verdict in ("fail", "error", "inconclusive")
        worse |= _gate(new) in ("fail", "inconclusive")
        said = (new.reason,) if new.reason else ()
        return SubjectDiff(*names, "new", worse, None, new.verdict, None, new.max_abs_diff, said)
    if new is None:
        return SubjectDiff(*names, "gone", old.verdict == "pass", old.verdict, None, old.max_abs_diff)
    images, notes = _images(old, new), tuple(_notes(old, new))
    worse = _is_worse(old, new, images)
    better = _BADNESS[new.verdict] < _BADNESS[old.verdict] and new.verdict == "pass"
    changed = old.verdict != new.verdict or images or notes
    verdict: DiffVerdict = "worse" if worse else "better" if better else "changed" if changed else "same"
    distances = (old.max_abs_diff, new.max_abs_diff)
    return SubjectDiff(*names, verdict, worse, old.verdict, new.verdict, *distances, notes, images)


def _is_worse(old: Subject, new: Subject, images: tuple[ImageChange, ...]) -> bool:
    if old.gate and _GATE_BADNESS[_gate(new)] > _GATE_BADNESS[_gate(old)]:
        return True
    if new.known_issue is not None and new.verdict != "pass":
        return old.verdict == "pass"
    if _BADNESS[new.verdict] > _BADNESS[old.verdict]:
        return True
    unexpected = new.verdict in ("fail", "error", "inconclusive") and old.known_issue is not None
    counted = old.counts and new.counts and _failing(new) > _failing(old)
    return unexpected or bool(counted) or any(image.worse for image in images)


def _gate(s: Subject) -> GateVerdict | None:
    return s.gate.verdict if s.gate else None


def _failing(s: Subject) -> int:
    return sum(count for verdict, count in s.counts.items() if verdict in FAILING_CASES)


def _images(old: Subject, new: Subject) -> tuple[ImageChange, ...]:
    """List the images that changed, where both hold all of theirs."""
    if old.counts or new.counts or not (old.cases and new.cases):
        return ()
    before, after = ({case.image: case for case in s.cases} for s in (old, new))
    changes = (ImageChange(name, _verdict(before, name), _verdict(after, name)) for name in {**before, **after})
    return tuple(change for change in changes if change.old != change.new)


def _verdict(cases: Mapping[str, Case], name: str) -> CaseVerdict | None:
    return cases[name].verdict if name in cases else None


def _notes(old: Subject, new: Subject) -> list[str]:
    notes = []
    if new.verdict != "pass" and new.reason != old.reason:
        notes.append(new.reason)
    pairs: dict[str, tuple[str, str]] = {
        "tolerance": (_number(old.tolerance), _number(new.tolerance)),
        "guilty hop": (old.guilty_hop, new.guilty_hop),
        "first divergence": (_diverging(old), _diverging(new)),
        "images": (str(old.images), str(new.images)),
        "precision": (old.precision, new.precision),
        "known issue": (_known(old), _known(new)),
        "gate on accuracy": (_gate(old) or "", _gate(new) or ""),
    }
    # What did not run has none of these, which its verdict says already.
    if "skipped" not in (old.verdict, new.verdict):
        notes += [f"{name}: {was or 'none'} -> {is_ or 'none'}" for name, (was, is_) in pairs.items() if was != is_]
    before, after = ({d.fault: d for d in s.diagnoses} for s in (old, new))
    notes += [f"new cause: {fault}: {after[fault].message}" for fault in after if fault not in before]
    notes += [f"cause gone: {fault}" for fault in before if fault not in after]
    return notes


def _diverging(s: Subject) -> str:
    return s.first_divergence.operation if s.first_divergence else ""


def _known(s: Subject) -> str:
    return s.known_issue.reason if s.known_issue else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _environment(old: Run, new: Run) -> dict[str, tuple[str, str]]:
    sides = [{"python": e.python, "platform": e.platform, **e.packages} for e in (old.environment, new.environment)]
    both = {name: (sides[0].get(name, ""), sides[1].get(name, "")) for name in {**sides[0], **sides[1]}}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


@cache
def _adapter() -> TypeAdapter[RunDiff]:
    from pydantic import TypeAdapter

    return TypeAdapter(RunDiff)
