"""The results of a run, as plain frozen data: made by the pipeline, read by every report, written as results.json.

The schema is parity-run/2: parity-run/1, which is read as well, with two fields more. `outputs` of a case has what
the metric of each output says of it, and `outputs` of a subject names what was measured. For a classifier both are
empty: its one output is the case itself, with every field where parity-run/1 has it. For other tasks `max_abs_diff`
is the largest distance by the metric, and `top1_agreement` the share of images with the same answer.

What a comparison says of its images is defined in parity.core.comparison, and is imported from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from conversion.files.regular_files import MISSING, why_no_file
from parity.core.accuracy import Accuracy
from parity.core.comparison import FAILING_CASES as FAILING_CASES
from parity.core.comparison import NO_ANSWER as NO_ANSWER
from parity.core.comparison import VERDICTS as VERDICTS
from parity.core.comparison import Answer as Answer
from parity.core.comparison import Case as Case
from parity.core.comparison import CaseVerdict as CaseVerdict
from parity.core.comparison import ClassPair as ClassPair
from parity.core.comparison import Comparison as Comparison
from parity.core.comparison import MeasuredOutput as MeasuredOutput
from parity.core.comparison import OutputCase as OutputCase
from parity.core.comparison import Proportion as Proportion
from parity.core.comparison import Verdict as Verdict
from parity.core.distribution import Distribution
from parity.core.envelope import Envelope
from parity.core.errors import ParityError
from parity.core.evidence import Attempt, Check
from parity.core.exit_code import exit_code
from parity.core.file_kinds import results_beside, schema_of, tell_kind
from parity.core.gate import Gate, GateResult
from parity.core.pairs_of_builds import Migration
from parity.core.prediction import Prediction as Prediction
from parity.core.schemas import counts_schema, written_schema
from parity.core.unfinished import refuse_unfinished

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA: Literal["parity-run/2"] = "parity-run/2"
# A number of things, which float64 holds too.
Count = Annotated[int, Interval(ge=0, le=2**53)]
# What pydantic reads a class by, and all that is inside: no file holds NaN, or what is too large for a number.
FINITE: Any = {"allow_inf_nan": False}


@dataclass(frozen=True)
class Diagnosis:
    """Name a cause; confirmed where the two were run again without it and agreed, within the same tolerance.

    fix: what to write instead, as a line of code, where there is one, in the terms of the tool that wrote the file.
    evidence: what was run again and agreed, in words; empty where the cause is not confirmed.
    """

    fault: str
    message: str
    confirmed: bool = False
    fix: str = ""
    evidence: str = ""


@dataclass(frozen=True)
class Divergence:
    """Name the first operation whose inputs agree and whose output does not.

    index: its place among the `of` operations of the file, counted from 0; text that people read counts from 1.
    module: the path of the PyTorch module that it stands for. told: where it is and what is different, in a line.
    """

    operation: str
    type: str
    index: int
    of: int
    module: str = ""
    told: str = ""


@dataclass(frozen=True)
class KnownIssue:
    """Say why a failure is expected, from the suite file."""

    reason: str
    link: str


@dataclass(frozen=True)
class Subject:
    """Report one artefact on one backend against PyTorch.

    tolerance_reason: where the tolerance comes from.
    guilty_hop: the first hop of the route that does not agree, where one failed: `onnx -> neuralnetwork`, say.
    diagnoses: causes that were confirmed; where there is none, what else speaks for itself.
    hops: every hop of the route that was looked at, a line each, where it fails.
    envelope: what hardware may answer, where `parity run --envelope` asked for it.
    checks, attempts: how `parity explain` knows: what it measured, step by step, and what it undid.
    explained_on: how many images causes were looked for on, where `cases` holds the worst only; 0: nobody looked.
    unexplained: why none could be looked for all the same.
    recorded_by: who gave the answers and where, if they are recorded ones.
    known_issue: set where the suite file expects this failure; it is then no reason to fail the run.
    counts: how many images got which verdict, where `cases` holds the worst of them only; else empty.
    distribution: of |dp| over all images with a finite answer, where `cases` holds the worst only.
    accuracy: how often each of the two is right, where it is known what the images show.
    gate: whether it keeps its accuracy, where the run asks; None also of a part of the images, and of what did not
        run.
    remarks: what somebody who reads the verdict should know of how it came about, a line each.
    outputs: what was measured; empty for a classifier.
    compressed_alike: whether the cases compare with PyTorch's model with the file's own compressed weights.
    measured_on: how many of the images the tolerance was measured on, where images beyond it are looked at again;
        else 0. excused: how many images are beyond it, and within what is allowed on that very image.
    """

    model: str
    route: str
    artifact: str
    backend: str
    precision: str
    verdict: Verdict
    reason: str = ""
    images: int = 0
    top1_agreement: Proportion | None = None
    max_abs_diff: float | None = None
    tolerance: float | None = None
    tolerance_reason: str = ""
    required_tolerance: float | None = None
    guilty_hop: str = ""
    recorded_by: str = ""
    diagnoses: tuple[Diagnosis, ...] = ()
    hops: tuple[str, ...] = ()
    first_divergence: Divergence | None = None
    explained_on: int = 0
    unexplained: str = ""
    known_issue: KnownIssue | None = None
    cases: tuple[Case, ...] = ()
    counts: Mapping[CaseVerdict, int] = field(default_factory=dict)
    distribution: Distribution | None = None
    accuracy: Accuracy | None = None
    remarks: tuple[str, ...] = ()
    outputs: tuple[MeasuredOutput, ...] = ()
    compressed_alike: bool = False
    measured_on: Count = 0
    excused: Count = 0
    checks: tuple[Check, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    envelope: Envelope | None = None
    gate: GateResult | None = None


@dataclass(frozen=True)
class UnreadableImage:
    """Name an image that was skipped, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Unreadable:
    """Count the images that could not be read.

    share: of all images, 0..1; above `allowed` the run fails. images: the first of them.
    """

    count: int
    share: float
    allowed: float
    images: tuple[UnreadableImage, ...] = ()


