"""How a route converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conversion.artifact import Format, Precision
    from conversion.classifier import Classifier
    from conversion.provenance import Provenance
    from conversion.shapes import OpenAxes


@dataclass(frozen=True)
class Route:
    """Say how a route converts: `write(classifier, path, provenance, opened)` leaves the file at `path`.

    options: what decides the result besides the classifier and the versions; part of the provenance.
    """

    name: str
    format: Format
    precision: Precision
    suffix: str
    write: Callable[[Classifier, Path, Provenance, OpenAxes], None]
    options: Mapping[str, str] = field(default_factory=dict)
