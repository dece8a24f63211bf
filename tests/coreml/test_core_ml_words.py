"""A shape that is not allowed is refused in Core ML's words too, as Apple's tests have them."""

from __future__ import annotations

import pytest

from parity.coreml.shapes import Shape, Span, core_ml_words

RANGE = (Span(3, 5), 3)


@pytest.mark.parametrize(
    ("shape", "allowed", "words"),
    [
        ((99, 3), [RANGE], "Size (99) of dimension (0) is not in allowed range (3..5)"),
        ((2, 3), [RANGE], "Size (2) of dimension (0) is not in allowed range (3..5)"),
        (
            (1, 3, 29, 29),
            [(1, 3, 28, 28), (1, 3, 56, 56)],
            "MultiArray Shape (1 x 3 x 29 x 29) was not in enumerated set of allowed shapes",
        ),
        ((2, 4), [(2, 3)], ""),
        ((2,), [(Span(3, None),)], ""),
        ((2, 3, 4), [RANGE], ""),
        # Of a NeuralNetwork, whose five axes are the format's own.
        (
            (7,),
            [(Span(3, 5),), (None, None, Span(3, 5), 1, 1)],
            "Size (7) of dimension (0) is not in allowed range (3..5)",
        ),
    ],
)
def test_core_mls_words(shape: tuple[int, ...], allowed: list[Shape], words: str) -> None:
    assert core_ml_words(shape, allowed) == words
