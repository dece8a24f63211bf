"""Run a random program and judge every operation by itself, on the numbers that the evaluator gave to it.

    Program --Evaluator.trace--> inputs and result of each operation
        twin      the naive definition in float64, on these inputs
        precise   the evaluator's own kernel in float64, on these inputs
        folded    coremltools' value inference, on these inputs as constants
        predicted what `predict` answers, which overwrites and leaves out, is what `trace` saw

No error of an earlier operation is in the comparison, so the bound is that of one operation: the exact result,
rounded once to the declared type, and what computing in float32 on the way may cost.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from parity.core.errors import CoreMLError
from parity.coreml.program import Value
from parity.coreml.registry import find_operation
from tests.coreml.random_programs.folding_faults import fault_of
from tests.coreml.random_programs.program import NUMPY, Program, Step, fold, open_program
from tests.coreml.random_programs.twins import settled, twin, widened

Arrays = Sequence[np.ndarray]
# Roundings of float32 that an operation may add up, of its largest number and of what they do to the result.
ROUNDINGS = 16
# What two ways to compute in float64 may differ by, of the largest number.
EXACT = 1e-10
# A jump at which a rounding of the input is no longer small: these are compared without one.
_JUMPS = {"ceil", "floor", "floor_div", "mod", "quantize", "round", "sign", "thresholded_relu"}
# The axes over which a norm takes its moments.
_NORMS: Mapping[str, Callable[[Mapping[str, Any]], tuple[int, ...]]] = {
    "instance_norm": lambda given: tuple(range(2, np.ndim(given["x"]))),
    "layer_norm": lambda given: tuple(range(np.ndim(given["x"])) if given.get("axes") is None else given["axes"]),
}
# Integers cut from a float that may fall on either side of a whole number.
_CUT = {"reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp", "reduce_mean"}


class DisagreementError(AssertionError):
    """Two answers to an operation that ought to be one; the message holds the program and both."""


@dataclass
class Tally:
    """Count what was compared: by operation, opset, type and oracle. worst: the error as a part of the bound."""

    programs: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    opsets: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    oracles: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add what another has counted."""
        self.programs += other.programs
        for name in ("operations", "opsets", "types", "oracles", "excused"):
            getattr(self, name).update(getattr(other, name))
        for name, value in other.worst.items():
            self.worst[name] = max(self.worst.get(name, 0.0), value)


def check(program: Program) -> Tally:
    """Run a program and compare every operation; DisagreementError where an oracle contradicts the evaluator."""
    opened = open_program(program)
    try:
        known = {**opened.constants, **opened.evaluator.trace(program.inputs)}
        answers = opened.evaluator.predict(program.inputs)
    except CoreMLError as error:
        raise DisagreementError(f"{opened.text}\nthe evaluator refuses the program: {error}") from error
    values = dict(program.inputs)
    for step in program.steps:
        for name, dtype in zip(step.outputs, step.dtypes, strict=True):
            values[name] = known[name].astype(NUMPY[dtype])
            if not np.array_equal(values[name], known[name], equal_nan=True):
                raise DisagreementError(f"{opened.text}\n{name} holds what is no {dtype}:\n{known[name]}")
    tally = Tally(programs=1, opsets=Counter([program.opset]))
    for step in program.steps:
        _check_step(_Computed(opened.text, program.opset, step, values), tally)
    for name, answer in answers.items():
        if not np.array_equal(np.asarray(answer), values[name], equal_nan=True):
            raise DisagreementError(f"{opened.text}\npredict and trace differ in {name}:\n{answer}\n{values[name]}")
        tally.oracles["predicted"] += 1
    return tally


@dataclass(frozen=True)
class _Computed:
    """Hold an operation with the values of its program, and the program's text."""

    text: str
    opset: str
    step: Step
    values: Mapping[str, np.ndarray]

    @property
    def given(self) -> dict[str, Any]:
        """Its arguments."""
        return self.step.full(self.values)

    @property
    def results(self) -> list[tuple[np.ndarray, str]]:
        """What the evaluator answered, each with its declared type."""
        return [(self.values[n], dtype) for n, dtype in zip(self.step.outputs, self.step.dtypes, strict=True)]

    def differs(self, what: str) -> DisagreementError:
        """Make the error: the program, the operation, what is wrong, the inputs, the evaluator's answers."""
        name = f"{self.step.type} `{self.step.outputs[0]}` ({self.opset})"
        numbers = [f"  {name} = {_shown(value)}" for name, value in self.given.items()]
        ours = [f"  evaluator: {_shown(value)}" for value, _ in self.results]
        return DisagreementError("\n".join([self.text, f"{name}: {what}", *numbers, *ours]))


