"""Answers that were given elsewhere, from a file of records: runs on any system, and runs nothing.

It refuses a record that was made from another artefact, from other pixels or for other labels: then the two
predictions have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from conversion.artifact import Format
from parity.backends import About, NotRecordedError
from parity.core.errors import ParityError
from parity.core.origin import RecordedBy
from parity.core.results import Prediction
from parity.formats.facts import artifact_digest
from parity.metrics.classification.labels import tell_labels_apart
from parity.suite.images import pixels_digest

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.task import OutputSpec
    from parity.backends import Predict
    from parity.suite.records import Record, RecordedPrediction


# Whatever answered, somewhere else.
_ABOUT = About("", "a record")


@dataclass
class Recorded:
    """Serve one file of records as a backend, for all formats: whatever was run elsewhere may be in it.

    labels: the classifier's. names: digest of pixels -> image, for messages. specs: of another task's outputs;
    empty for a classifier.
    """

    file: Path
    labels: tuple[str, ...]
    names: Mapping[str, str]
    specs: tuple[OutputSpec, ...] = ()
    FORMATS: tuple[str, ...] = get_args(Format)
    ABOUT: About = _ABOUT

    def why_not(self) -> str | None:
        """Say that there is no such file."""
        if self.file.is_file():
            return None
        return f"{self.file}: no such record; `parity record` writes it, on the machine that it is to speak for"

    def load(self, artifact: Artifact, batch: int = 1) -> Predict:
        """Find the record of an artefact; what was recorded of another one is refused.

        batch: nothing is run, so it does not matter.
        """
        from parity.suite.records import read_records

        check_one_output(self.file, self.specs)
        file = read_records(self.file)
        record = self._record_of(artifact, file.records)
        predict = self.predict_by(record, file.environment.platform)
        return lambda pixels: of_task(predict(pixels), self.specs)

    def predict_by(self, record: Record, platform: str) -> Predict:
        """Answer from one record; what was made from other pixels, or for other labels, is refused."""
        self._check_labels(record.predictions[0])
        source = source_of(record, platform)
        by_pixels = {prediction.pixels: prediction for prediction in record.predictions}

        def predict(pixels: np.ndarray) -> Prediction:
            digests = [pixels_digest(image) for image in pixels]
            strange = [self.names.get(digest, "an image") for digest in digests if digest not in by_pixels]
            if strange:
                recorded = ", ".join(prediction.image for prediction in record.predictions[:3])
                raise ParityError(
                    f"{self.file}: made from other pixels: none for {len(strange)} of {len(pixels)} image(s), "
                    f"{strange[0]} first (it has {recorded}{', ...' if len(by_pixels) > 3 else ''}); record again "
                    "from the same images, best as PNG files of the model's size"
                )
            return _prediction([by_pixels[digest] for digest in digests], source)

        return predict

    def _record_of(self, artifact: Artifact, records: Sequence[Record]) -> Record:
        digest = artifact_digest(artifact)
        matching = [record for record in records if record.artifact.sha256 == digest]
        if any(record.predictions != matching[0].predictions for record in matching):
            raise ParityError(
                f"{self.file}: has {len(matching)} records of {artifact.path.name}, which do not say the same; "
                "keep the one that is meant, or give each in a file of its own"
            )
        if matching:
            return matching[0]
        for record in records:
            if record.artifact.name == artifact.path.name and record.artifact.route in ("", artifact.route):
                raise ParityError(
                    f"{self.file}: made from another {artifact.path.name}: its sha256 is "
                    f"{record.artifact.sha256[:12]}..., this one's {digest[:12]}...; "
                    "record this one, or check that one"
                )
        names = ", ".join(dict.fromkeys(record.artifact.name for record in records))
        raise NotRecordedError(f"{self.file} has no record of it (it has {names})")

    def _check_labels(self, prediction: RecordedPrediction) -> None:
        numbers, again = prediction.probabilities, "record again with the classifier's labels"
        if isinstance(numbers, list) and len(numbers) != len(self.labels):
            raise ParityError(
                f"{self.file}: made for other labels: {len(numbers)} numbers there, {len(self.labels)} labels in "
                f"the classifier; {again}"
            )
        # A dictionary has no order that could be another.
        if isinstance(numbers, dict) and numbers.keys() != set(self.labels):
            apart = tell_labels_apart("the record", tuple(numbers), self.labels)
            raise ParityError(f"{self.file}: made for other labels: {apart}; {again}")


def source_of(record: Record, platform: str) -> str:
    """Say who gave the answers, on which unit and system."""
    system = ", ".join(filter(None, (record.device, record.system or platform)))
    return str(RecordedBy(record.backend, record.compute_unit, system))


def check_one_output(file: Path, specs: Sequence[OutputSpec]) -> None:
    """Refuse a record for a model of several outputs, of which it would hold one."""
    if len(specs) > 1:
        outputs = ", ".join(spec.name for spec in specs)
        raise ParityError(
            f"{file}: a record holds the numbers of one output, and the model has {len(specs)} ({outputs}); check "
            "the file here, without a record"
        )


def of_task(answers: Prediction, specs: Sequence[OutputSpec]) -> Prediction:
    """Give recorded numbers the name that a task has for its one output; a classifier's have it. specs: its own."""
    return replace(answers, outputs={spec.name: answers.probabilities for spec in specs}) if specs else answers


def _prediction(recorded: Sequence[RecordedPrediction], source: str) -> Prediction:
    first = recorded[0].probabilities
    labels = tuple(first) if isinstance(first, dict) else None
    rows = [
        [p.probabilities[label] for label in labels]
        if isinstance(p.probabilities, dict) and labels
        else p.probabilities
        for p in recorded
    ]
    named = [p.label for p in recorded]
    top1 = tuple(name for name in named if name is not None)
    return Prediction(
        np.array(rows, dtype=np.float64),
        labels,
        top1 if len(top1) == len(named) else None,
        source,
        same_pixels=True,
        same_file=True,
    )
