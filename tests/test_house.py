"""What holds for the house as a whole, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEAM = ROOT / "parity" / "formats"
NAMES = ("onnx", "mlprogram", "neuralnetwork")


def format_questions(source: str) -> list[int]:
    """List the lines that compare a format, or anything with a format's name."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for operator in node.ops)
        and any(is_format(operand) for side in (node.left, *node.comparators) for operand in parts(side))
    ]


def parts(operand: ast.expr) -> Iterator[ast.expr]:
    """Give an operand, and what a tuple, a list or a set holds."""
    yield operand
    if isinstance(operand, ast.Tuple | ast.List | ast.Set):
        for element in operand.elts:
            yield from parts(element)


def is_format(operand: ast.expr) -> bool:
    if isinstance(operand, ast.Attribute):
        # Pillow's `image.format` is of pictures.
        return operand.attr == "format" and not (
            isinstance(operand.value, ast.Name) and operand.value.id == "image"
        )
    if isinstance(operand, ast.Name):
        return operand.id == "format"
    return isinstance(operand, ast.Constant) and operand.value in NAMES


def test_outside_the_seam_no_code_asks_which_format_a_file_has() -> None:
    modules = [p for package in ("conversion", "parity") for p in sorted((ROOT / package).rglob("*.py"))]
    outside = [p for p in modules if SEAM not in p.parents]

    questions = [
        f"{path.relative_to(ROOT)}:{line}" for path in outside for line in format_questions(path.read_text())
    ]

    assert len(outside) > 200
    assert questions == []


@pytest.mark.parametrize(
    "source",
    [
        'artifact.format == "onnx"',
        "mine.format != theirs.format",
        'format in ("a", "b")',
        "artifact.format not in module.FORMATS",
        'kind == "mlprogram"',
        'kinds == {"mlprogram", "neuralnetwork"}',
        '(other.model, other.format) == ("a", "b")',
    ],
)
def test_a_question_is_found(source: str) -> None:
    assert format_questions(f"x = 1\nif {source}:\n    y = 2\n") == [2]


@pytest.mark.parametrize("source", ['image.format == "TIFF"', "FIXES[artifact.format]", 'suffix == ".onnx"'])
def test_what_asks_for_no_format_is_not_found(source: str) -> None:
    assert format_questions(source) == []
