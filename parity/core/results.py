"""What a run found, as plain frozen data: made by the pipeline, read by every report, written as results.json.

The schema is parity-run/2: parity-run/1, which is read as well, with two fields more. `outputs` of a case has what
the metric of each output says of it, and `outputs` of a subject names what was measured. For a classifier both are
empty: its one output is the case itself, with every field where parity-run/1 has it. For other tasks `max_abs_diff`
is the largest distance by the metric, and `top1_agreement` the share of images with the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Interval

from conversion.files.regular_files import MISSING, why_no_file
from conversion.task import CLASS_PROBABILITIES, PROBABILITIES, OutputSpec
from parity.core.accuracy import Accuracy
from parity.core.distribution import Distribution
from parity.core.errors import ParityError
from parity.core.file_kinds import results_beside, schema_of, tell_kind
from parity.core.schemas import counts_schema, written_schema
from parity.core.unfinished import refuse_unfinished

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA: Literal["parity-run/2"] = "parity-run/2"

CaseVerdict = Literal["match", "tie", "drift", "flip", "error"]
Verdict = Literal["pass", "fail", "error", "inconclusive", "skipped"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "error", "inconclusive", "skipped")
FAILING_CASES: frozenset[CaseVerdict] = frozenset({"drift", "flip", "error"})
# A share of all, 0..1.
Proportion = Annotated[float, Interval(ge=0, le=1)]
# A number of things, which float64 holds too.
Count = Annotated[int, Interval(ge=0, le=2**53)]
# What pydantic reads a class by, and all that is inside: no file holds NaN, or what is too large for a number.
FINITE: Any = {"allow_inf_nan": False}


@dataclass(frozen=True)
class Prediction:
    """Hold a model's answers to a list of images.

    probabilities: [images, classes], of a classifier; it is the output of that name.
    labels: class names in the order of the columns; None where the format has none, then columns count.
    top1: the name that the model itself gave each image (Core ML's classLabel); None: the largest column.
    source: who answered and where, if it was not this process.
    same_pixels: whether answers from elsewhere are known to be to the very pixels that are asked for.
    answer_shape: of the array that the file gives for one batch; empty for a dictionary, or where it is not known.
    outputs: name -> [images, ...], every output that is measured.
    specs: what a reference's outputs are; empty for a classifier, whose `labels` say it.
    """

    probabilities: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    labels: tuple[str, ...] | None = None
    top1: tuple[str, ...] | None = None
    source: str = ""
    same_pixels: bool = False
    answer_shape: tuple[int, ...] = ()
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    specs: tuple[OutputSpec, ...] = ()

    def __post_init__(self) -> None:
        """Let a classifier's probabilities be one of the outputs, whichever of the two was given."""
        if not self.outputs or (CLASS_PROBABILITIES in self.outputs and self.probabilities.size):
            object.__setattr__(self, "outputs", {**self.outputs, CLASS_PROBABILITIES: self.probabilities})
        elif CLASS_PROBABILITIES in self.outputs:
            object.__setattr__(self, "probabilities", self.outputs[CLASS_PROBABILITIES])

    @property
    def measured(self) -> tuple[OutputSpec, ...]:
        """Return what a reference's outputs are; one that does not say it is a ParityError."""
        if not self.specs and self.labels is None:
            raise ParityError("the reference has no labels; a Classifier always gives them")
        return self.specs or (OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, self.labels or ()),)

    def answering(self, outputs: Mapping[str, np.ndarray]) -> Prediction:
        """Return the same with other numbers."""
        return replace(self, outputs=outputs, probabilities=outputs.get(CLASS_PROBABILITIES, self.probabilities))

    def of(self, rows: Any) -> Prediction:
        """Return the answers to some of the images alone. rows: what indexes an array of them."""
        chosen = self.answering({name: answers[rows] for name, answers in self.outputs.items()})
        return replace(chosen, top1=self.top1 and tuple(np.array(self.top1, dtype=object)[rows]))


@dataclass(frozen=True)
class Answer:
    """Name a top-1 label with its probability; the probability is None where it is not finite."""

    label: str
    probability: float | None


@dataclass(frozen=True)
class ClassPair:
    """Hold what both say of one class; None where the number is not finite."""

    label: str
    reference: float | None
    candidate: float | None


NO_ANSWER = Answer("-", None)


@dataclass(frozen=True)
class OutputCase:
    """Compare one output of one image; the fields are those of parity.core.metric.Measurement."""

    output: str
    verdict: CaseVerdict
    distance: float | None
    same_answer: bool = True
    margin: float | None = None
    reason: str = ""
    detail: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredOutput:
    """Name an output that was measured; distance: what its metric calls the distance."""

    name: str
    kind: str
    distance: str


