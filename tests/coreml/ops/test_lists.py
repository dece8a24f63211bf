from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from parity.coreml.ops.lists import (
    TensorList,
    list_gather,
    list_length,
    list_read,
    list_scatter,
    list_write,
    make_list,
)
from tests.coreml.programs import Builder, run


def test_a_list_begins_with_zeros_and_grows_when_written_beyond_its_end() -> None:
    # Apple's test_control_flow.py, TestList.test_builder_to_backend_smoke.
    def body(x: Any, y: Any) -> Any:
        ls = Builder.make_list(init_length=2, elem_shape=(2,))
        first = Builder.list_read(ls=ls, index=0)
        ls = Builder.list_write(ls=ls, index=0, value=x)
        ls = Builder.list_write(ls=ls, index=4, value=y)
        ls = Builder.list_scatter(ls=ls, indices=[2, 1], value=np.float32([[-1, -2], [-4, -5]]))
        return (
            first,
            Builder.list_read(ls=ls, index=0),
            Builder.list_gather(ls=ls, indices=[4, 2, 3]),
            Builder.list_length(ls=ls),
        )

    for precision in ("fp32", "fp16"):
        found = run(body, np.float32([1, 3]), np.float32([2, 4]), precision=precision)
        assert [value.tolist() for value in found] == [[0, 0], [1, 3], [[2, 4], [-1, -2], [0, 0]], [5]]


def test_a_loop_appends() -> None:
    def program(x: Any, y: Any) -> Any:
        def body(i: Any, ls: Any) -> tuple[Any, Any]:
            element = Builder.mul(x=y, y=Builder.cast(x=i, dtype="fp32"))
            return Builder.add(x=i, y=np.int32(1)), Builder.list_write(ls=ls, index=i, value=element)

        _, ls = Builder.while_loop(
            _cond=lambda i, ls: Builder.less(x=Builder.cast(x=i, dtype="fp32"), y=x),
            _body=body,
            loop_vars=(np.int32(0), Builder.make_list(init_length=1, elem_shape=(2,))),
        )
        indices = Builder.range_1d(start=0, end=Builder.list_length(ls=ls), step=1)
        return Builder.list_gather(ls=ls, indices=indices)

    assert run(program, np.float32([3]), np.float32([1, 2]))[0].tolist() == [[0, 0], [1, 2], [2, 4]]


def test_a_written_value_stays_as_it_was() -> None:
    # relu may work in place where it is the last to read its input; here the list holds that input too.
    def program(x: Any) -> Any:
        y = Builder.mul(x=x, y=np.float32(2))
        ls = Builder.list_write(ls=Builder.make_list(init_length=1, elem_shape=(2,)), index=0, value=y)
        z = Builder.relu(x=y)
        return z, Builder.list_read(ls=ls, index=0)

    assert [value.tolist() for value in run(program, np.float32([-1, 2]))] == [[0, 4], [-2, 4]]


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers)


def test_a_list_is_not_changed_by_writing() -> None:
    before = make_list(elem_shape=[2])
    list_write(before, 0, row(1, 2))

    assert list_read(before, 0).tolist() == [0, 0]


def test_an_open_shape_is_told_by_the_first_element() -> None:
    ls = make_list(init_length=2, elem_shape=["i0", 2])
    assert list_read(ls, 0).shape == (1, 2)

    assert list_read(list_write(ls, 1, torch.ones(3, 2)), 0).shape == (3, 2)


def test_an_empty_gather_has_the_elements_shape() -> None:
    assert list_gather(make_list(elem_shape=[3, 2]), ()).shape == (0, 3, 2)


def test_elements_have_the_lists_type() -> None:
    assert list_read(make_list(elem_shape=[1], dtype="int32"), 0).dtype == torch.int32
    assert list_read(make_list(elem_shape=[1], dtype="bool"), 0).dtype == torch.bool


def test_a_huge_list_takes_no_memory() -> None:
    ls = list_write(make_list(init_length=2**31 - 2, elem_shape=[2]), 2**31 - 2, row(1, 2))

    assert list_length(ls).item() == 2**31 - 1
    assert list_gather(ls, (2**31 - 2, 5)).tolist() == [[1, 2], [0, 0]]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda ls: list_read(ls, 2), "index 2 into a list of 2"),
        (lambda ls: list_read(ls, -1), "index -1 into a list of 2"),
        (lambda ls: list_gather(ls, (0, 7)), "index 7 into a list of 2"),
        (lambda ls: list_write(ls, -1, row(1)), "index -1 into a list of 2"),
        (lambda ls: list_write(ls, 2, row(1)), "index 2 into a list of 2 .* cannot grow"),
        (lambda ls: list_scatter(ls, (0, 1), row(1, 2, 3)), "zip"),
    ],
)
def test_what_a_list_refuses(action: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        action(make_list(init_length=2, dynamic_length=False, elem_shape=[]))


@pytest.mark.parametrize(("length", "dtype"), [(-1, "fp32"), (1, "fp8")])
def test_a_list_that_cannot_be_made(length: int, dtype: str) -> None:
    with pytest.raises(ValueError, match=rf"a list of {length} element\(s\) of the type {dtype}"):
        make_list(init_length=length, elem_shape=[1], dtype=dtype)


def test_a_read_beyond_the_end_names_the_operation() -> None:
    def body(x: Any) -> Any:
        ls = Builder.list_write(ls=Builder.make_list(init_length=2, elem_shape=(1,)), index=0, value=x)
        return Builder.list_read(ls=ls, index=7)

    with pytest.raises(CoreMLError, match=r"\(list_read\) fails: index 7 into a list of 2 element\(s\)"):
        run(body, np.float32([1]))


@settings(max_examples=40)
@given(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 6), st.integers(-9, 9)), max_size=8))
def test_a_list_does_what_pythons_does(length: int, writes: list[tuple[int, int]]) -> None:
    ls: TensorList = make_list(init_length=length, elem_shape=[])
    expected = [0] * length
    for index, number in writes:
        ls = list_write(ls, index, torch.tensor(float(number)))
        expected += [0] * (index + 1 - len(expected))
        expected[index] = number

    assert list_length(ls).item() == len(expected)
    assert [list_read(ls, index).item() for index in range(len(expected))] == expected
