"""Everything that a detector may ask of a failing candidate, worked out when it is first asked for, and once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.errors import ConversionError
from parity.backends import RECORDED, Predict, backends_for, find_backend
from parity.backends.reference import Reference
from parity.core.errors import ParityError
from parity.core.origin import Passage
from parity.core.refusals import EXPECTED, refusals
from parity.core.results import Comparison, Prediction
from parity.diagnosis.failures import Failures
from parity.diagnosis.repair import Repair, judged
from parity.formats.editing import Editable, edited, open_editable
from parity.formats.graph import Graph, read_graph
from parity.formats.trace import Trace, open_trace
from parity.suite.images import ImageSet

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.diagnosis.source import Program
    from parity.diagnosis.types import Located, WeightFinding


@dataclass
class Examination:
    """Hold one candidate that does not agree with PyTorch, and what was found out about it.

    prediction: its answers to the reference's images; None where it gave none. given: how these compare.
    image_files: where the images come from, in the reference's order; empty where that is not known.
    batch: how many images the artefact gets at once. guilty: where its route goes wrong.
    repairs: what was undone already; `artifact` is the file as it is after these. places: those of the reference's
    images among all that `prediction` answers; None: it answers just these. failures: what broke meanwhile.
    """

    reference: Reference
    artifact: Artifact
    backend: str
    prediction: Prediction | None
    given: Comparison
    image_files: tuple[Path, ...] = ()
    batch: int = 1
    guilty: Passage | None = None
    repairs: tuple[Repair, ...] = ()
    places: tuple[int, ...] | None = None
    failures: Failures = field(default_factory=Failures)
    _origin: Examination | None = None
    _directories: list[Any] = field(default_factory=list)

    @property
    def tolerance(self) -> float:
        """The largest |dp| that is allowed."""
        return self.given.tolerance

    @property
    def pixels(self) -> np.ndarray:
        """The images as uint8 [N, H, W, 3]."""
        return self.reference.images.pixels

    @cached_property
    def runner(self) -> str:
        """The backend that repaired copies run on: the candidate's own where it can run here."""
        able = backends_for(self.artifact.format)
        if self.backend in able and find_backend(self.backend).why_not() is None:
            return self.backend
        return next(name for name in able if find_backend(name).why_not() is None)

    @property
    def is_recorded(self) -> bool:
        """Whether the answers were given elsewhere, and cannot be asked for again."""
        return self.backend.startswith(RECORDED)

    @cached_property
    def weights(self) -> tuple[WeightFinding, ...]:
        """What is wrong with the artefact's weights, as far as these can be compared."""
        from parity.diagnosis.weights import audit_weights

        def findings() -> tuple[WeightFinding, ...]:
            return audit_weights(self.reference.classifier, self.artifact).findings

        return self.failures.attempt("the audit of the weights", findings, lambda error: ())

    @cached_property
    def _run(self) -> Predict:
        for repair in self.repairs:
            if repair.run:
                with refusals("a runtime that is to run the file otherwise"):
                    return repair.run(self.artifact)
        return find_backend(self.runner).load(self.artifact, self.batch)

    @cached_property
    def predict(self) -> Predict:
        """Answer for any pixels, as the candidate does after its repairs."""

        def predict(pixels: np.ndarray) -> Prediction:
            for repair in self.repairs:
                pixels = repair.pixels(pixels) if repair.pixels else pixels
            return self._changed(self._run(pixels))

        return predict

    def _changed(self, answers: Prediction) -> Prediction:
        for repair in self.repairs:
            answers = repair.answers(answers) if repair.answers else answers
        return answers

    @cached_property
    def answers(self) -> Prediction | None:
        """What the candidate, as it is now, answers to the reference's images; None where it breaks."""
        if self.prediction is not None and self.is_elsewhere:
            return self._changed(self._given)
        try:
            return self.predict(self.pixels)
        except EXPECTED:
            return None

    @property
    def _given(self) -> Prediction:
        """The answers that were given to the reference's images."""
        assert self.prediction is not None
        if self.places is None:
            return self.prediction
        rows = list(self.places)
        top1 = self.prediction.top1 and tuple(self.prediction.top1[row] for row in rows)
        return replace(self.prediction, probabilities=np.asarray(self.prediction.probabilities)[rows], top1=top1)

    @cached_property
    def is_elsewhere(self) -> bool:
        """Whether the answers were made from other pixels, or by another runtime: they cannot be had again here."""
        if self._origin:
            # A repaired copy gives other answers because it was repaired.
            return self._origin.is_elsewhere
        if self.prediction is None or self.apart_twice > 1e-6:
            return False
        try:
            here = self.predict(self.pixels)
        except EXPECTED:
            return True
        one, other = (np.asarray(p.probabilities, np.float64) for p in (here, self.prediction))
        if one.shape != other.shape:
            return True
        if here.labels and self.prediction.labels and here.labels != self.prediction.labels:
            if set(here.labels) != set(self.prediction.labels):
                return True
            other = other[:, [self.prediction.labels.index(label) for label in here.labels]]
        with np.errstate(invalid="ignore"):
            apart = np.abs(one - other)
        size = max(1.0, float(np.nanmax(np.abs(other), initial=0.0)))
        return bool(np.nanmax(apart, initial=0.0) > self.tolerance * size)

    @cached_property
    def apart_twice(self) -> float:
        """How far two runs on the same image are apart; 0 where it cannot be run."""
        try:
            one, other = (np.asarray(self._run(self.pixels[:1]).probabilities) for _ in range(2))
        except EXPECTED:
            return 0.0
        with np.errstate(invalid="ignore"):
            return float(np.nanmax(np.abs(one - other), initial=0.0))

    @cached_property
    def comparison(self) -> Comparison:
        """Compare what it answers here with PyTorch."""
        if self.answers is None:
            return Comparison("fail", "the artefact gives no answer", self.tolerance, None, None, None, ())
        return judged(self.reference, self.answers, self.tolerance)

    @cached_property
    def probabilities(self) -> np.ndarray | None:
        """Its answers in the order of the artefact's own outputs: [images, outputs], float64."""
        found = self.answers if self.answers is not None else self.prediction
        if found is None:
            return None
        values = np.asarray(found.probabilities, np.float64)
        places = {label: i for i, label in enumerate(found.labels or ())}
        order = [places[label] for label in self.labels or () if label in places]
        if values.ndim == 2 and len(order) == values.shape[1] == len(set(order)):
            values = values[:, order]  # a dictionary has no order; the file's list of labels has
        return values

    @cached_property
    def expected(self) -> np.ndarray:
        """PyTorch's answers: [images, classes], float64."""
        return np.asarray(self.reference.prediction.probabilities, np.float64)

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The labels in the file, in the order of its outputs; None where it has none."""
        try:
            return self.editable.labels()
        except EXPECTED:  # a damaged file: others say so
            return None

    @cached_property
    def editable(self) -> Editable:
        """What the file holds, to read."""
        return open_editable(self.artifact)

    @cached_property
    def graph(self) -> Graph | None:
        """The artefact's operations; None where they cannot be read."""
        try:
            return read_graph(self.artifact)
        except (ParityError, ConversionError, StopIteration):
            return None

    @cached_property
    def _trace(self) -> Trace | None:
        try:
            return open_trace(self.artifact)
        except (ParityError, ConversionError, StopIteration):
            return None

    def values(self, pixels: np.ndarray) -> dict[str, np.ndarray] | None:
        """Trace one image, uint8 [H, W, 3], through the artefact as it is now; None where it cannot be traced."""
        if self._trace is None:
            return None
        batch = pixels[None]
        for repair in self.repairs:
            batch = repair.pixels(batch) if repair.pixels else batch
        try:
            with refusals("the runtime that shows the values inside"):
                return self._trace(batch[0])
        except EXPECTED:
            return None

    @cached_property
    def probe(self) -> np.ndarray:
        """A picture with no symmetry and all colours, uint8 [H, W, 3]: blocks of colour under noise."""
        random = np.random.default_rng(7)
        height, width = self.pixels.shape[1:3]
        blocks = random.integers(40, 216, (5, 7, 3))
        rows, columns = np.arange(height) * 5 // height, np.arange(width) * 7 // width
        return np.asarray(blocks[rows][:, columns] + random.integers(-40, 40, (height, width, 3)), np.uint8)

    def ask_pytorch(self, tensor: Any) -> np.ndarray:
        """Let PyTorch answer for float pixels [N, 3, H, W], one by one: [N, classes]."""
        import torch

        from conversion.deployed import deployed_module

        module = deployed_module(self.reference.classifier)
        with torch.inference_mode(), refusals("PyTorch"):
            return np.concatenate([module(image[None]).numpy() for image in tensor])

    @cached_property
    def program(self) -> Program | None:
        """PyTorch's operations on the first image; None where they cannot be recorded."""
        from conversion.deployed import deployed_module, pixels_to_tensor
        from parity.diagnosis.source import record

        try:
            with refusals("the module, whose operations cannot be recorded"):
                return record(deployed_module(self.reference.classifier), pixels_to_tensor(self.pixels[:1]))
        except EXPECTED:
            return None

    @cached_property
    def deployed_state(self) -> dict[str, tuple[int, ...]]:
        """The shapes of PyTorch's weights, by the names that its operations read them by."""
        from conversion.deployed import deployed_module

        state = deployed_module(self.reference.classifier).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in state.items()}

    @cached_property
    def divergences(self) -> tuple[Located, ...]:
        """The operations that do not compute what PyTorch's do, of the two worst images."""
        return self._located(self.screen)

    @cached_property
    def first_divergence(self) -> Located | None:
        """The first of them; of the worst image alone, where the others were not asked for."""
        found = self.divergences if "divergences" in vars(self) else self._located(self.screen[:1], all_=False)
        return next(iter(found), None)

    def _located(self, places: Sequence[int], all_: bool = True) -> tuple[Located, ...]:
        from parity.diagnosis.locate import FIRST, MOST, divergences

        images = self.reference.images
        rows = [i for i in places if i < len(images.names)]
        some = ImageSet(tuple(images.names[i] for i in rows), images.pixels[rows])
        most = MOST if all_ else FIRST
        return self.failures.attempt(
            "the search for the first divergence",
            lambda: divergences(self.reference, self.artifact, some, most=most),
            lambda error: (),
        )

    @cached_property
    def module_input(self) -> np.ndarray:
        """What the classifier's module reads of the probe: float32 [1, 3, H, W]."""
        statistics = self.reference.classifier.preprocessing
        mean, std = (np.array(v, np.float64).reshape(3, 1, 1) for v in (statistics.mean, statistics.std))
        return ((self.probe.transpose(2, 0, 1)[None] / 255 - mean) / std).astype(np.float32)

    def again(
        self, reference: Reference, added: Sequence[Repair], rows: Sequence[int] | None = None
    ) -> Examination:
        """Examine the same candidate with more repairs; files are written again only where an edit is new.

        rows: the places of the reference's images among those of this examination; None: all.
        """
        first, repairs = self._origin or self, (*self.repairs, *added)
        artifact = self.artifact
        if any(repair.edit for repair in added):
            directory = tempfile.TemporaryDirectory(prefix="coreml-parity-")
            first._directories.append(directory)
            artifact = edited(self.artifact, [r.edit for r in added if r.edit], Path(directory.name))
        places = self.places if self.places is not None else tuple(range(len(self.pixels)))
        found = replace(
            self,
            reference=reference,
            artifact=artifact,
            batch=next((r.batch for r in added if r.batch), self.batch),
            repairs=repairs,
            places=places if rows is None else tuple(places[row] for row in rows),
            _origin=first,
            _directories=[],
        )
        own = not any(repair.run for repair in repairs)
        if artifact is self.artifact and found.batch == self.batch and own:
            # The same file is loaded once.
            for name in ("_run", "runner", "graph", "_trace", "editable"):
                if name in vars(self):
                    vars(found)[name] = vars(self)[name]
        return found

    def close(self) -> None:
        """Remove the edited copies."""
        while self._directories:
            self._directories.pop().cleanup()

    @cached_property
    def screen(self) -> list[int]:
        """Two images that a repair is tried on first: the worst, and the next."""
        if not self.given.cases:
            return [0, len(self.pixels) - 1][: len(self.pixels)]
        apart = [float("inf") if c.max_abs_diff is None else c.max_abs_diff for c in self.given.cases]
        return sorted(range(len(apart)), key=lambda i: -apart[i])[:2]
