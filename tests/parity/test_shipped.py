"""What ships comes out of a team's own script: right, it passes; broken as people break it, the fault is named.

By a callable that makes an ML Program with int8 weights, by a command that makes ONNX and states what is inside,
and as a finished ONNX file of which nobody says anything. The other breakages are in tests/faults/test_shipped.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.shipping import Kind, check_named

SHORT: tuple[tuple[Kind, str], ...] = (
    ("callable", "nothing"),
    ("callable", "BGR"),
    ("command", "scalar std"),
    ("finished", "labels sorted"),
)


@pytest.mark.parametrize(("kind", "edit"), SHORT)
def test_what_is_right_passes_and_a_breakage_is_named(kind: Kind, edit: str, tmp_path: Path) -> None:
    check_named(tmp_path, kind, edit)
