from __future__ import annotations

from typing import Any

import numpy as np

from tests.coreml.programs import Builder, call, folded, run


def test_select_broadcasts_all_three() -> None:
    cond = np.array([[True], [False]])
    a, b = np.float32([1, 2, 3]), np.float32([[-1], [-2]])

    assert call("select", cond=cond, a=a, b=b).tolist() == [[1, 2, 3], [-2, -2, -2]]


def test_select_agrees_with_what_coremltools_folds_in_fp16_too() -> None:
    x = np.float32([-1.5, 0, 2.5, 70000])

    def body(x: Any) -> Any:
        return Builder.select(cond=Builder.greater(x=x, y=np.float32(0)), a=x, b=np.float32([7, 7, 7, 7]))

    np.testing.assert_array_equal(run(body, x)[0], folded(body, x)[0])
    np.testing.assert_array_equal(run(body, x, precision="fp16")[0], [7, 7, 2.5, np.inf])
