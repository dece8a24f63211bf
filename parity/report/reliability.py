"""The reliability diagram as inline SVG: how often an answer is right that a model is so sure of."""

from __future__ import annotations

from html import escape

from parity.core.accuracy import Calibration
from parity.report.charts import BOTTOM, LEFT, RIGHT, SIDE, TOP, Frame, axis_titles, square, svg
from parity.report.text import counted

_FRAME = Frame("reliability", "How often an answer is right that is so sure", SIDE, SIDE)


def reliability_chart(reference: Calibration, candidate: Calibration, threshold: float | None, anchor: str) -> str:
    """Draw for both the share of right answers against their probability; on the diagonal the two are equal.

    threshold: from which on an app takes an answer, a line where there is one. anchor: makes ids unique in a page.
    """
    sides = (("PyTorch", "r", reference), ("candidate", "c", candidate))
    points = {
        style: [(one.confidence, one.accuracy) for one in side.bins if None not in (one.confidence, one.accuracy)]
        for _, style, side in sides
    }
    if not any(points.values()):
        return ""
    across, up, parts = square()
    right, foot = SIDE - RIGHT, SIDE - BOTTOM
    parts.append(f'<path class="diagonal" d="M{LEFT} {foot}L{right} {TOP}"/>')
    if threshold is not None:
        x = across(threshold)
        parts.append(f'<path class="limit" d="M{x:.1f} {TOP}V{foot}"/>')
        parts.append(
            f'<text class="limit-label" x="{x:.1f}" y="{TOP - 6}" text-anchor="middle">'
            f"threshold {threshold:g}</text>"
        )
    for style, line in points.items():
        places = [(across(x or 0.0), up(y or 0.0)) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path class="reliability {style}" d="M{path}"/>' if places else "")
        # Circles and squares, so that it is not the colour alone that tells.
        parts += [
            f'<circle class="reliability-dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
            if style == "r"
            else f'<rect class="reliability-dot {style}" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
            for x, y in places
        ]
    parts.append(axis_titles("probability of the answer", "share of right answers", right, foot))
    told = "; ".join(
        f"{name} is off by {100 * side.error:.2f} points in the mean, over "
        f"{counted(sum(one.images for one in side.bins), 'image')}"
        for name, _, side in sides
        if side.error is not None
    )
    described = f"{told}. PyTorch is drawn in circles, the candidate in squares."
    return svg(_FRAME, escape(anchor), described, parts)
