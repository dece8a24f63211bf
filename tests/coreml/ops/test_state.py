from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conversion.guards.quiet import chatter_to
from parity.core.errors import CoreMLError
from parity.coreml import Evaluator, patch_coremltools
from parity.coreml.program import Value
from parity.coreml.running.state import Cell
from tests.coreml.programs import Builder, call, ct, evaluator, types

with chatter_to():
    from coremltools.converters.mil.mil import Function, Program


def stateful(body: Any, shape: tuple[int, ...] = (2,), placeholders: dict[str, Any] | None = None) -> Any:
    """Convert a function of the state `s` and the fp16 input `x`, both of this shape."""
    inputs = placeholders or {
        "s": Builder.state_tensor_placeholder(shape=shape, dtype=types.fp16),
        "x": Builder.placeholder(shape=shape, dtype=types.fp16),
    }
    program = Program()
    with chatter_to():
        with Function(inputs, opset_version=ct.target.iOS18) as function:
            results = body(**function.inputs)
            function.set_outputs(list(results) if isinstance(results, tuple) else [results])
            program.add_function("main", function)
        return ct.convert(
            program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18, skip_model_load=True
        )


def accumulate(s: Any, x: Any) -> Any:
    """Add x to the state; return what it was and what it is."""
    before = Builder.read_state(input=s)
    return before, Builder.coreml_update_state(state=s, value=Builder.add(x=before, y=x))


@pytest.fixture(scope="module")
def model() -> Any:
    return stateful(accumulate)


@pytest.fixture(scope="module")
def accumulator(model: Any) -> Evaluator:
    return Evaluator(model)


def test_a_state_lives_from_one_prediction_to_the_next(accumulator: Evaluator) -> None:
    state = accumulator.make_state()
    found = [list(accumulator.predict({"x": np.full(2, n)}, state).values()) for n in (1, 5, -2)]

    assert [[v.tolist() for v in pair] for pair in found] == [
        [[0, 0], [1, 1]],
        [[1, 1], [6, 6]],
        [[6, 6], [4, 4]],
    ]


def test_two_states_know_nothing_of_each_other(accumulator: Evaluator) -> None:
    first, second = accumulator.make_state(), accumulator.make_state()
    accumulator.predict({"x": np.ones(2)}, first)

    assert first.read_state("s").tolist() == [1, 1]
    assert second.read_state("s").tolist() == [0, 0]


def test_a_state_is_rounded_to_fp16(accumulator: Evaluator) -> None:
    state = accumulator.make_state()
    state.write_state("s", np.float32([0.1, 1e6]))

    read = state.read_state("s")
    assert read.dtype == np.float32
    assert read.tolist() == [float(np.float16(0.1)), np.inf]


def test_what_was_read_and_written_is_the_callers_own(accumulator: Evaluator) -> None:
    state = accumulator.make_state()
    given = np.float32([1, 2])
    state.write_state("s", given)
    given[:] = 7
    state.read_state("s")[:] = 8
    before, after = accumulator.predict({"x": np.zeros(2)}, state).values()
    before[:], after[:] = 9, 9

    assert state.read_state("s").tolist() == [1, 2]


def test_a_trace_starts_afresh(accumulator: Evaluator) -> None:
    state = accumulator.make_state()
    accumulator.predict({"x": np.ones(2)}, state)

    traced = [value.tolist() for value in accumulator.trace({"x": np.float16([3, 4])}).values()]

    assert [0, 0] in traced
    assert [3, 4] in traced
    assert state.read_state("s").tolist() == [1, 1]


def test_a_write_whose_result_nobody_reads_is_kept() -> None:
    def body(s: Any, x: Any) -> Any:
        Builder.coreml_update_state(state=s, value=Builder.mul(x=x, y=np.float16(2)))
        return Builder.add(x=x, y=np.float16(1))

    model = Evaluator(stateful(body))
    state = model.make_state()
    model.predict({"x": np.float16([1, 2])}, state)

    assert state.read_state("s").tolist() == [2, 4]


