from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.coreml.networks import close, run

_OUTPUTS = ("boxes_out", "scores_out", "indices", "count")
# Centres and sizes: the second box covers half of the first, the third stands alone, the fourth is in the first.
_BOXES = np.array([[[0.5, 0.5, 1, 1], [0.5, 0.75, 1, 0.5], [5, 5, 1, 1], [0.5, 0.5, 0.4, 0.4]]])
_SCORES = np.array([[[0.9, 0.1], [0.2, 0.8], [0.3, 0.4], [0.7, 0.6]]])


def _run(boxes: Any = _BOXES, scores: Any = _SCORES, given_: Any = None, **settings: Any) -> Any:
    """Run the layer; given_: the thresholds and the number of boxes as inputs, as many as there are."""
    extra = dict(zip(("overlap", "least", "most"), given_ or (), strict=False))

    def add(b: Any) -> None:
        b.add_nms("n", ["boxes", "scores", *extra], list(_OUTPUTS), **settings)

    return run(add, _OUTPUTS, boxes=boxes, scores=scores, **{name: [value] for name, value in extra.items()})


def test_the_best_remain_and_the_rest_is_filled_up() -> None:
    boxes, scores, indices, count = _run(iou_threshold=0.4, max_boxes=4)

    assert (indices.tolist(), count.tolist()) == ([[0, 3, 2, -1]], [3])
    close(boxes, [[*_BOXES[0, [0, 3, 2]], [0] * 4]])
    close(scores, [[*_SCORES[0, [0, 3, 2]], [0] * 2]])


@pytest.mark.parametrize(
    ("settings_", "indices"),
    [
        ({"iou_threshold": 0.6}, [0, 1, 3, 2]),  # the overlap is half
        ({"iou_threshold": 0.5}, [0, 1, 3, 2]),  # and has to be more than the threshold
        ({"iou_threshold": 0.1}, [0, 2, -1, -1]),
        ({"iou_threshold": 0.1, "per_class_suppression": True}, [0, 1, 2, -1]),
        ({"iou_threshold": 0.6, "score_threshold": 0.75}, [0, 1, -1, -1]),
        ({"iou_threshold": 0.6, "score_threshold": 2.0}, [0, -1, -1, -1]),  # the best in any case
    ],
)
def test_which_remain(settings_: Any, indices: list[int]) -> None:
    found = _run(max_boxes=4, **settings_)

    assert found[2].tolist() == [indices]
    assert found[3].tolist() == [sum(i >= 0 for i in indices)]


def test_of_many_the_best_are_taken() -> None:
    boxes, scores, indices, count = _run(iou_threshold=1.0, max_boxes=2)

    assert (boxes.shape, scores.shape, indices.tolist(), count.tolist()) == ((1, 2, 4), (1, 2, 2), [[0, 1]], [2])


@pytest.mark.parametrize(
    ("given_", "indices"), [([0.6], [[0, 1, 3]]), ([0.6, 0.85], [[0, -1, -1]]), ([0.6, 0.0, 1], [[0]])]
)
def test_inputs_stand_above_the_parameters(given_: Any, indices: Any) -> None:
    assert _run(given_=given_, iou_threshold=0.0, score_threshold=0.3, max_boxes=3)[2].tolist() == indices


def test_each_example_of_a_batch_is_chosen_from_alone() -> None:
    apart = _BOXES + np.arange(4)[None, :, None] * [10, 0, 0, 0]
    found = _run(np.concatenate([_BOXES, apart]), np.repeat(_SCORES, 2, 0), iou_threshold=0.1, max_boxes=4)

    assert found[2].tolist() == [[0, 2, -1, -1], [0, 1, 3, 2]]
    assert found[3].tolist() == [2, 4]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(0, 1), st.booleans())
def test_what_remains_is_what_the_definition_says(seed: int, overlap: float, least: float, per_class: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = rng.uniform(0.2, 1, (12, 4)).astype(np.float32), rng.uniform(size=(12, 3)).astype(np.float32)
    best, classes = scores.max(1), scores.argmax(1)
    overlaps = _overlaps(boxes.astype(np.float64))
    kept: list[int] = []
    for i in np.argsort(-best):
        if best[i] >= np.float32(least) and not any(
            overlaps[i, j] > np.float32(overlap) and (not per_class or classes[i] == classes[j]) for j in kept
        ):
            kept.append(int(i))
    kept = kept or [int(best.argmax())]

    found = _run(
        boxes[None], scores[None], iou_threshold=overlap, score_threshold=least, max_boxes=12,
        per_class_suppression=per_class,
    )  # fmt: skip

    assert found[2][0, : len(kept)].tolist() == kept
    assert found[3].tolist() == [len(kept)]


def _overlaps(boxes: np.ndarray) -> np.ndarray:
    """Divide what two boxes have in common by what they cover together, for every pair."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    common, areas = np.maximum(sides, 0).prod(-1), boxes[:, 2:].prod(-1)
    ratio: np.ndarray = common / (areas[:, None] + areas - common)
    return ratio