def _check_step(computed: _Computed, tally: Tally) -> None:
    """Compare an operation with each oracle."""
    kind, given, results = computed.step.type, computed.given, computed.results

    def hold(oracle: str, ours: np.ndarray, dtype: str, theirs: np.ndarray, bound: Any) -> float:
        part = beyond(ours, theirs, dtype, bound)
        if part > 1:
            raise computed.differs(
                f"the evaluator and {oracle} disagree beyond {np.max(bound):.3g}\n  {oracle}: {_shown(theirs)}"
            )
        return part

    kernel = _kernel(kind, computed.opset, results)
    precise, exact = kernel(given), twin(kind, given, computed.opset)
    wobble = _wobble(kind, kernel, given, precise)
    folded = _fold(computed, tally)
    for i, (ours, dtype) in enumerate(results):
        bound = allowed(exact[i], dtype, wobble[i], 2.0**-24, kind)
        parts = [hold("twin", ours, dtype, exact[i], bound), hold("precise", ours, dtype, precise[i], bound)]
        if dtype.startswith("fp"):
            tight = EXACT * (1 + np.abs(exact[i]).max(initial=0.0)) + wobble[i] * 2.0**-20
            hold("twin in float64", precise[i], "fp64", exact[i], tight)
        if folded[i] is not None:
            hold(
                "coremltools' value inference",
                ours,
                dtype,
                folded[i],
                _of_folding(exact[i], dtype, wobble[i], kind),
            )
        tally.oracles.update(["twin", "precise"] + ["folded"] * (folded[i] is not None))
        tally.worst[kind] = max(tally.worst.get(kind, 0.0), *parts)
        tally.types[dtype] += 1
    tally.operations[kind] += 1


def _fold(computed: _Computed, tally: Tally) -> Sequence[Any]:
    """Return what coremltools makes of each output; None where it makes nothing of it, or is known to be wrong."""
    nothing = [None] * len(computed.results)
    if reason := fault_of(computed.step.type, computed.given):
        tally.excused[f"{computed.step.type}: {reason}"] += 1
        return nothing
    try:
        return fold(computed.step, computed.opset, computed.values)
    except Exception as error:  # of any kind: what its own code stumbles over
        raise computed.differs(f"coremltools cannot fold it: {error!r}") from error


def _of_folding(exact: np.ndarray, dtype: str, wobble: float, kind: str) -> Any:
    """Return the bound of coremltools' own answer.

    NumPy computes in fp16 where the value is that, and its formulas may pass by way of 1, as log(1 + exp(x)).
    """
    eps = 2.0**-11 if dtype == "fp16" else 2.0**-24
    way = ROUNDINGS * eps if dtype.startswith("fp") else 0.0
    return way + 2 * allowed(exact, dtype, wobble * eps * 2.0**24, eps, kind)


def allowed(exact: np.ndarray, dtype: str, wobble: float, eps: float, kind: str) -> Any:
    """Return by how much a result may miss the exact one: half a unit in the last place, and what float32 costs.

    eps: half a unit of the type in which it is computed. wobble: how far such errors of the inputs move the result.
    """
    if not dtype.startswith("fp"):
        return 1.0 if kind in _CUT else 0.0
    with np.errstate(all="ignore"):
        half = np.spacing(np.abs(exact).astype(NUMPY[dtype])).astype(np.float64) / 2
        return half + ROUNDINGS * (eps * np.abs(exact).max(initial=0.0, where=np.isfinite(exact)) + wobble)


