"""REPORTS: what a run is written as besides the terminal: one file each, with a function from a run to its text."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.core.results import Run
    from parity.envelope.envelope_file import EnvelopeFile
    from parity.versions.matrix import Matrix


@dataclass(frozen=True)
class Report:
    """Describe a format.

    writer: `module:function`, from a Run, a Matrix or an EnvelopeFile to the text of the file.
    kind: how an earlier file of this format is known: a name of parity.core.destination.KINDS.
    help: of the option that has the format's name.
    shows_pictures: thumbnails are worth making for it.
    """

    writer: str
    kind: str
    help: str
    shows_pictures: bool = False

    def text(self, run: Run | Matrix | EnvelopeFile) -> str:
        """Write a run, or what the writer takes in its place."""
        module, _, function = self.writer.partition(":")
        written: str = getattr(importlib.import_module(module), function)(run)
        return written


# An option --NAME of every command that reports a run.
REPORTS: Mapping[str, Report] = {
    "json": Report("parity.core.results:to_json", "parity-run", "Write results.json here."),
    "html": Report(
        "parity.report.html:to_html",
        "html",
        "Write a page to read, one file that needs nothing else, here.",
        shows_pictures=True,
    ),
    "junit": Report("parity.report.junit:to_junit", "junit", "Write JUnit XML for a build server here."),
    "markdown": Report(
        "parity.report.markdown:to_markdown", "markdown", "Write a summary for a pull request here."
    ),
}

# The same of `parity upgrade --matrix`.
MATRIX_REPORTS: Mapping[str, Report] = {
    "json": Report(
        "parity.versions.matrix:matrix_to_json", "parity-matrix", "Write all that was found, as JSON, here."
    ),
    "html": Report("parity.report.matrix:to_html", "html", "Write a page to read here; of --matrix."),
    "junit": Report("parity.report.matrix:to_junit", "junit", "Write JUnit XML here; of --matrix."),
    "markdown": Report("parity.report.matrix:to_markdown", "markdown", "Write a summary here; of --matrix."),
}

# The same of `parity envelope`.
ENVELOPE_REPORTS: Mapping[str, Report] = {
    "json": Report(
        "parity.envelope.envelope_file:to_json", "parity-envelope", "Write the ranges of all images, as JSON, here."
    ),
    "html": Report(
        "parity.report.envelope_page:to_html",
        "html",
        "Write a page to read, one file that needs nothing else, here.",
    ),
    "markdown": Report(
        "parity.report.envelope_page:to_markdown", "markdown", "Write a summary for a pull request here."
    ),
}
