"""Predictions that were made elsewhere, on a Mac or on a phone: the file that carries them.

The file is JSON by parity/schemas/record.schema.json. What an app has to write is this; the rest has defaults:

    {"schema": "parity-record/1",
     "records": [{"artifact": {"name": "Flowers.mlpackage", "sha256": "..."},
                  "predictions": [{"image": "rose.png", "pixels": "...",
                                   "probabilities": {"rose": 0.97, "tulip": 0.03}}]}]}

artifact: copied from a record that `parity record` made of the same file, on whatever machine; an app is compiled
from it and cannot see it any more. pixels: the SHA-256 of what the model was shown, as `pixels_digest` takes it:
three bytes per pixel, red, green, blue, row by row from the top. probabilities: Core ML's dictionary as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from conversion.files.regular_files import why_no_file
from parity.core.errors import ParityError
from parity.core.file_kinds import tell_kind
from parity.core.schemas import first_problem
from parity.core.unfinished import refuse_unfinished

SCHEMA: Final = "parity-record/1"
_GIVE = "give what `parity record` wrote, or an app"

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Number = float | None


class _Table(BaseModel):
    """Nothing but the keys below, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, populate_by_name=True)


class RecordedArtifact(_Table):
    """The file that answered; an app copies this table from a record of the file that it was built from."""

    name: Annotated[str, Field(min_length=1, description="The file's name, without directories.")]
    sha256: Annotated[
        Digest, Field(description="Of the file's content, as parity.formats.facts.artifact_digest takes it.")
    ]
    route: Annotated[
        str, Field(description="A route by which it was converted; - for another way, empty: not known.")
    ] = ""
    format: Annotated[str, Field(description="onnx, mlprogram, neuralnetwork or coreai.")] = ""
    precision: Annotated[str, Field(description="Of its arithmetic: fp32 or fp16.")] = ""


class RecordedPrediction(_Table):
    """The answer to one image."""

    image: Annotated[str, Field(description="The image's name.")]
    pixels: Annotated[
        Digest,
        Field(
            description="SHA-256 of the pixels that the model was shown: at its own size, three bytes each, red, "
            "green, blue, row by row from the top."
        ),
    ]
    probabilities: Annotated[
        Annotated[dict[str, Number], Field(min_length=1), Tag("labels")]
        | Annotated[list[Number], Field(min_length=1), Tag("columns")],
        Discriminator(lambda probabilities: "columns" if isinstance(probabilities, list) else "labels"),
        Field(
            description="By label, for all labels; or a list in the order of the outputs, where the format has no "
            "labels. null stands for what is no finite number."
        ),
    ]
    label: Annotated[str | None, Field(description="The class that the model itself named: classLabel.")] = None


def _one_set_of_labels(predictions: list[RecordedPrediction]) -> list[RecordedPrediction]:
    labels = [
        set(p.probabilities) if isinstance(p.probabilities, dict) else len(p.probabilities) for p in predictions
    ]
    for prediction, probabilities in zip(predictions, labels, strict=True):
        if probabilities != labels[0]:
            raise ValueError(f"{prediction.image} has other classes than {predictions[0].image}")
    return predictions


class Record(_Table):
    """What one file answered."""

    artifact: RecordedArtifact
    backend: Annotated[str, Field(description="What ran it: a backend's name, or an app's.")] = ""
    compute_unit: Annotated[str, Field(description="CPU_ONLY, CPU_AND_GPU, CPU_AND_NE or ALL.")] = ""
    device: Annotated[str, Field(description="The device that ran it, iPhone16,1 say.")] = ""
    system: Annotated[str, Field(description="The device's operating system, with its version.")] = ""
    unit: Annotated[
        str, Field(description="What computed, as far as it is known: CPU, GPU, Neural Engine, or several of them.")
    ] = ""
    predictions: Annotated[list[RecordedPrediction], Field(min_length=1), AfterValidator(_one_set_of_labels)]


class RecordedEnvironment(_Table):
    """Where it ran; `platform` is the system, or the device, with its version."""

    platform: str = ""
    cpu: str = ""
    python: str = ""
    packages: dict[str, str] = {}


class RecordFile(_Table):
    """The whole file."""

    schema_: Annotated[Literal["parity-record/1"], Field(alias="schema")]
    environment: RecordedEnvironment = RecordedEnvironment()
    records: Annotated[list[Record], Field(min_length=1)]


def read_records(path: Path) -> RecordFile:
    """Read a file of records; anything else is a ParityError that names the first thing that is wrong."""
    refuse_unfinished(path)
    if why := why_no_file(path):
        kind = tell_kind(path)
        raise ParityError(f"{path}: {kind}; {_GIVE}" if kind else f"{path}: {why}")
    try:
        return RecordFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ParityError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        if kind := tell_kind(path, "parity-record"):
            raise ParityError(f"{path}: {kind}; {_GIVE}") from error
        raise ParityError(f"{path}: not a record of schema {SCHEMA}: {first_problem(error)}") from error


def to_json(records: RecordFile) -> str:
    """Write records as their file has them: a prediction per line."""
    content = records.model_dump(by_alias=True)
    texts = []
    for record in content.pop("records"):
        predictions = ",\n".join(f"        {_line(prediction)}" for prediction in record.pop("predictions"))
        head = ",\n".join(f'      "{key}": {_line(value)}' for key, value in record.items())
        texts.append(f'    {{\n{head},\n      "predictions": [\n{predictions}\n      ]\n    }}')
    listed = ",\n".join(texts)
    head = json.dumps(content, indent=2, ensure_ascii=False).removesuffix("\n}")  # its last brace comes later
    return f'{head},\n  "records": [\n{listed}\n  ]\n}}\n'


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a file of records (committed as parity/schemas/record.schema.json)."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **RecordFile.model_json_schema(by_alias=True), "title": "coreml-parity record"}


def finite(number: float) -> float | None:
    """Return a number as JSON can hold it."""
    return float(number) if math.isfinite(number) else None


def _line(value: Mapping[str, Any] | str) -> str:
    return json.dumps(value, ensure_ascii=False)
