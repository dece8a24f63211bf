"""What a tolerance hides: of fp32 at 1e-4 in tests whose values are fp16, and of fp16 at 0.5.

Beside a test that compares fp16 within 0.5, the same program is asked in fp32. Rounding is then left in what the
file holds rounded, constants and inputs. What it costs, and what the program makes of it, is seen in how far the
answers in fp16 and in fp32 are apart; a wrong constant moves both alike.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.coreml import Evaluator
from parity.formats.mlprogram.retyped import evaluator_in_fp32

# From here on a tolerance says little beside shapes.
LOOSE = 0.1
# Of the largest number: four times what rounding to fp16, of 11 bits, changes.
OF_THE_LARGEST = 4 * 2.0**-11
# Of how far the answers in fp16 and fp32 are apart: rounding of constants and inputs is in both, and adds to it.
OF_ROUNDING = 4.0


def computes_half(model: Any) -> bool:
    """Say whether a model that the evaluator runs computes values of fp16."""
    evaluator = getattr(model.__proxy__, "_evaluator", None)
    if evaluator is None or evaluator.kind != "mlProgram":
        return False
    return any(value.dtype == "fp16" for node in evaluator.graph.nodes for value in node.outputs)


def noting(compare: Callable[..., None], asked: Any) -> Callable[..., None]:
    """Make a comparison note what its tolerance refuses for rounding, and what it hides. asked: the test's note."""

    @functools.wraps(compare)
    def noted(actual: Any, desired: Any, *arguments: Any, **named: Any) -> None:
        try:
            compare(actual, desired, *arguments, **named)
        except AssertionError:
            asked.within_half = within_half(actual, desired)
            raise
        if asked.half and asked.last and not asked.loose and named.get("atol", 0.0) >= LOOSE:
            asked.loose = beyond_rounding(actual, desired, asked.last)

    return noted


def within_half(actual: Any, desired: Any) -> bool:
    """Say whether numbers lie within one unit in the last place of fp16 of each other, all of them."""
    ours, theirs = (np.asarray(side) for side in (actual, desired))
    if ours.shape != theirs.shape or ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiu":
        return False
    ours, theirs = (side.astype(np.float64) for side in (ours, theirs))
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return False
    # 11 bits, and below 2^-14 steps of 2^-24.
    largest = np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), 2.0**-14)
    return bool((np.abs(ours - theirs) <= 2.0 ** (np.floor(np.log2(largest)) - 10)).all())


def beyond_rounding(actual: Any, desired: Any, last: tuple[Any, Any, Any]) -> str:
    """Say by how much a program misses what a test expects, beyond what rounding explains; empty where it does not.

    last: the model that was asked, its inputs, and its answers. actual: one of these. Empty too where there is
    nothing to compare: no such answer, or an error.
    """
    model, inputs, answers = last
    expected = np.asarray(desired)
    if not isinstance(answers, Mapping) or expected.dtype.kind not in "fiu":
        return ""
    names = [name for name, answer in answers.items() if answer is actual]
    if not names:
        return ""
    try:
        precise = _in_fp32(model).predict(inputs)[names[0]]
    except Exception:  # of whatever kind: the test itself has passed, and this is one opinion more
        return ""
    ours, theirs, rounded = (np.asarray(side, np.float64) for side in (precise, expected, actual))
    if ours.shape != theirs.shape or not all(np.isfinite(side).all() for side in (ours, theirs, rounded)):
        return ""
    missed = np.abs(ours - theirs).max(initial=0.0)
    cost = np.abs(ours - rounded).max(initial=0.0)
    allowed = OF_THE_LARGEST * np.abs(theirs).max(initial=0.0) + OF_ROUNDING * cost
    return f"in fp32 it is {missed:.2g} off, and rounding explains {allowed:.2g}" if missed > allowed else ""


def _in_fp32(model: Any) -> Evaluator:
    if model.package_path and Path(model.package_path).exists():
        return evaluator_in_fp32(Path(model.package_path))
    directory = Path(tempfile.mkdtemp())
    try:
        model.save(str(directory / "model.mlpackage"))
        return evaluator_in_fp32(directory / "model.mlpackage")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
