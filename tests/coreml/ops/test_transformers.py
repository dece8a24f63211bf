from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.coreml.programs import Builder, call, folded, run

_RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape).astype(np.float32)


def _attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, score: np.ndarray | float = 0) -> np.ndarray:
    similarity = query.astype(np.float64) @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1]) + score
    weights = np.exp(similarity - similarity.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


@pytest.mark.parametrize("batch", [(2,), (2, 3), (1, 2, 3)])
def test_attention_averages_values_by_similarity(batch: tuple[int, ...]) -> None:
    query, key, value = _normal(*batch, 4, 8), _normal(*batch, 5, 8), _normal(*batch, 5, 6)

    found = call("scaled_dot_product_attention", query=query, key=key, value=value)

    np.testing.assert_allclose(found, _attention(query, key, value), rtol=1e-4, atol=1e-5)


def test_a_mask_leaves_keys_out_or_adds_to_the_score() -> None:
    query, key, value = _normal(2, 3, 4, 8), _normal(2, 3, 5, 8), _normal(2, 3, 5, 6)
    allowed, score = np.array([[True, False, True, True, False]] * 4), _normal(4, 5)
    given = {"query": query, "key": key, "value": value}

    masked = call("scaled_dot_product_attention", attn_mask=allowed, **given)
    shifted = call("scaled_dot_product_attention", attn_mask=score, **given)

    left_out = np.where(allowed, 0, -np.inf)
    np.testing.assert_allclose(masked, _attention(query, key, value, left_out), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shifted, _attention(query, key, value, score), rtol=1e-4, atol=1e-5)


def test_a_program_agrees_with_what_coremltools_folds() -> None:
    arrays = _normal(1, 4, 8), _normal(1, 5, 8), _normal(1, 5, 6), _normal(4, 5)

    def body(query: Any, key: Any, value: Any, mask: Any) -> Any:
        return Builder.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=mask)

    (wanted,) = folded(body, *arrays, target="iOS18")

    np.testing.assert_allclose(run(body, *arrays, target="iOS18")[0], wanted, rtol=1e-4, atol=1e-5)
    (rounded,) = run(body, *arrays, target="iOS18", precision="fp16")
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16))
    np.testing.assert_allclose(rounded, wanted, rtol=5e-3, atol=5e-3)