def beyond(ours: Any, theirs: Any, dtype: str, bound: Any) -> float:
    """Return the largest error as a part of the bound; infinite where shapes differ, or what is no number."""
    theirs = np.asarray(theirs)
    if ours.shape != theirs.shape:
        return np.inf
    if not dtype.startswith("fp"):
        theirs = settled(theirs, dtype)
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        error = np.where(same, 0.0, np.abs(a - b) / np.where(bound > 0, bound, 1e-300))
    return float(np.nan_to_num(error, nan=np.inf).max(initial=0.0))


def _wobble(
    kind: str, kernel: Callable[[Mapping[str, Any]], Arrays], given: Mapping[str, Any], exact: Arrays
) -> list[float]:
    """Return how far each result moves where the floats that go in are off by half a unit of float32.

    Each argument is moved by itself: two that cancel, a number and its mean, would hide each other.
    """
    moved = [0.0] * len(exact)
    if kind in _JUMPS:
        return moved
    random = np.random.default_rng(0)
    for name in (name for name, value in given.items() if _holds_floats(value)):
        by_one = [0.0] * len(exact)
        for _ in range(2):
            shaken = {**given, name: _shaken(given[name], random)}
            for i, (one, other) in enumerate(zip(kernel(shaken), exact, strict=True)):
                if one.dtype.kind == "f" and one.shape == other.shape:
                    with np.errstate(all="ignore"):
                        by_one[i] = max(by_one[i], float(np.nan_to_num(np.abs(one - other)).max(initial=0.0)))
        moved = [a + b for a, b in zip(moved, by_one, strict=True)]
    return [amount + 2.0**-24 * _cancelled(kind, given) for amount in moved]


def _cancelled(kind: str, given: Mapping[str, Any]) -> float:
    """Return the largest term of a formula whose terms may cancel in float32, as PyTorch has it too.

    A gelu multiplies x by 1 + erf(x), of which little may be left; a norm scales x and its mean, and subtracts.
    """
    if kind == "gelu":
        return float(np.abs(np.float64(given["x"])).max(initial=0.0))
    if kind not in _NORMS:
        return 0.0
    x = np.asarray(given["x"], np.float64)
    axes = _NORMS[kind](given)
    scale = np.abs(np.asarray(1.0 if given.get("gamma") is None else given["gamma"], np.float64)).max(initial=0.0)
    return float((np.abs(x) / np.sqrt(x.var(axes, keepdims=True) + given["epsilon"])).max(initial=0.0) * scale)


def _holds_floats(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds_floats(one) for one in value)
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f"


def _shaken(value: Any, random: np.random.Generator) -> Any:
    if isinstance(value, list):
        return [_shaken(one, random) for one in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return np.asarray(value, np.float64) * (1 + 2.0**-24 * random.choice([-1.0, 1.0], np.shape(value)))
    return value


def _kernel(
    kind: str, opset: str, results: Sequence[tuple[np.ndarray, str]]
) -> Callable[[Mapping[str, Any]], Arrays]:
    """Make the evaluator's kernel of an operation into a function of arrays that computes floats in float64."""
    kernel = find_operation(kind, opset)
    assert kernel is not None
    outputs = tuple(Value("", dtype, one.shape) for one, dtype in results)
    more = {"outputs": outputs} if kernel.wants_outputs else {}

    def run(given: Mapping[str, Any]) -> Arrays:
        arguments = {n: _as(kernel.parameters[n], v) for n, v in given.items() if v is not None}
        with torch.inference_mode():
            results = kernel.function(**arguments, **more)
        return [r.numpy().copy() for r in (results if isinstance(results, tuple) else (results,))]

    return run


def _as(wanted: Any, value: Any) -> Any:
    """Turn a value into what a kernel's parameter is annotated as."""
    if isinstance(value, list):
        return [_as(torch.Tensor, one) for one in value]
    if torch.Tensor in (wanted, *typing.get_args(wanted)):
        wide = np.asarray(value)
        wide = wide.astype({"f": np.float64, "b": np.bool_}.get(wide.dtype.kind, np.int32))
        return torch.from_numpy(np.ascontiguousarray(wide).reshape(wide.shape).copy())
    return (
        tuple(np.reshape(value, -1).tolist())
        if isinstance(value, np.ndarray | tuple) and np.ndim(value)
        else widened(value)
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype}{list(value.shape)} {np.array2string(value, threshold=60, precision=9)}"
    return repr(value)
