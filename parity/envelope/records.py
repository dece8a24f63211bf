"""Records from devices, held against an envelope: inside, or outside at which image, and what is nearest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parity.backends.recorded import Recorded, source_of
from parity.core.envelope import HeldRecord, Near, Outside
from parity.core.errors import ParityError
from parity.envelope.arithmetics import ROUND_ONCE
from parity.envelope.judgement import Answers, in_order
from parity.formats.facts import artifact_digest
from parity.suite.images import pixels_digest
from parity.suite.records import Record, read_records

# A probability near 1 is known no better in fp16: half of one unit in the last place, and what is nearer than that.
ROUNDING = 2.0**-12
# Images and arithmetics that are named.
NAMED = 5


def held(answers: Answers, file: Path) -> list[HeldRecord]:
    """Hold all that was recorded of the file against its envelope; another file's record is a ParityError."""
    artifact = answers.opened.artifact
    content, digest = read_records(file), artifact_digest(artifact)
    matching = [record for record in content.records if record.artifact.sha256 == digest]
    if not matching:
        names = ", ".join(dict.fromkeys(record.artifact.name for record in content.records))
        raise ParityError(
            f"{file}: no record of this {artifact.path.name} (it has {names}); an envelope is of one file: record "
            "this one"
        )
    return [_held(answers, file, record, content.environment.platform) for record in matching]


def _held(answers: Answers, file: Path, record: Record, platform: str) -> HeldRecord:
    images = answers.images
    named = {pixels_digest(p): name for name, p in zip(images.names, images.pixels, strict=True)}
    predict = Recorded(file, answers.labels, named).predict_by(record, platform)
    recorded = in_order(predict(images.pixels), answers.labels)
    unit = f", computed on {record.unit}" if record.unit else ""
    outside = _outside(answers, recorded)
    return HeldRecord(
        recorded_by=source_of(record, platform) + unit,
        images=len(images.names),
        inside=not outside,
        outside=outside,
        nearest=_nearest(answers, recorded),
    )


def _outside(answers: Answers, recorded: np.ndarray) -> tuple[Outside, ...]:
    """Name the images with a probability outside its range by more than fp16 can tell, the furthest first."""
    low, high = answers.lowest, answers.highest
    beyond = np.maximum(low - recorded, recorded - high)
    # What is not finite in an arithmetic bounds nothing; what is not finite in the record is furthest outside.
    beyond = np.where(np.isnan(low) | np.isnan(high), 0.0, np.where(np.isfinite(recorded), beyond, np.inf))
    furthest = beyond.max(1)
    listed = [int(index) for index in np.argsort(-furthest, kind="stable") if furthest[index] > ROUNDING]
    return tuple(_image(answers, recorded, index, int(beyond[index].argmax())) for index in listed)


def _image(answers: Answers, recorded: np.ndarray, index: int, column: int) -> Outside:
    numbers = (recorded[index, column], answers.lowest[index, column], answers.highest[index, column])
    said, low, high = (float(number) if np.isfinite(number) else None for number in numbers)
    return Outside(answers.images.names[index], answers.labels[column], said, low, high)


def _nearest(answers: Answers, recorded: np.ndarray) -> tuple[Near, ...]:
    apart = np.abs(answers.rows - recorded).max(axis=(1, 2))
    names = (ROUND_ONCE.name, *(variant.arithmetic.name for variant in answers.variants))
    ordered = sorted(zip(names, apart, strict=True), key=lambda one: np.inf if np.isnan(one[1]) else one[1])
    return tuple(Near(name, float(far) if np.isfinite(far) else None) for name, far in ordered[:NAMED])
