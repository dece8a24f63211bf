"""A suite file as pytest sees it: one test per model, route, backend and image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conversion.errors import ConversionError
from conversion.images import find_images
from parity.backends import backends_for
from parity.core.compare import explain_failure
from parity.core.environment import environment
from parity.core.errors import ParityError
from parity.core.results import FAILING_CASES, Case, Run, Subject, to_json
from parity.suite.images import unique_names
from parity.suite.known_issues import mark_known_issues
from parity.suite.suite import ModelEntry, Suite, read_suite
from parity.testing.workbench import Found, remarks, workbench
from parity.versions.baselines import ACCEPT_BY_PYTEST

_MARKERS = pytest.StashKey[dict[str, str]]()


class ParityFailure(Exception):  # noqa: N818 - a failed comparison, not an error
    """Parity does not hold; the message is all that is to be said."""


class SuiteFile(pytest.File):
    """A `parity.toml`."""

    def collect(self) -> Iterator[SuiteItem]:
        """Make the tests; a suite file that is wrong is a collection error with a line for each problem."""
        try:
            suite = read_suite(self.path)
            images = {
                entry.name: unique_names(find_images(entry.images, suite.directory)) for entry in suite.models
            }
        except (ParityError, ConversionError) as error:
            raise self.CollectError(str(error)) from None
        for entry in suite.models:
            for route in entry.routes:
                for backend in backends_for(entry.recipe(route).format, entry.records):
                    for image in images[entry.name]:
                        yield SuiteItem.make(self, suite, entry, route, backend, image)


class SuiteItem(pytest.Item):
    """Compare one image on one backend; all images of a backend share one conversion and one run."""

    suite: Suite
    entry: ModelEntry
    route: str
    backend: str
    image: str
    parity_suite: str
    parity_found: tuple[Found, ...] = ()

    @staticmethod
    def make(parent: SuiteFile, suite: Suite, entry: ModelEntry, route: str, backend: str, image: str) -> SuiteItem:
        """Make the test of one image, with its marks."""
        item = SuiteItem.from_parent(parent, name=_printable(f"{entry.name}[{route}-{backend}-{image}]"))
        item.parity_suite = str(suite.path)
        item.suite, item.entry, item.route, item.backend, item.image = suite, entry, route, backend, image
        item.add_marker(pytest.mark.parity(model=entry.name, route=route, backend=backend, image=image))
        for kind, name in (("model", entry.name), ("route", route), ("backend", backend)):
            if mark := _marker(item.config, kind, name):
                item.add_marker(mark)
        if item.config.pluginmanager.hasplugin("xdist"):
            # With --dist loadgroup, one worker converts a model by a route and runs it on all images.
            # Its scheduler looks for the last @ and the last ] of a name, so neither may be in the group's.
            group = re.sub(r"[^\w.-]", "_", f"{suite.path.name}-{entry.name}-{route}")
            item.add_marker(pytest.mark.xdist_group(group))
        return item

    def runtest(self) -> None:
        """Pass, skip with the reason, fail expectedly, or fail with the few lines that matter."""
        bench = workbench(self.config)
        leg = bench.leg(self.suite, self.entry, self.route, self.backend)
        subject = leg.subject
        case = next((case for case in subject.cases if case.image == self.image), None)
        self.user_properties += _properties(replace(subject, backend=self.backend), case)
        if bench.is_first(leg):
            pictures = bench.thumbnails(self.suite, self.entry, subject)
            run = to_json(Run(environment(), (subject,), thumbnails=pictures))
            self.parity_found = (Found(str(self.suite.path), run, remarks(leg)),)
        if subject.verdict == "skipped":
            # Told of the suite file, not of this line.
            raise pytest.skip.Exception(subject.reason, _use_item_location=True)
        (marked,), stale = mark_known_issues((subject,), self.suite.known_issues, partial=True)
        if stale:
            raise ParityFailure(f"[XPASS(strict)] {stale[0]}")
        failure = "" if subject.verdict == "pass" else explain_failure(replace(subject, backend=self.backend), case)
        if subject.cases and case is None:
            raise ParityFailure(f"{self.name}: the image went away after the tests were collected; run them again")
        if subject.verdict == "fail" and case is not None and not _fails(subject, case):
            failure = ""  # another image of this backend fails, and has a test of its own
        if marked.known_issue and failure:
            pytest.xfail(f"{marked.known_issue.reason} {marked.known_issue.link}".rstrip())
        if not failure and (change := leg.changes.get(self.image)) and change.matters:
            head = f"{subject.model} by {subject.route} on {subject.backend}: {change.told}"
            failure = "\n".join(
                [f"{head}; to accept it: {ACCEPT_BY_PYTEST}", *(f"  since then: {s}" for s in leg.since)]
            )
        if not failure and leg.trouble:
            raise ParityFailure(leg.trouble)
        if failure:
            raise ParityFailure(f"{failure}\n  look further: {self._command()}")

    def _command(self) -> str:
        """Write the command that shows this leg alone."""
        chosen = (("model", self.entry.name), ("route", self.route), ("backend", self.backend))
        options = " ".join(f"--{kind} {_quoted(name)}" for kind, name in chosen)
        return f"parity run {_quoted(_nearby(self.suite.path))} {options}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Say what went wrong without a traceback, unless it is a bug."""
        if isinstance(excinfo.value, ParityFailure | ParityError | ConversionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the test in reports; its place is the file."""
        return self.path, 0, self.name


def _fails(subject: Subject, case: Case) -> bool:
    """Say whether an image fails; where too many are excused, it is those that are."""
    if case.verdict in FAILING_CASES:
        return True
    alone = not any(other.verdict in FAILING_CASES for other in subject.cases)
    return alone and case.own_allowed is not None


def _properties(subject: Subject, case: Case | None) -> list[tuple[str, Any]]:
    """List the figures for JUnit's properties."""
    properties = [
        ("parity_model", subject.model),
        ("parity_route", subject.route),
        ("parity_backend", subject.backend),
        ("parity_precision", subject.precision),
        ("parity_verdict", subject.verdict),
        ("parity_tolerance", subject.tolerance),
        ("parity_required_tolerance", subject.required_tolerance),
    ]
    if case is not None:
        properties += [
            ("parity_image", case.image),
            ("parity_case_verdict", case.verdict),
            ("parity_reference_label", case.reference.label),
            ("parity_reference_probability", case.reference.probability),
            ("parity_candidate_label", case.candidate.label),
            ("parity_candidate_probability", case.candidate.probability),
            ("parity_max_abs_diff", case.max_abs_diff),
            ("parity_kl", case.kl),
            ("parity_top5_overlap", case.top5_overlap),
        ]
    return [(name, value) for name, value in properties if value is not None]


def _marker(config: pytest.Config, kind: str, name: str) -> pytest.MarkDecorator | None:
    """Make a mark of a name, so that `-m mlprogram` works; None where the name is another marker's already.

    A model that is called `skip` must not be skipped.
    """
    ours = config.stash.setdefault(_MARKERS, {})
    if name not in ours:
        taken = {re.split(r"[:(]", line)[0].strip() for line in config.getini("markers")}
        if name in taken or not re.fullmatch(r"[^\W_][\w.+/-]*", name):
            return None
        ours[name] = kind
        config.addinivalue_line("markers", f"{name}: the {kind} {name} of a suite file")
    mark: pytest.MarkDecorator = getattr(pytest.mark, name)
    return mark


def _printable(name: str) -> str:
    """Write what would break a line of a report, in the name of a model or a file, as Python escapes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _nearby(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
