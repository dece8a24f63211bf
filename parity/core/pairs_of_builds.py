"""Pairs of builds of one model, as results.json has them; parity.core.migration compares them."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.comparison import Proportion


@dataclass(frozen=True)
class ChangedLabel:
    """Name an image that the two answer differently, and both answers."""

    image: str
    first: str
    second: str


@dataclass(frozen=True)
class Migration:
    """Compare two builds of a model, or one with PyTorch.

    first, second: `PyTorch`, or route, precision and backend. images: how many both answered.
    max_abs_diff: the largest distance over all images; None where an answer is not finite.
    changed: the images whose top-1 differs, ties among them, in the order of the images.
    """

    model: str
    first: str
    second: str
    images: int
    max_abs_diff: Proportion | None
    changed: tuple[ChangedLabel, ...] = ()
