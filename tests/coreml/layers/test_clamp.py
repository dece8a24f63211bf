from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from parity.coreml.layers.clamp import Clamp

_LIMITS = st.one_of(st.sampled_from([-math.inf, 0.0, math.inf]), st.floats(-3, 3, width=32))
_CLAMPS = st.builds(Clamp, st.sampled_from([1, -1]), _LIMITS, _LIMITS)
_X = torch.linspace(-4, 4, 65)


def _by_hand(clamp: Clamp, x: float) -> float:
    return clamp.sign * min(max(x, clamp.low), clamp.high)


@given(_CLAMPS)
def test_run_and_inplace_are_the_formula(clamp: Clamp) -> None:
    expected = [_by_hand(clamp, x) for x in _X.tolist()]

    assert clamp.run(_X).tolist() == expected
    assert clamp.inplace(_X.clone()).tolist() == expected


@given(_CLAMPS, _CLAMPS)
def test_after_is_one_function_of_the_other(second: Clamp, first: Clamp) -> None:
    expected = [_by_hand(second, _by_hand(first, x)) for x in _X.tolist()]

    assert [_by_hand(second.after(first), x) for x in _X.tolist()] == expected


def test_a_number_that_is_none_stays_one() -> None:
    assert torch.isnan(Clamp(-1, 0.0, 6.0).run(torch.tensor([math.nan]))).all()