def test_a_loop_reads_and_writes_a_state() -> None:
    def body(s: Any, x: Any) -> Any:
        def turn(n: Any) -> Any:
            value = Builder.add(x=Builder.read_state(input=s), y=x)
            Builder.coreml_update_state(state=s, value=value)
            return Builder.add(x=n, y=np.float16(1))

        # coremltools drops a loop that nothing reads.
        turns = Builder.while_loop(
            _cond=lambda n: Builder.less(x=n, y=np.float16(4)), _body=turn, loop_vars=(np.float16(0),)
        )
        return Builder.add(x=Builder.read_state(input=s), y=turns)

    model = Evaluator(stateful(body))
    (found,) = model.predict({"x": np.float16([1, 2])}, model.make_state()).values()

    assert found.tolist() == [4 + 4, 8 + 4]


def test_through_coremltools(model: Any) -> None:
    with patch_coremltools():
        loaded = ct.models.MLModel(model.get_spec(), weights_dir=model.weights_dir)
        state = loaded.make_state()
        state.write_state("s", np.float32([1, 2]))
        found = loaded.predict({"x": np.float32([1, 1])}, state=state)

        assert [value.tolist() for value in found.values()] == [[1, 2], [2, 3]]
        assert state.read_state("s").tolist() == [2, 3]
        with pytest.raises(RuntimeError, match="no state `ghost`; the model has s"):
            state.read_state("ghost")
        with pytest.raises(RuntimeError, match="the state `s` has the shape"):
            state.write_state("s", np.ones(3))
        with pytest.raises(RuntimeError, match="keeps the state `s`"):
            loaded.predict({"x": np.float32([1, 1])})


def test_what_is_refused(accumulator: Evaluator, model: Any) -> None:
    x = {"x": np.ones(2)}
    other = Evaluator(stateful(accumulate, shape=(3,)))
    stateless = evaluator(lambda x: Builder.relu(x=x), (2,))

    with pytest.raises(CoreMLError, match=r"keeps the state `s`; make one with make_state\(\)"):
        accumulator.predict(x)
    with pytest.raises(CoreMLError, match="this state is not of this model"):
        accumulator.predict(x, other.make_state())
    with pytest.raises(CoreMLError, match="this state is not of this model"):
        accumulator.predict(x, "state")  # type: ignore[arg-type]
    with pytest.raises(CoreMLError, match="this state is not of this model"):
        stateless.predict({"x": np.ones(2)}, accumulator.make_state())
    with pytest.raises(CoreMLError, match="goes with one dictionary of inputs, not with a list"):
        accumulator.predict([x], accumulator.make_state())  # type: ignore[call-overload]
    with pytest.raises(CoreMLError, match="declares no state"):
        stateless.make_state()
    with pytest.raises(CoreMLError, match="writing the state `s`: .*could not convert"):
        accumulator.make_state().write_state("s", "text")


def test_a_state_that_only_the_description_has_is_refused(model: Any) -> None:
    specification = model.get_spec()
    specification.description.state[0].name = "t"

    class Damaged:
        weights_dir = model.weights_dir

        def get_spec(self) -> Any:
            return specification

    with pytest.raises(CoreMLError, match="the state `s` stands only in the description or only in the program"):
        Evaluator(Damaged())


def test_write_state_alone() -> None:
    cell = Cell(Value("s", "fp16", (2,), state=True), torch.zeros(2))

    assert call("write_state", input=cell, data=np.float32([1, 2])) == ()
    assert call("read_state", input=cell).tolist() == [1, 2]
    assert call("coreml_update_state", state=cell, value=np.float32([3, 4])).tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"the shape \(2,\), the value \(3,\)"):
        call("write_state", input=cell, data=np.float32([1, 2, 3]))
