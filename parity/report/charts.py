"""Charts as inline SVG: two that a person looks at, each with a title and a description that say the same in words.

Colours and lines are classes of the page's style sheet; all text in them is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate

from parity.core.distribution import Distribution
from parity.report.case_view import Pair
from parity.report.text import compact, counted

_WIDTH, _HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 22, 40
SIDE = 320  # of the scatter, which is a square


@dataclass(frozen=True)
class Frame:
    """Name a kind of chart, with its title and its size in pixels."""

    kind: str
    title: str
    width: int
    height: int


_DISTRIBUTION = Frame("distribution", "How far apart the answers are", _WIDTH, _HEIGHT)
_SCATTER = Frame("scatter", "Candidate against PyTorch", SIDE, SIDE)


def distribution_chart(
    distribution: Distribution, tolerance: float | None, without: int, anchor: str, distance: str = "|Δp|"
) -> str:
    """Draw how many images differ by how much, with the tolerance as a line; both axes are logarithmic.

    without: images without a finite answer, which have no difference. anchor: makes ids unique in the page.
    distance: what is counted.
    """
    if not distribution.total:
        return ""
    first, last = _decades(distribution, tolerance)
    right, foot = _WIDTH - RIGHT, _HEIGHT - BOTTOM
    most = max(distribution.counts)
    # One image of 50,000 has to be seen: it gets a height, whatever the others have.
    top = math.log10(1 + most)

    def across(value: float) -> float:
        share = (math.log10(value) - first) / (last - first)
        return LEFT + share * (right - LEFT)

    def up(count: int) -> float:
        return foot - (foot - TOP) * math.log10(1 + count) / top

    parts: list[str] = []
    for count in _count_ticks(most):
        parts.append(f'<path class="grid" d="M{LEFT} {up(count):.1f}H{right}"/>')
        parts.append(_tick(LEFT - 6, up(count) + 4, f"{count:,}", "end"))
    step = 1 if last - first <= 6 else 2
    for decade in range(last, first - 1, -step):
        x = across(10.0**decade)
        label = "0" if 10.0**decade < distribution.edges[0] else "1" if decade == 0 else _power(decade)
        parts.append(f'<path class="grid" d="M{x:.1f} {foot}v4"/>')
        parts.append(_tick(x, foot + 17, label))
    for low, high, count in _bars(distribution):
        apart = tolerance is not None and low >= tolerance
        x, y = across(low), up(count)
        width = max(across(high) - x - 1, 2)
        style = "bar apart" if apart else "bar"
        parts.append(f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{foot - y:.1f}"/>')
        if apart:  # a mark on top, so that it is not the colour alone that tells
            parts.append(f'<path class="mark" d="M{x + width / 2 - 3:.1f} {y - 9:.1f}l6 6m0-6l-6 6"/>')
    parts.append(f'<path class="axis" d="M{LEFT} {foot}H{right}"/>')
    if tolerance is not None:
        x = across(tolerance)
        side, shift = ("end", -5) if x > _WIDTH / 2 else ("start", 5)
        parts.append(f'<path class="limit" d="M{x:.1f} {TOP - 8}V{foot}"/>')
        parts.append(
            f'<text class="limit-label" x="{x + shift:.1f}" y="{TOP - 8}" text-anchor="{side}">'
            f"allowed {compact(tolerance)}</text>"
        )
    parts.append(axis_titles(escape(f"largest {distance} of an image"), "images", right, foot))
    return svg(_DISTRIBUTION, anchor, _in_words(distribution, tolerance, without), parts)


def scatter_chart(pairs: Sequence[Pair], tolerance: float | None, anchor: str) -> str:
    """Draw what the candidate says against what the reference says; on the diagonal they agree."""
    if not pairs:
        return ""
    right, foot = SIDE - RIGHT, SIDE - BOTTOM
    across, up, parts = square()
    if tolerance is not None:
        t = tolerance
        corners = [(0, t), (1 - t, 1), (1, 1), (1, 1 - t), (t, 0), (0, 0)]
        listed = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in corners)
        parts.append(f'<polygon class="band" points="{listed}"/>')
    parts.append(f'<path class="diagonal" d="M{LEFT} {foot}L{right} {TOP}"/>')
    near, apart = (
        {(round(across(p.reference)), round(up(p.candidate))) for p in pairs if p.apart is kind}
        for kind in (False, True)
    )
    parts.append(f'<path class="dots" d="{_path(near, "h0")}"/>')
    parts.append(f'<path class="crosses" d="{_path(((x - 3, y - 3) for x, y in apart), "l6 6m0-6l-6 6")}"/>')
    parts.append(axis_titles("PyTorch", "candidate", right, foot))
    off = sum(pair.apart for pair in pairs)
    allowed = "" if tolerance is None else f" the band around it is what is allowed, {compact(tolerance)};"
    description = (
        f"{counted(len(pairs), 'probability', 'probabilities')} of the most probable classes of the images shown. "
        f"On the diagonal both say the same;{allowed} {counted(off, 'lies', 'lie')} outside"
        + (", drawn as crosses." if off else ".")
    )
    return svg(_SCATTER, anchor, description, parts)


def square() -> tuple[Callable[[float], float], Callable[[float], float], list[str]]:
    """Give a square from 0 to 1 in both directions: where a number lies across and up, and its grid."""
    right, foot = SIDE - RIGHT, SIDE - BOTTOM

    def across(value: float) -> float:
        return LEFT + min(max(value, 0.0), 1.0) * (right - LEFT)

    def up(value: float) -> float:
        return foot - min(max(value, 0.0), 1.0) * (foot - TOP)

    parts = []
    for step in range(5):
        share = step / 4
        parts.append(f'<path class="grid" d="M{LEFT} {up(share):.1f}H{right}M{across(share):.1f} {TOP}V{foot}"/>')
        parts.append(_tick(LEFT - 6, up(share) + 4, f"{share:g}", "end"))
        parts.append(_tick(across(share), foot + 17, f"{share:g}"))
    return across, up, parts


def svg(frame: Frame, anchor: str, description: str, parts: Iterable[str]) -> str:
    """Put a chart together; anchor: makes ids unique in the page. description: what it shows, in words."""
    name = escape(f"{anchor}-{frame.kind}")
    width, height = frame.width, frame.height
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'preserveAspectRatio="xMinYMin" aria-labelledby="{name}-title {name}-told">'
        f'<title id="{name}-title">{escape(frame.title)}</title><desc id="{name}-told">{escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _in_words(distribution: Distribution, tolerance: float | None, without: int) -> str:
    """Say in words what the distribution shows."""
    bars = list(_bars(distribution))
    seen = list(accumulate(count for *_, count in bars))
    middle = next(high for (_, high, _), so_far in zip(bars, seen, strict=True) if 2 * so_far >= distribution.total)
    description = f"{counted(distribution.total, 'image')}; half of them differ by at most {compact(middle)}"
    if tolerance is not None:
        apart = sum(count for low, _, count in _bars(distribution) if low >= tolerance)
        description += f"; {apart:,} in bins beyond the tolerance of {compact(tolerance)}"
    if without:
        description += f"; not counted: {counted(without, 'image')} without a finite answer"
    return f"{description}."


def _bars(distribution: Distribution) -> Iterator[tuple[float, float, int]]:
    """Give each bin that counted something: from, to, how many; what is smaller than all bins gets a decade."""
    bounds = [distribution.edges[0] / 10, *distribution.edges]
    return ((bounds[place], bounds[place + 1], count) for place, count in enumerate(distribution.counts) if count)


def _decades(distribution: Distribution, tolerance: float | None) -> tuple[int, int]:
    """Choose the decades to show: those that hold something, and the tolerance."""
    ends = [end for low, high, _ in _bars(distribution) for end in (low * 1.01, high * 0.99)]
    if tolerance:
        ends += [tolerance * 0.99, tolerance * 1.01]
    first, last = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))
    return (min(first, last - 3), last)


def _count_ticks(most: int) -> list[int]:
    ticks = [10**power for power in range(len(str(most)))]
    return ticks if most < 2 or ticks[-1] * 1.6 > most else [*ticks, most]


def _tick(x: float, y: float, label: str, anchor: str = "middle") -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{label}</text>'


def _power(decade: int) -> str:
    return f'10<tspan dy="-4" font-size="8">{str(decade).replace("-", "−")}</tspan>'


def _path(points: Iterable[tuple[int, int]], stroke: str) -> str:
    return "".join(f"M{x} {y}{stroke}" for x, y in sorted(points))


def axis_titles(horizontal: str, vertical: str, right: int, foot: int) -> str:
    """Write below and beside a chart what its axes are; right, foot: where it ends."""
    middle = (LEFT + right) / 2
    return (
        f'<text class="axis-title" x="{middle:.0f}" y="{foot + 34}" text-anchor="middle">{horizontal}</text>'
        f'<text class="axis-title" transform="translate(11 {(TOP + foot) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{vertical}</text>'
    )
