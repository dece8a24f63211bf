"""How a route converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.contract import ASSUMED, Contract

if TYPE_CHECKING:
    from conversion.artifact import Format, Precision
    from conversion.classifier import Classifier
    from conversion.provenance import Provenance
    from conversion.shapes import OpenAxes


@dataclass(frozen=True)
class Route:
    """Say how a route converts: `write(classifier, path, provenance, opened)` leaves the file at `path`.

    What it returns is a remark on the file, for every report that speaks of it.

    precision: of the arithmetic; None: the file says it.
    options: what decides the result besides the classifier and the versions; part of the provenance.
    key: what decides it too and is worked out when a model is converted: digests of the user's code and files.
        None: the file is one of ours, which carries its provenance.
    finished: a file that is there already; nothing is converted.
    contract: what its file does itself, where somebody says it.
    about: what it does, in a few words.
    """

    name: str
    format: Format
    precision: Precision | None
    suffix: str
    write: Callable[[Classifier, Path, Provenance, OpenAxes], str | None]
    options: Mapping[str, str] = field(default_factory=dict)
    key: Callable[[], str] | None = None
    finished: Path | None = None
    contract: Contract = ASSUMED
    about: str = ""
