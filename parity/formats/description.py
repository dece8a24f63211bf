"""What a file says of its image."""

from __future__ import annotations

from dataclasses import dataclass

from conversion.contract import Layout


@dataclass(frozen=True)
class DeclaredInput:
    """Hold name and type of the input.

    color_space: of an input that is declared as an image, else empty. layout: of an array, as its shape says it.
    """

    name: str
    type: str
    color_space: str = ""
    layout: Layout = "NCHW"
