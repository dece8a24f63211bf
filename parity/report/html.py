"""A run as one HTML page that needs nothing else: opened from a disk, from an artefact store, without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from parity.core.distribution import Distribution
from parity.core.results import VERDICTS, Run
from parity.report.case_view import CASE_VERDICTS
from parity.report.charts import distribution_chart, scatter_chart
from parity.report.faults import named_faults
from parity.report.reliability import reliability_chart
from parity.report.text import compact, counted, probability
from parity.report.view import SubjectView, make_view

if TYPE_CHECKING:
    from jinja2 import Environment, Template

# A sign for each verdict, so that colour is never all that tells them apart.
SIGNS: Mapping[str, str] = {
    "pass": "✓",
    "match": "✓",
    "tie": "≈",
    "drift": "≠",
    "fail": "✗",
    "flip": "✗",
    "error": "!",
    "inconclusive": "?",
    "skipped": "–",
}


def to_html(run: Run) -> str:
    """Write a run as a page."""
    view = make_view(run)
    style, script = template("run.css"), template("run.js")
    return page("run.html.j2").render(
        view=view,
        faults=named_faults(view),
        subjects=sorted(view.subjects, key=lambda s: (not s.attention, s.verdict in ("pass", "skipped"))),
        style=style,
        script=script,
        policy=content_policy(style, script),
        verdicts=[verdict for verdict in VERDICTS if view.counts.get(verdict)],
        case_verdicts=CASE_VERDICTS,
    )


def content_policy(style: str, script: str) -> str:
    """Allow this page's own style and script by their digests, pictures inside the page, and nothing else."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    allowed = "style-src 'sha256-{}'; script-src 'sha256-{}'".format(*digests)
    return f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'"


def template(name: str) -> str:
    """Read a file of parity/report/templates/."""
    return files("parity.report").joinpath("templates", name).read_text(encoding="utf-8")


def page(name: str) -> Template:
    """Return a template of a page, by its name; what is put into it is escaped."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["sign"] = SIGNS.__getitem__
    environment.globals["distribution"] = lambda s: Markup(_distribution(s))
    environment.globals["scatter"] = lambda s: Markup(scatter_chart(s.pairs, s.tolerance, s.anchor))
    environment.globals["reliability"] = lambda s: Markup(_reliability(s))
    environment.filters["web"] = lambda link: link if urlsplit(link).scheme in ("http", "https") else ""
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["counted"] = counted
    environment.filters["compact"] = compact
    environment.filters["probability"] = probability
    environment.filters["bar"] = lambda share: f"{100 * min(max(share or 0.0, 0.0), 1.0):.1f}"
    return environment


def _distribution(s: SubjectView) -> str:
    distribution: Distribution = s.distribution
    return distribution_chart(distribution, s.tolerance, s.counts.get("error", 0), s.anchor, s.distance)


def _reliability(s: SubjectView) -> str:
    assert s.accuracy is not None
    reference, candidate = s.accuracy.calibration
    return reliability_chart(reference, candidate, s.accuracy.threshold, s.anchor)
