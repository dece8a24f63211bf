"""What an audit found, as plain frozen data: printed by parity/report/audit.py, written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from parity.core.results import Environment, KnownIssue
from parity.core.schemas import counts_schema, written_schema

MutantVerdict = Literal["caught", "missed", "equivalent", "not applicable"]
MUTANT_VERDICTS: tuple[MutantVerdict, ...] = ("caught", "missed", "equivalent", "not applicable")


@dataclass(frozen=True)
class Advice:
    """Say what would catch a mutant that is missed.

    kind: of an image, or `tolerance`, `classes`, `batch`, `size`, `route`. verified: it was tried, and it does.
    tolerance: the number, where it is one.
    """

    kind: str
    told: str
    verified: bool
    tolerance: float | None = None


@dataclass(frozen=True)
class MutantFinding:
    """Say what became of one fault that was put in.

    fault: its name in the catalogue. place: in which of several places. told: what was done.
    caught_by: the images on which it fails. worst: the one that shows it most, with the largest |dp|.
    converter: a converter that makes it makes it in fp16 and fp32 alike.
    reason: why it is caught otherwise than by numbers, why it changes nothing, or why it does not apply.
    """

    fault: str
    place: str
    told: str
    verdict: MutantVerdict
    reason: str = ""
    caught_by: tuple[str, ...] = ()
    worst: str = ""
    max_abs_diff: float | None = None
    advice: tuple[Advice, ...] = ()
    converter: bool = False


@dataclass(frozen=True)
class AuditLeg:
    """Hold the audit of one artefact on one backend.

    audited: whether it was; the artefact has to agree first. verdict, reason: of the comparison before any fault
    was put in. tolerance: what mutants are judged by.
    """

    model: str
    route: str
    backend: str
    artifact: str
    format: str
    precision: str
    audited: bool
    verdict: str
    reason: str = ""
    images: int = 0
    max_abs_diff: float | None = None
    tolerance: float | None = None
    known_issue: KnownIssue | None = None
    mutants: tuple[MutantFinding, ...] = ()


@dataclass(frozen=True)
class Audit:
    """Hold everything that an audit found."""

    environment: Environment
    legs: tuple[AuditLeg, ...]
    summary: Mapping[str, int] = field(default_factory=dict)
    schema: Literal["parity-audit/1"] = "parity-audit/1"

    @property
    def exit_code(self) -> int:
        """0 every effective mutant is caught, 1 one is missed or a leg fails, 3 nothing could be mutated."""
        if any(leg.verdict in ("fail", "error") and leg.known_issue is None for leg in self.legs):
            return 1
        if self.summary["missed"]:
            return 1
        return 0 if self.summary["caught"] else 3


def summarise(legs: tuple[AuditLeg, ...]) -> dict[str, int]:
    """Count the mutants of each verdict."""
    verdicts = [mutant.verdict for leg in legs for mutant in leg.mutants]
    return {verdict: verdicts.count(verdict) for verdict in MUTANT_VERDICTS}


def to_json(audit: Audit) -> str:
    """Write an audit as JSON of the schema parity-audit/1."""
    return str(_adapter().dump_json(audit, indent=2).decode()) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of an audit (committed as parity/schemas/audit.schema.json)."""
    schema = written_schema(_adapter(), "coreml-parity audit")
    schema["properties"]["summary"] = counts_schema("Summary", MUTANT_VERDICTS)
    return schema


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Audit)
