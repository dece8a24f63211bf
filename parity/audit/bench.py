"""One artefact that agrees with PyTorch, and what it and its mutants answer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import ImageOps

from conversion.artifact import Artifact, open_artifact
from conversion.classifier import Preprocessing
from conversion.images import read_picture, to_picture, to_pixels
from parity.audit.mutant import Mutant, Original, Sample
from parity.audit.probes import make_probes
from parity.backends import Predict, find_backend
from parity.backends.pytorch import load_reference
from parity.core.compare import compare
from parity.core.noise import AUDIT, AUDIT_FP16
from parity.core.results import Comparison, Prediction
from parity.core.tolerance import Tolerance
from parity.formats.editing import edited
from parity.judging import compared, hidden_by_compression


@dataclass(frozen=True)
class Broken:
    """Stand for answers that a mutant does not give: it cannot be loaded, or it fails on an image."""

    reason: str


@dataclass
class Bench:
    """Run an artefact and its mutants on one backend. tolerance: what the suite allows."""

    original: Original
    backend: str
    tolerance: Tolerance
    clean: Prediction
    scratch: Path

    @cached_property
    def sample(self) -> Sample:
        """The suite's images."""
        images = self.original.reference.images
        opened = [read_picture(path) for path in images.files]
        pictures = opened or [to_picture(pixels) for pixels in images.pixels]
        return Sample(images.names, images.pixels, tuple(pictures))

    @cached_property
    def probes(self) -> Sample:
        """Images of all kinds, each by the name of its kind."""
        probes_by_kind = make_probes(self.sample.pictures, self.size)
        pictures = [(kind, picture) for kind, listed in probes_by_kind.items() for picture in listed]
        preprocessing = self._preprocessing
        pixels = np.stack([to_pixels(ImageOps.exif_transpose(picture), preprocessing) for _, picture in pictures])
        return Sample(tuple(kind for kind, _ in pictures), pixels, tuple(picture for _, picture in pictures))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the suite shows."""
        height, width = self.original.reference.images.pixels.shape[1:3]
        return int(height), int(width)

    @property
    def noise(self) -> float:
        """The |dp| that a mutant may show without being one."""
        artifact = self.original.artifact
        return AUDIT_FP16 if artifact.precision == "fp16" else AUDIT[artifact.format]

    @property
    def _preprocessing(self) -> Preprocessing:
        return self.original.reference.classifier.preprocessing

    @cached_property
    def pytorch(self) -> Predict:
        """PyTorch itself."""
        return load_reference(self.original.reference.classifier)

    @cached_property
    def on_probes(self) -> tuple[Prediction, Prediction]:
        """What PyTorch and the artefact answer to the probes."""
        return self.pytorch(self.probes.pixels), self.predict(self.probes.pixels)

    @cached_property
    def predict(self) -> Predict:
        """The artefact without any fault."""
        return find_backend(self.backend).load(self.original.artifact)

    def load(self, mutant: Mutant) -> MutantRun:
        """Make a mutant, and open it once."""
        if mutant.edit is None:
            return MutantRun(self, mutant, None)
        directory = Path(tempfile.mkdtemp(dir=self.scratch))
        artifact = edited(self.original.artifact, [mutant.edit], directory)
        # Labels of ONNX stand in the note of where a file comes from, which is read anew.
        anew = open_artifact(artifact.path)
        artifact = replace(artifact, provenance=anew.provenance, precision=anew.precision)
        return MutantRun(self, mutant, artifact)

    def judge(self, reference: Prediction, answers: Prediction, names: Sequence[str]) -> Comparison:
        """Compare answers with PyTorch's by the suite's tolerance."""
        return compare(reference, answers, self.tolerance, names)

    def judge_file(self, artifact: Artifact, answers: Prediction) -> Comparison:
        """Compare what a file answers to the suite's images with PyTorch's, as a run of the suite does."""
        reference = self.original.reference
        comparison = compared(reference, artifact, answers, self.tolerance)
        if not self.tolerance.compressed or comparison.verdict == "fail":
            return comparison
        hidden = hidden_by_compression(self.tolerance, reference, artifact, answers)
        return hidden[1] if hidden else comparison


@dataclass
class MutantRun:
    """Hold a mutant that was made. artifact: the file; None where pixels alone are changed."""

    bench: Bench
    mutant: Mutant
    artifact: Artifact | None

    def __enter__(self) -> MutantRun:
        return self

    def __exit__(self, *error: object) -> None:
        if self.artifact is not None:
            # Else the model's copies for all mutants stay in memory.
            self.bench.original.reference.twins.pop(self.artifact.path, None)
            shutil.rmtree(self.artifact.path.parent, ignore_errors=True)

    @cached_property
    def _predict(self) -> Predict:
        return self.bench.predict if self.artifact is None else self.load(1)

    @property
    def file(self) -> Artifact:
        """The file that answers: the mutant's own, or the artefact as it is."""
        return self.artifact or self.bench.original.artifact

    def load(self, batch: int) -> Predict:
        """Load the mutant for so many images at once."""
        return find_backend(self.bench.backend).load(self.file, batch)

    def answers(self, sample: Sample) -> Prediction | Broken:
        """Let the mutant answer."""
        pixels = sample.pixels if self.mutant.pixels is None else self.mutant.pixels(sample)
        answers = attempted(lambda: self._predict(pixels))
        if isinstance(answers, Broken) and self.artifact is not None:
            # Where the scratch copy lay says nothing to anybody.
            return Broken(answers.reason.replace(f"{self.artifact.path.parent}/", ""))
        return answers


def attempted(ask: Callable[[], Prediction]) -> Prediction | Broken:
    """Call what predicts; whatever it raises is an answer too."""
    try:
        return ask()
    except Exception as error:  # of whatever class: a runtime refuses a file in ways of its own
        return Broken(" ".join(f"{type(error).__name__}: {error}".split()))


def largest_move(before: Prediction, after: Prediction | Broken) -> float:
    """Return how far the answers are apart, class by class; infinite where they cannot be compared."""
    if isinstance(after, Broken):
        return float("inf")
    first, second = np.asarray(before.probabilities, np.float64), np.asarray(after.probabilities, np.float64)
    if before.labels is not None and after.labels is not None:
        places = {label: i for i, label in enumerate(after.labels)}
        if set(places) != set(before.labels) or len(after.labels) != len(before.labels):
            return float("inf")
        second = second[:, [places[label] for label in before.labels]]
    if first.shape != second.shape:
        return float("inf")
    apart = np.abs(first - second)
    return float(apart.max(initial=0.0)) if np.isfinite(apart).all() else float("inf")
