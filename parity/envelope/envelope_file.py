"""The file that `parity envelope --json` writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from parity.core.envelope import Envelope
from parity.core.environment import environment
from parity.core.results import FINITE, Environment
from parity.core.schemas import written_schema

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class EnvelopeFile:
    """Hold the file; what the fields of `envelope` mean is said in parity.core.envelope."""

    schema: Literal["parity-envelope/1"]
    environment: Environment
    model: str
    artifact: str
    precision: str
    envelope: Envelope
    exit_code: Literal[0, 1, 3]
    __pydantic_config__ = FINITE


def file_of(model: str, artifact: str, precision: str, envelope: Envelope) -> EnvelopeFile:
    """Put an envelope beside what it is of, and where it was computed."""
    return EnvelopeFile(
        *("parity-envelope/1", environment(), model, artifact, precision, envelope, envelope.exit_code)
    )


def to_json(file: EnvelopeFile) -> str:
    """Write all of it."""
    return _adapter().dump_json(file, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of an envelope (committed as parity/schemas/envelope.schema.json)."""
    return written_schema(_adapter(), "coreml-parity envelope")


@cache
def _adapter() -> TypeAdapter[EnvelopeFile]:
    from pydantic import TypeAdapter

    return TypeAdapter(EnvelopeFile)
