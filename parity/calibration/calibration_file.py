"""The file that `parity calibrate --json` writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from parity.calibration.calibration import Calibration
from parity.calibration.noise import Noise
from parity.calibration.proposals import CONFIDENCE, FACTOR, Proposal, images_needed
from parity.core.results import Environment
from parity.core.schemas import written_schema

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class CalibratedModel:
    """Hold what the file says of a model; differences of its sources are in the order of its images."""

    model: str
    images: tuple[str, ...]
    trouble: str
    sources: tuple[Noise, ...]


@dataclass(frozen=True)
class CalibrationFile:
    """Hold the file that `parity calibrate --json` writes."""

    schema: Literal["parity-calibration/1"]
    environment: Environment
    quantile: float
    confidence: float
    factor: float
    images_needed: int
    models: tuple[CalibratedModel, ...]
    legs: tuple[Proposal, ...]
    exit_code: Literal[0, 3]


def to_json(calibration: Calibration) -> str:
    """Write what was measured and proposed."""
    content = CalibrationFile(
        "parity-calibration/1",
        calibration.environment,
        calibration.quantile,
        CONFIDENCE,
        FACTOR,
        images_needed(calibration.quantile),
        tuple(CalibratedModel(m.name, m.images, m.trouble, m.noises) for m in calibration.models),
        calibration.proposals,
        calibration.exit_code,
    )
    return _adapter().dump_json(content, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a calibration (committed as parity/schemas/calibration.schema.json)."""
    return written_schema(_adapter(), "coreml-parity calibration")


@cache
def _adapter() -> TypeAdapter[CalibrationFile]:
    from pydantic import TypeAdapter

    return TypeAdapter(CalibrationFile)