@dataclass(frozen=True)
class Part:
    """Say which part of the images a run is over: the `number`th, from one, of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Environment:
    """Say where a run took place."""

    python: str
    platform: str
    packages: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """Hold all results of a run.

    stale_known_issues: entries of the suite file that match nothing or no longer fail, one line each; they fail
        the run.
    thumbnails: the pixels that the model saw of the worst images, small, as data: URIs. The key is the image's
        name, or `model: name` where another model of the run saw other pixels under that name.
    unreadable: the images that were skipped, where a run over a directory of them skips any.
    cases_file: the name of the file beside this one that has a line for every image, where `cases` has the worst.
    shard: which part of the images this is; None where it is all of them.
    gate: how much accuracy may be lost, where somebody asks.
    migrations: the builds of a model for Core ML and for Core AI, two by two, where a run has both.
    """

    environment: Environment
    subjects: tuple[Subject, ...]
    stale_known_issues: tuple[str, ...] = ()
    summary: Mapping[str, int] = field(default_factory=dict)
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    unreadable: Unreadable | None = None
    cases_file: str = ""
    shard: Part | None = None
    gate: Gate | None = None
    migrations: tuple[Migration, ...] = ()
    schema: Literal["parity-run/2", "parity-run/1"] = "parity-run/2"
    __pydantic_config__ = FINITE

    @property
    def exit_code(self) -> int:
        """0 what was asked holds, 1 it does not, 3 nothing passed or nothing can be concluded."""
        return exit_code(self)


def summarise(subjects: tuple[Subject, ...]) -> dict[str, int]:
    """Count the subjects of each verdict."""
    return {verdict: sum(s.verdict == verdict for s in subjects) for verdict in VERDICTS}


def worst_first(cases: Iterable[Case]) -> list[Case]:
    """Sort cases: those that fail come first, then the larger difference; no finite answer is the worst of all."""
    return sorted(cases, key=lambda case: (case.verdict not in FAILING_CASES, -_distance(case), case.image))


def _distance(case: Case) -> float:
    return float("inf") if case.max_abs_diff is None else case.max_abs_diff


def to_json(run: Run) -> str:
    """Write a run as results.json has it."""
    return _adapter().dump_json(run, indent=2).decode() + "\n"


def from_json(text: str) -> Run:
    """Read results.json, older ones too; anything else is a ParityError that names what is wrong first."""
    from pydantic import ValidationError

    try:
        # What an older file lacks has a default that says so.
        return replace(_adapter().validate_json(text), schema=SCHEMA)
    except ValidationError as error:
        # A file of another schema is wrong in many places; that it is one says it all.
        first = min(error.errors(), key=lambda problem: problem["loc"] != ("schema",))
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ParityError(f"not a results.json of schema {SCHEMA}: {where}: {first['msg']}") from error


def read_run(path: Path) -> Run:
    """Read a results.json file."""
    refuse_unfinished(path)
    if (why := why_no_file(path)) and not tell_kind(path):
        missing = f"no such file; `parity run --json {path}` writes one"
        raise ParityError(f"{path}: {missing if why == MISSING else why}")
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (ParityError, OSError, UnicodeDecodeError) as error:
        if kind := tell_kind(path, "parity-run"):
            beside = results_beside(path)
            give = beside if schema_of(path) == "parity-cases" and beside.is_file() else "results.json of a run"
            raise ParityError(f"{path}: {kind}; give {give}") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise ParityError(f"{path}: {reason}") from error


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of results.json (committed as parity/schemas/results.schema.json)."""
    schema = written_schema(_adapter(), "coreml-parity results")
    schema["properties"]["summary"] = counts_schema("Summary", VERDICTS)
    # An older schema is read, but not written.
    schema["properties"]["schema"] = {"const": SCHEMA, "default": SCHEMA, "title": "Schema", "type": "string"}
    return schema


@cache
def _adapter() -> TypeAdapter[Run]:
    from pydantic import TypeAdapter

    return TypeAdapter(Run)
