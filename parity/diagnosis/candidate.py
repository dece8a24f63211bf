"""What a candidate answers: what it was judged by, and what it answers here, after any number of repairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from parity.backends import RECORDED, Predict, backends_for, find_backend
from parity.backends.reference import Reference
from parity.core.refusals import EXPECTED, refusals
from parity.core.results import Comparison, Prediction
from parity.diagnosis.file import File
from parity.diagnosis.repair import Repair, as_measured, judged

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.diagnosis.second_look import JudgeAgain


@dataclass(frozen=True)
class Runtime:
    """Hold what runs an artefact here, loaded once.

    backend: the candidate's own. batch: how many images go in at once. load: what a repair loads the artefact by,
    in the place of a backend.
    """

    artifact: Artifact
    backend: str
    batch: int = 1
    load: Callable[[Artifact], Predict] | None = None

    @cached_property
    def name(self) -> str:
        """The backend that repaired copies run on: the candidate's own where it can run here."""
        own_first = sorted(backends_for(self.artifact.format), key=lambda name: name != self.backend)
        return next(name for name in own_first if find_backend(name).why_not() is None)

    @cached_property
    def predict(self) -> Predict:
        """Answer for pixels, as they are."""
        if self.load:
            with refusals("a runtime that is to run the file otherwise"):
                return self.load(self.artifact)
        return find_backend(self.name).load(self.artifact, self.batch)


@dataclass(frozen=True)
class Candidate:
    """Hold what answers in PyTorch's place, and how it was judged.

    prediction: its answers to the reference's images; None where it gave none. judgement: how these compare.
    repairs: what was undone already; `file` is the file as it is after these. rows: those of the reference's images
    among all that `prediction` answers; None: it answers just these. original: without repairs; None: this one.
    judge_again: how images beyond the tolerance are looked at again; None: they are not.
    """

    reference: Reference
    file: File
    runtime: Runtime
    prediction: Prediction | None
    judgement: Comparison
    repairs: tuple[Repair, ...] = ()
    rows: tuple[int, ...] | None = None
    original: Candidate | None = None
    judge_again: JudgeAgain | None = None

    @property
    def backend(self) -> str:
        """The backend whose answers were judged."""
        return self.runtime.backend

    @property
    def batch(self) -> int:
        """How many images the file gets at once."""
        return self.runtime.batch

    @property
    def tolerance(self) -> float:
        """The largest |dp| that is allowed."""
        return self.judgement.tolerance

    @property
    def is_recorded(self) -> bool:
        """Whether the answers are a record from elsewhere, and cannot be asked for again."""
        return self.backend.startswith(RECORDED)

    def predict(self, pixels: np.ndarray) -> Prediction:
        """Answer for any pixels, as the candidate does after its repairs."""
        return self._changed(self.runtime.predict(self._prepared(pixels)))

    def values(self, pixels: np.ndarray) -> dict[str, np.ndarray] | None:
        """Trace one image, uint8 [H, W, 3], through the candidate as it is now; None where it cannot be traced."""
        return self.file.values(self._prepared(pixels[None])[0])

    def _prepared(self, pixels: np.ndarray) -> np.ndarray:
        for repair in self.repairs:
            pixels = repair.pixels(pixels) if repair.pixels else pixels
        return pixels

    def _changed(self, answers: Prediction) -> Prediction:
        answers = as_measured(self.reference.prediction, answers)
        for repair in self.repairs:
            answers = repair.answers(answers) if repair.answers else answers
        return answers

    @cached_property
    def answers(self) -> Prediction | None:
        """What the candidate, as it is now, answers to the reference's images; None where it breaks."""
        if self.prediction is not None and self.is_elsewhere:
            return self._changed(self._selected(self.prediction))
        try:
            return self.predict(self.reference.images.pixels)
        except EXPECTED:
            return None

    def _selected(self, prediction: Prediction) -> Prediction:
        """Keep the answers to the reference's images."""
        return prediction if self.rows is None else prediction.of(list(self.rows))

    @cached_property
    def is_elsewhere(self) -> bool:
        """Whether the answers come from other pixels, or from another runtime: they cannot be had again here."""
        if self.original:
            # A repaired copy gives other answers because it was repaired.
            return self.original.is_elsewhere
        if self.prediction is None or self.apart_twice > 1e-6:
            return False
        try:
            here = self.predict(self.reference.images.pixels)
        except EXPECTED:
            return True
        judged_by = as_measured(self.reference.prediction, self.prediction)
        one, other = (np.asarray(p.probabilities, np.float64) for p in (here, judged_by))
        if one.shape != other.shape:
            return True
        if here.labels and judged_by.labels and here.labels != judged_by.labels:
            if set(here.labels) != set(judged_by.labels):
                return True
            other = other[:, [judged_by.labels.index(label) for label in here.labels]]
        with np.errstate(invalid="ignore"):
            apart = np.abs(one - other)
        size = max(1.0, float(np.nanmax(np.abs(other), initial=0.0)))
        return bool(np.nanmax(apart, initial=0.0) > self.tolerance * size)

    @cached_property
    def apart_twice(self) -> float:
        """How far two runs on the same image are apart; 0 where it cannot be run."""
        first = self.reference.images.pixels[:1]
        try:
            one, other = (np.asarray(self.runtime.predict(first).probabilities) for _ in range(2))
        except EXPECTED:
            return 0.0
        with np.errstate(invalid="ignore"):
            return float(np.nanmax(np.abs(one - other), initial=0.0))

    @cached_property
    def comparison(self) -> Comparison:
        """Compare what it answers here with PyTorch."""
        if self.answers is None:
            return Comparison("fail", "the artefact gives no answer", self.tolerance, None, None, None, ())
        comparison = judged(self.reference, self.answers, self.tolerance)
        return self.judge_again(self.reference, comparison) if self.judge_again else comparison

    @cached_property
    def probabilities(self) -> np.ndarray | None:
        """Its answers in the order of the file's own outputs: [images, outputs], float64."""
        answers = self.answers if self.answers is not None else self.prediction
        if answers is None:
            return None
        values = np.asarray(as_measured(self.reference.prediction, answers).probabilities, np.float64)
        places = {label: i for i, label in enumerate(answers.labels or ())}
        order = [places[label] for label in self.file.labels or () if label in places]
        if values.ndim == 2 and len(order) == values.shape[1] == len(set(order)):
            values = values[:, order]  # a dictionary has no order; the file's list of labels has
        return values

    def repaired(
        self, reference: Reference, file: File, repairs: Sequence[Repair], rows: Sequence[int] | None
    ) -> Candidate:
        """Put repairs on top of those that it has; file: with their edits. rows: see Examination.again."""
        runtime = Runtime(
            file.artifact,
            self.backend,
            next((repair.batch for repair in repairs if repair.batch), self.batch),
            self.runtime.load or next((repair.run for repair in repairs if repair.run), None),
        )
        places = self.rows if self.rows is not None else tuple(range(len(self.reference.images.pixels)))
        return replace(
            self,
            reference=reference,
            file=file,
            # What runs the same file in the same manner is loaded once.
            runtime=self.runtime if runtime == self.runtime else runtime,
            repairs=(*self.repairs, *repairs),
            rows=places if rows is None else tuple(places[row] for row in rows),
            original=self.original or self,
        )
