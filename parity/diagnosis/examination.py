"""A failing candidate under examination: its answers, its file, PyTorch's side, and where they part."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from parity.backends.reference import Reference
from parity.core.origin import Passage
from parity.diagnosis.candidate import Candidate
from parity.diagnosis.failures import Failures
from parity.diagnosis.file import File
from parity.diagnosis.repair import Repair
from parity.diagnosis.torch_side import TorchSide
from parity.formats.editing import Edit, edited
from parity.suite.images import ImageSet

if TYPE_CHECKING:
    import numpy as np

    from conversion import Model
    from parity.diagnosis.align import Alignment
    from parity.diagnosis.compression import Compression
    from parity.diagnosis.types import Located, WeightFinding
    from parity.diagnosis.weights import WeightAudit

# The parts of an examination that others ask about, where they failed.
WEIGHTS, OPERATIONS = "the audit of the weights", "the search for the first divergence"


@dataclass(frozen=True)
class Examination:
    """Hold one candidate that does not agree with PyTorch, and what is known of it.

    image_files: where the images come from, in the reference's order; empty where that is not known.
    guilty: where its route goes wrong. failures: what broke meanwhile.
    """

    candidate: Candidate
    image_files: tuple[Path, ...] = ()
    guilty: Passage | None = None
    failures: Failures = field(default_factory=Failures)
    _audits: dict[tuple[int, Path], tuple[Model, WeightAudit | None]] = field(default_factory=dict)
    _copies: ExitStack = field(default_factory=ExitStack)

    @property
    def reference(self) -> Reference:
        """PyTorch's answers, and what they are answers to."""
        return self.candidate.reference

    @property
    def pixels(self) -> np.ndarray:
        """The images as uint8 [N, H, W, 3]."""
        return self.reference.images.pixels

    @property
    def tolerance(self) -> float:
        """The largest |dp| that is allowed."""
        return self.candidate.tolerance

    @property
    def file(self) -> File:
        """The candidate's file."""
        return self.candidate.file

    @cached_property
    def torch(self) -> TorchSide:
        """PyTorch's side."""
        return TorchSide(self.reference)

    @cached_property
    def screen(self) -> list[int]:
        """Two images that a repair is tried on first: the worst, and the next."""
        cases = self.candidate.judgement.cases
        if not cases:
            return [0, len(self.pixels) - 1][: len(self.pixels)]
        apart = [float("inf") if case.max_abs_diff is None else case.max_abs_diff for case in cases]
        return sorted(range(len(apart)), key=lambda i: -apart[i])[:2]

    @cached_property
    def weight_audit(self) -> WeightAudit | None:
        """What comes of comparing the file's weights; None where they cannot be compared."""
        from parity.diagnosis.weights import audit_weights

        # Most repairs leave the module and the file as they are, and with them what the audit says.
        model, artifact = self.reference.model, self.file.artifact
        key = id(model), artifact.path
        if key not in self._audits:
            audit = self.failures.attempt(WEIGHTS, lambda: audit_weights(model, artifact), lambda error: None)
            # With the model, so that no other gets its identity.
            self._audits[key] = model, audit
        return self._audits[key][1]

    @property
    def weight_findings(self) -> tuple[WeightFinding, ...]:
        """What is wrong with the file's weights, as far as these can be compared."""
        return self.weight_audit.findings if self.weight_audit else ()

    @cached_property
    def compression(self) -> Compression | None:
        """How the file's weights are compressed, as far as they are."""
        from parity.diagnosis.compression import read_compression

        return self.failures.attempt(
            "the reading of compressed weights",
            lambda: read_compression(self.reference.model, self.file.artifact),
            lambda error: None,
        )

    @cached_property
    def divergences(self) -> tuple[Located, ...]:
        """The operations that do not compute what PyTorch's do, of the two worst images."""
        return self._located(self.screen)

    @property
    def is_located(self) -> bool:
        """Whether it is known already where the two part, so that asking costs nothing."""
        return bool({"divergences", "first_divergence"} & vars(self).keys())

    @cached_property
    def alignment(self) -> Alignment | None:
        """Which of the file's values are PyTorch's, on the worst image; behind what was located they may be again.

        None where one of the two sides cannot be seen inside.
        """
        return self.failures.attempt("the alignment of the two sides", self._aligned, lambda error: None)

    def _aligned(self) -> Alignment | None:
        from conversion.deployed import pixels_to_tensor
        from parity.diagnosis.align import BothSides, Parting, align, image_values

        program, graph, pixels = self.torch.program, self.file.graph, self.pixels[self.screen[0]]
        values = self.candidate.values(pixels)
        if program is None or graph is None or values is None:
            return None
        forks = {one.number: Parting(one.value, one.number) for one in self.divergences if one.number >= 0}
        image = pixels_to_tensor(pixels[None])
        sides = BothSides(program, image, graph, image_values(values, graph), self.file.artifact.precision)
        return align(sides, tuple(forks.values()))

    @cached_property
    def first_divergence(self) -> Located | None:
        """The first of them; of the worst image alone, where the others were not asked for."""
        known = "divergences" in vars(self)
        located = self.divergences if known else self._located(self.screen[:1], first_alone=True)
        return next(iter(located), None)

    def _located(self, rows: Sequence[int], first_alone: bool = False) -> tuple[Located, ...]:
        from parity.diagnosis.locate import FIRST, MOST, divergences

        images = self.reference.images
        shown = [row for row in rows if row < len(images.names)]
        some = ImageSet(tuple(images.names[row] for row in shown), images.pixels[shown])
        most = FIRST if first_alone else MOST
        return self.failures.attempt(
            OPERATIONS,
            lambda: divergences(self.reference, self.file.artifact, some, most=most),
            lambda error: (),
        )

    def again(
        self, reference: Reference, repairs: Sequence[Repair], rows: Sequence[int] | None = None
    ) -> Examination:
        """Examine the same candidate with more repairs; files are written again only where an edit is new.

        rows: the places of the reference's images among those of this examination; None: all.
        """
        edits = [repair.edit for repair in repairs if repair.edit]
        file = self._edited(edits) if edits else self.file
        return replace(self, candidate=self.candidate.repaired(reference, file, repairs, rows))

    def _edited(self, edits: Sequence[Edit]) -> File:
        directory = self._copies.enter_context(tempfile.TemporaryDirectory(prefix="coreml-parity-"))
        return File(edited(self.file.artifact, edits, Path(directory)))

    def close(self) -> None:
        """Remove the edited copies."""
        self._copies.close()
