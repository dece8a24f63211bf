"""What rounding to fp16 explains: of tests that fail at 1e-4, and of tests that pass within 0.5.

Beside such a test the same program is asked in fp32, its right answer. Rounding is then left in what the file holds
rounded, constants and inputs, which many of Apple's tests expect unrounded. What it costs, and what the program
makes of it, is seen in how far the answers in fp16 and in fp32 are apart; a wrong constant moves both alike.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.coreml import Evaluator
from parity.formats.mlprogram.retyped import evaluator_in_fp32

_HALF = 10  # MIL.proto: DataType.FLOAT16
# From here on a tolerance says little beside shapes.
LOOSE = 0.1
# Of the largest number: four times what rounding to fp16, of 11 bits, changes.
OF_THE_LARGEST = 4 * 2.0**-11
# Of how far the answers in fp16 and fp32 are apart: rounding of constants and inputs is in both, and adds to it.
OF_ROUNDING = 4.0


def computes_half(model: Any) -> bool:
    """Say whether a model that the evaluator runs holds numbers of fp16: values, inputs or constants."""
    evaluator = getattr(model.__proxy__, "_evaluator", None)
    if evaluator is None or evaluator.kind != "mlProgram":
        return False
    functions = model.get_spec().mlProgram.functions.values()
    return any(_holds_half(function) for function in functions)


def _holds_half(function: Any) -> bool:
    blocks = function.block_specializations.values()
    types = [value.type for value in function.inputs]
    types += [value.type for block in blocks for operation in block.operations for value in operation.outputs]
    return any(one.tensorType.dataType == _HALF for one in types)


def noting(compare: Callable[..., None], asked: Any) -> Callable[..., None]:
    """Make a comparison note what its tolerance refuses for rounding, and what it hides. asked: the test's note."""

    @functools.wraps(compare)
    def noted(actual: Any, desired: Any, *arguments: Any, **named: Any) -> None:
        try:
            compare(actual, desired, *arguments, **named)
        except AssertionError:
            asked.within_half = asked.half and (
                within_half(actual, desired)
                or (asked.last is not None and explained_by_rounding(actual, desired, asked.last))
            )
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


@dataclass(frozen=True)
class Precise:
    """Hold what a test compares: its program's answer in fp32, what it expects, what the program answered.

    moved: how far the answer in fp32 moves where the inputs are rounded otherwise; of constants nobody knows how
        the test had them, and they are as many.
    """

    answer: np.ndarray
    expected: np.ndarray
    rounded: np.ndarray
    moved: float

    @property
    def missed(self) -> float:
        """How far the program in fp32 is from what the test expects."""
        return float(np.abs(self.answer - self.expected).max(initial=0.0))

    @property
    def allowed(self) -> float:
        """How far what the file holds rounded may move it."""
        cost = float(np.abs(self.answer - self.rounded).max(initial=0.0))
        return OF_THE_LARGEST * float(np.abs(self.expected).max(initial=0.0)) + OF_ROUNDING * (cost + self.moved)


def precise(actual: Any, desired: Any, last: tuple[Any, Any, Any]) -> Precise | None:
    """Ask the program of a comparison in fp32; None where there is nothing to compare: no such answer, or an error.

    last: the model that was asked, its inputs, and its answers. actual: one of these.
    """
    model, inputs, answers = last
    expected = np.asarray(desired)
    if not isinstance(answers, Mapping) or expected.dtype.kind not in "fiu":
        return None
    names = [name for name, answer in answers.items() if answer is actual]
    if not names:
        return None
    try:
        evaluator = _in_fp32(model)
        answer = evaluator.predict(inputs)[names[0]]
        moved = max(_moved(evaluator, inputs, names[0], seed) for seed in range(2))
    except Exception:  # of whatever kind: the test itself has its outcome, and this is one opinion more
        return None
    sides = [np.asarray(side, np.float64) for side in (answer, expected, actual)]
    if sides[0].shape != sides[1].shape or not all(np.isfinite(side).all() for side in sides):
        return None
    return Precise(*sides, moved)


def _moved(evaluator: Evaluator, inputs: Mapping[str, Any], name: str, seed: int) -> float:
    """Say how far an answer moves where each number that goes in is half a unit of fp16 larger or smaller."""
    random = np.random.default_rng(seed)
    other = dict(inputs)
    for key, value in inputs.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            signs = random.choice([-1.0, 1.0], value.shape)
            # As float32, or it would be rounded back.
            other[key] = (value.astype(np.float64) * (1 + signs * 2.0**-11)).astype(np.float32)
    first, second = (np.asarray(evaluator.predict(each)[name], np.float64) for each in (inputs, other))
    # At an end of a function's domain, 1 for asin, one of the neighbours has no answer.
    return float(np.nan_to_num(np.abs(first - second), nan=0.0).max(initial=0.0))


def beyond_rounding(actual: Any, desired: Any, last: tuple[Any, Any, Any]) -> str:
    """Say by how much a program misses what a test expects beyond what rounding explains; else nothing."""
    found = precise(actual, desired, last)
    if found is None or found.missed <= found.allowed:
        return ""
    return f"in fp32 it is {found.missed:.2g} off, and rounding explains {found.allowed:.2g}"


def explained_by_rounding(actual: Any, desired: Any, last: tuple[Any, Any, Any]) -> bool:
    """Say whether an answer is within a unit of fp16 of the right one, and that within rounding of the expected."""
    found = precise(actual, desired, last)
    return found is not None and within_half(actual, found.answer) and found.missed <= found.allowed


def _in_fp32(model: Any) -> Evaluator:
    if model.package_path and Path(model.package_path).exists():
        return evaluator_in_fp32(Path(model.package_path))
    directory = Path(tempfile.mkdtemp())
    try:
        model.save(str(directory / "model.mlpackage"))
        return evaluator_in_fp32(directory / "model.mlpackage")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