@dataclass(frozen=True)
class Case:
    """Compare one image: what the reference and the candidate answered, and how far apart they are.

    max_abs_diff: the distance between the two, the largest of all outputs; of class probabilities the largest |dp|.
    outputs: an entry for each output; empty for a classifier, whose one output is the case itself.
    All between are of class probabilities.

    kl: Kullback-Leibler divergence from reference to candidate, in nats.
    worst_label: the class with the largest difference, and its two probabilities.
    top5_overlap: how many of the five most probable classes both have, 0..1.
    snr_db, psnr_db: of the candidate's vector against the reference's; None where they are equal.
    top: the classes that are among the five most probable of either, the reference's most probable first.
    truth: the label that the image really has, where it is known.
    Numbers are None where the candidate's answer is not finite.
    """

    image: str
    verdict: CaseVerdict
    reference: Answer
    candidate: Answer
    max_abs_diff: float | None = None
    kl: float | None = None
    worst_label: str | None = None
    worst_reference: float | None = None
    worst_candidate: float | None = None
    top5_overlap: Proportion | None = None
    snr_db: float | None = None
    psnr_db: float | None = None
    reason: str = ""
    top: tuple[ClassPair, ...] = ()
    truth: str | None = None
    outputs: tuple[OutputCase, ...] = ()

    @property
    def same_answer(self) -> bool:
        """Say whether both answer the same, in every output: the same label, of classes."""
        if self.reference.label != self.candidate.label:
            return False
        return not self.outputs or all(one.same_answer for one in self.outputs)

    @property
    def margin(self) -> float | None:
        """Return by how much the reference prefers its own answer; None where the case does not tell."""
        said = {pair.label: pair.reference for pair in self.top}.get(self.candidate.label)
        own = self.reference.probability
        return None if said is None or own is None else own - said


@dataclass(frozen=True)
class Comparison:
    """Judge one candidate over all images; made by `compare`.

    required_tolerance: the smallest tolerance with which the verdict would be `pass`; None where there is none.
    outputs: what was measured; empty for a classifier.
    """

    verdict: Verdict
    reason: str
    tolerance: float
    required_tolerance: float | None
    top1_agreement: float | None
    max_abs_diff: float | None
    cases: tuple[Case, ...]
    outputs: tuple[MeasuredOutput, ...] = ()


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
    explained_on: how many images causes were looked for on, where `cases` holds the worst only; 0: nobody looked.
    unexplained: why none could be looked for all the same.
    recorded_by: who gave the answers and where, if they are recorded ones.
    known_issue: set where the suite file expects this failure; it is then no reason to fail the run.
    counts: how many images got which verdict, where `cases` holds the worst of them only; else empty.
    distribution: of |dp| over all images with a finite answer, where `cases` holds the worst only.
    accuracy: how often each of the two is right, where it is known what the images show.
    remarks: what somebody who reads the verdict should know of how it came about, a line each.
    outputs: what was measured; empty for a classifier.
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
    """Hold everything that a run found.

    stale_known_issues: entries of the suite file that match nothing or no longer fail, one line each; they fail
        the run.
    thumbnails: the pixels that the model saw of the worst images, small, as data: URIs. The key is the image's
        name, or `model: name` where another model of the run saw other pixels under that name.
    unreadable: the images that were skipped, where a run over a directory of them skips any.
    cases_file: the name of the file beside this one that has a line for every image, where `cases` has the worst.
    shard: which part of the images this is; None where it is all of them.
    """

    environment: Environment
    subjects: tuple[Subject, ...]
    stale_known_issues: tuple[str, ...] = ()
    summary: Mapping[str, int] = field(default_factory=dict)
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    unreadable: Unreadable | None = None
    cases_file: str = ""
    shard: Part | None = None
    schema: Literal["parity-run/2", "parity-run/1"] = "parity-run/2"
    __pydantic_config__ = FINITE

    @property
    def exit_code(self) -> int:
        """0 parity holds, 1 it does not, 3 nothing passed or nothing can be concluded.

        A failure that is expected is no reason to fail, but it is no parity either.
        """
        unexpected = [s for s in self.subjects if s.known_issue is None]
        if self.stale_known_issues or any(s.verdict in ("fail", "error") for s in unexpected):
            return 1
        # Of images that are all unreadable nothing can be concluded, not even that parity does not hold.
        if self.unreadable and self.unreadable.allowed < self.unreadable.share < 1:
            return 1
        if any(s.verdict == "inconclusive" for s in unexpected):
            return 3
        return 0 if any(s.verdict == "pass" for s in self.subjects) else 3


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
        if told := tell_kind(path, "parity-run"):
            beside = results_beside(path)
            give = beside if schema_of(path) == "parity-cases" and beside.is_file() else "results.json of a run"
            raise ParityError(f"{path}: {told}; give {give}") from error
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
