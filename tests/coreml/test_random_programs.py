"""A sample of the random programs of `make fuzz`, and that their checks see a kernel that is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings

from parity.coreml.registry import operations
from tests.coreml.programs import Builder, folded
from tests.coreml.random_programs.checking import DisagreementError, Tally, allowed, beyond, check
from tests.coreml.random_programs.drawing import FEWEST, GENERATORS, MOST, kinds, programs
from tests.coreml.random_programs.folding_faults import FAULTS, Fault, fault_of
from tests.coreml.random_programs.program import OPSETS, Program, Ref, Step, fold
from tests.coreml.random_programs.run import main, report, run_seed
from tests.coreml.random_programs.twins import settled, twins

CI = settings(settings.get_profile("ci"), max_examples=200)


def search(*only: str, examples: int = 60, phases: tuple[Phase, ...] = (Phase.generate,)) -> Tally:
    """Check random programs of these operations."""
    tally = Tally()

    @settings(settings.get_profile("ci"), max_examples=examples, phases=phases, print_blob=False)
    @given(programs(only))
    def each(program: Program) -> None:
        tally.add(check(program))

    each()
    return tally


def test_two_hundred_programs_agree() -> None:
    tally = Tally()

    @CI
    @given(programs())
    def each(program: Program) -> None:
        assert FEWEST <= len(program.steps) <= MOST
        tally.add(check(program))

    each()
    assert tally.programs >= 200
    assert set(tally.opsets) == set(OPSETS)
    assert {"fp16", "fp32", "int32", "bool"} < set(tally.types)
    assert min(tally.oracles[name] for name in ("twin", "precise", "folded", "predicted")) > 300
    assert len(tally.operations) > 90
    assert max(tally.worst.values()) <= 1


def test_every_operation_that_is_drawn_has_a_twin_and_a_kernel() -> None:
    drawn = {kind for opset in OPSETS for kind in kinds(opset)}

    assert len(drawn) > 140
    assert drawn == set(GENERATORS) == set(twins())
    assert drawn <= set(operations())


# Kernels that are broken on purpose


BROKEN: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "layer_norm": lambda right: lambda epsilon=0.0, **rest: right(epsilon=2 * epsilon, **rest),
    "batch_norm": lambda right: lambda epsilon=0.0, **rest: right(epsilon=1.01 * epsilon, **rest),
    "pad": lambda right: (
        lambda mode="constant", **rest: right(mode={"reflect": "replicate"}.get(mode, mode), **rest)
    ),
    "softmax": lambda right: lambda x, axis: right(x, 0),
    "reduce_sum": lambda right: lambda x, axes=None, keep_dims=False: right(x, axes and axes[:1], keep_dims),
    "reduce_mean": lambda right: (
        lambda x, **rest: right(x.half().to(x.dtype) if x.is_floating_point() else x, **rest)
    ),
    "conv": lambda right: (
        lambda pad_type, **rest: right(pad_type={"same": "same_lower"}.get(pad_type, pad_type), **rest)
    ),
    "avg_pool": lambda right: (
        lambda exclude_padding_from_average=False, **rest: right(exclude_padding_from_average=False, **rest)
    ),
    "gelu": lambda right: lambda x, mode: F.gelu(x, approximate="tanh"),
    "argsort": lambda right: lambda ascending=False, **rest: right(ascending=not ascending, **rest),
    "topk": lambda right: lambda x, **rest: right(x.flip(-1), **rest),
    "cast": lambda right: lambda x, dtype: right(x.round() if x.is_floating_point() else x, dtype),
    "cumsum": lambda right: lambda reverse=False, **rest: right(reverse=False, **rest),
    "resize_bilinear": lambda right: (
        lambda sampling_mode, **rest: right(
            sampling_mode="UNALIGN_CORNERS" if sampling_mode == "DEFAULT" else sampling_mode, **rest
        )
    ),
    "floor_div": lambda right: lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    "scatter_nd": lambda right: lambda mode="add", **rest: right(mode={"sub": "add"}.get(mode, mode), **rest),
    "slice_by_index": lambda right: lambda end_mask=None, **rest: right(end_mask=None, **rest),
    "quantize": lambda right: lambda input, scale, **rest: right(input=input + scale / 100, scale=scale, **rest),  # noqa: A006
    "round": lambda right: lambda x: (x + 0.5).floor(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_kernel_is_seen(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for since, kernel in operations()[kind].items():
        broken = replace(kernel, function=BROKEN[kind](kernel.function), inplace=None, prepare=None)
        monkeypatch.setitem(operations()[kind], since, broken)  # type: ignore[arg-type]

    with pytest.raises(DisagreementError, match=kind):
        search(kind, "abs")


def test_a_kernel_that_overwrites_wrongly_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = operations()["sigmoid"]["iOS15"]
    monkeypatch.setitem(operations()["sigmoid"], "iOS15", replace(kernel, inplace=torch.tanh_))  # type: ignore[arg-type]

    with pytest.raises(DisagreementError, match="predict and trace differ"):
        search("sigmoid", "tanh")


def test_a_result_that_is_not_rounded_to_its_type_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = operations()["tanh"]["iOS15"]
    wrong = replace(kernel, exact=True, inplace=None)
    monkeypatch.setitem(operations()["tanh"], "iOS15", wrong)  # type: ignore[arg-type]

    with pytest.raises(DisagreementError, match="holds what is no fp16"):
        search("tanh")


def test_sums_in_fp16_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = operations()["linear"]["iOS15"]

    def in_fp16(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        products = x[..., None, :] * weight
        total = torch.zeros_like(products[..., 0])
        for column in products.unbind(-1):
            total = (total + column).half().to(x.dtype)
        return total if bias is None else total + bias

    wrong = replace(kernel, function=in_fp16, prepare=None)
    monkeypatch.setitem(operations()["linear"], "iOS15", wrong)  # type: ignore[arg-type]
    with pytest.raises(DisagreementError, match="linear"):
        search("linear")


def test_a_failure_tells_the_program_the_operation_its_inputs_and_both_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = operations()["square"]["iOS15"]
    wrong = replace(kernel, function=lambda x: x * x * 1.01)
    monkeypatch.setitem(operations()["square"], "iOS15", wrong)  # type: ignore[arg-type]

    tally, failure = run_seed(0, 20, ("square", "relu"))

    for part in ("seed 0: DisagreementError", "= square(x=%", "  x = ", "  evaluator: ", "  twin: "):
        assert part in failure
    # Shrunk to the fewest operations.
    assert failure.count(" = square(") + failure.count(" = relu(") == FEWEST
    assert failure in report(tally, [failure], 0.0)


# The bound


def test_half_a_unit_in_the_last_place_is_allowed_and_not_much_more() -> None:
    exact = np.array([1.0, 100.0])
    bound = allowed(exact, "fp16", 0.0, 2.0**-24, "add")

    assert beyond(np.array([1.0, 100.03], np.float16), exact, "fp16", bound) < 1
    assert beyond(np.array([1.001, 100.0], np.float16), exact, "fp16", bound) > 1
    assert beyond(np.array([np.nan, 100.0], np.float16), exact, "fp16", bound) == np.inf
    assert beyond(np.array([1.0], np.float16), exact, "fp16", bound) == np.inf


X = np.full((1, 1, 1), 0.3, np.float32)
ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("step", "inputs"),
    [
        # A number that is the mean: x * scale and beta - mean * scale cancel to a rounding of one of them.
        (
            Step("batch_norm", {"x": Ref("x"), "mean": X[0, 0], "variance": ONE, "epsilon": np.float32(0.16)}),
            {"x": X},
        ),
        # A single element less its mean: both are scaled first.
        (
            Step("instance_norm", {"x": Ref("x"), "epsilon": np.float32(0.16)}),
            {"x": np.array([1.1, -1.8417063], np.float32).reshape(2, 1, 1)},
        ),
        # The tail of a gelu: 1 + erf(x) of which only roundings are left.
        (Step("gelu", {"x": Ref("x"), "mode": "EXACT"}), {"x": np.array([-3.879, -2.055], np.float16)}),
    ],
)
def test_what_cancels_in_float32_is_no_disagreement(step: Step, inputs: dict[str, np.ndarray]) -> None:
    step = replace(step, outputs=("y",), dtypes=("fp16" if inputs["x"].dtype == np.float16 else "fp32",))

    assert check(Program("iOS15", inputs, (step,), ("y",))).operations == {step.type: 1}


def test_integers_are_compared_to_the_last() -> None:
    assert beyond(np.array([3]), np.array([3.9]), "int32", 0.0) == 0
    assert beyond(np.array([3]), np.array([4.0]), "int32", 0.0) > 1


def test_a_result_is_rounded_once_or_cut() -> None:
    # 2049 lies between two fp16 numbers, and the even one is taken; 1 + 2^-11 + 2^-40 lies above a tie.
    np.testing.assert_array_equal(settled(np.array([2049.0, 1 + 2**-11 + 2**-40]), "fp16"), [2048, 1 + 2**-10])
    np.testing.assert_array_equal(settled(np.array([-1.9, 300.0]), "int8"), [-1, 44])
    np.testing.assert_array_equal(settled(np.array([0.5, 0.0]), "bool"), [True, False])


# What coremltools folds wrongly


def _wrongly_folded(fault: Fault) -> tuple[str, dict[str, Any], Any]:
    """Return an opset, arguments that coremltools folds wrongly, and the right answer."""
    x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    cases: dict[str, tuple[str, dict[str, Any], Any]] = {
        "argsort": ("iOS15", {"x": np.array([2, 1] * 40, np.int32), "axis": 0, "ascending": True}, None),
        "concat": ("iOS15", {"values": [x, -x], "axis": 0, "interleave": True}, [x[0], -x[0], x[1], -x[1]]),
        "cumsum": ("iOS15", {"x": x, "axis": 0, "exclusive": True, "reverse": False}, [[0, 0], [1, 2]]),
        "flatten2d": ("iOS15", {"x": x, "axis": 0}, [[1, 2, 3, 4]]),
        "slice_by_index": (
            "iOS17",
            {"x": np.array([7, 9], np.int8), "begin": (1,), "end": (2,), "squeeze_mask": (True,)},
            9,
        ),
        "softplus_parametric": (
            "iOS15",
            {"x": np.full((1, 1, 1), 100, np.float32), **dict.fromkeys(("alpha", "beta"), np.ones(1, np.float32))},
            [[[100.0]]],
        ),
        "gather": (
            "iOS16",
            {"x": x, "indices": np.array([[1], [0]], np.int32), "axis": -1, "batch_dims": 1},
            [[2], [3]],
        ),
        "topk": ("iOS15", {"x": np.array([2, 1] * 40, np.int32), "k": 80, "axis": 0, "ascending": True}, None),
        "topk, unsigned": (
            "iOS17",
            {"x": np.array([10, 0], np.uint8), "k": 2, "axis": 0, "ascending": False},
            [0, 1],
        ),
        "scatter_along_axis": (
            "iOS15",
            {"data": x, "indices": np.array([[1, 0]], np.int32), "updates": x[:1], "axis": 0, "mode": "add"},
            [[1, 4], [4, 4]],
        ),
    }
    return cases[_case(fault)]


def _case(fault: Fault) -> str:
    return f"{fault.kind}, unsigned" if fault.reason.startswith("unsigned") else fault.kind


@pytest.mark.parametrize("fault", FAULTS, ids=_case)
def test_each_fault_of_coremltools_is_one(fault: Fault) -> None:
    """A fault that a new version of coremltools mends is to be taken out of the table."""
    kind = fault.kind
    opset, arguments, right = _wrongly_folded(fault)
    refs = {
        name: [Ref(f"{name}{i}") for i in range(len(v))] if isinstance(v, list) else Ref(name)
        for name, v in arguments.items()
        if isinstance(v, np.ndarray | list)
    }
    values: dict[str, np.ndarray] = {n: v for n, v in arguments.items() if isinstance(v, np.ndarray)}
    values |= {f"{n}{i}": one for n, v in arguments.items() if isinstance(v, list) for i, one in enumerate(v)}
    if right is None:
        right = np.argsort(arguments["x"], kind="stable")
    try:
        answer = fold(Step(kind, arguments | refs), opset, values)[-1]
    except (TypeError, ValueError):
        answer = None
    assert fault_of(kind, arguments)
    assert answer is None or not np.array_equal(answer, right)


def test_coremltools_writes_over_a_constant_that_it_folds() -> None:
    """This is why `fold` gives it copies."""

    def body(x: np.ndarray) -> Any:
        shared = Builder.const(val=x)
        return Builder.thresholded_relu(x=shared, alpha=1.5), Builder.identity(x=shared)

    _, unchanged = folded(body, np.array([1.0, 2.0], np.float32))

    assert unchanged.tolist() == [0.0, 2.0]


# The command


def test_the_command_counts_and_says_by_its_exit_code_whether_all_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--programs", "3", "--first", "5", "--workers", "1"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3 programs, ")
    assert [line.split(":")[0] for line in lines[1:4]] == ["oracles", "opsets", "types"]


def test_the_command_ends_with_1_at_a_disagreement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "tests.coreml.random_programs.run.run_all",
        lambda *_: iter([(Tally(programs=1), "seed 7: DisagreementError: odd")]),
    )

    assert main(["--programs", "1"]) == 1
    assert "seed 7: DisagreementError: odd" in capsys.readouterr().out
