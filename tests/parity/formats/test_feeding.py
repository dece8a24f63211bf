"""How many images go in at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion import Artifact, convert
from conversion.shapes import Axis, InputShapes
from parity import check
from parity.backends import Predict, onnxruntime
from parity.core.errors import ParityError
from parity.formats.feeding import fitting_batch
from parity.stream.running import run_shard
from tests.parity.stream.jobs import job_over
from tests.parity.tiny import converted, pictures, tiny

PIXELS = np.zeros((4, 32, 32, 3), np.uint8)


def test_a_batch_is_at_most_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    load = onnxruntime.load

    def spied(artifact: Artifact, batch: int = 1, **options: Any) -> Predict:
        batches.append(batch)
        return load(artifact, batch, **options)

    monkeypatch.setattr(onnxruntime, "load", spied)
    run = check(tiny(), converted("onnx"), pictures(), ["onnxruntime"], batch=10**7)
    assert [subject.verdict for subject in run.subjects] == ["pass"]
    assert batches == [6]


def test_a_file_that_takes_one_batch_alone_gets_it(tmp_path: Path) -> None:
    eight = convert(tiny(), "mlprogram-fp32", tmp_path, dynamic="batch", bounds=(8, 8))
    assert fitting_batch(PIXELS, 8, eight) == 8
    assert fitting_batch(PIXELS, 10**7, eight) == 4  # refused, for neither is taken
    assert fitting_batch(PIXELS, 2, converted("onnx")) == 2


@pytest.mark.parametrize("batch", [0, -1, 2**63, 2.0, True, "4"])
def test_what_is_no_number_of_images_is_refused(batch: Any) -> None:
    with pytest.raises(
        ParityError, match=r"a batch of .*: give how many images go in at once, from 1 to 2147483647"
    ):
        check(tiny(), converted("onnx"), pictures(), batch=batch)


@pytest.mark.parametrize(
    ("batches", "most", "images", "count"),
    [
        ([Axis(1, None)], 10**12, 6, 6),
        ([Axis(1, None)], 4, 6, 4),
        ([Axis(1, 16)], 32, 100, 16),
        ([Axis(32, 32)], 32, 6, 32),
        ([Axis(32, 32)], 16, 6, None),
        ([Axis(1, 1), Axis(8, 8)], 10, 6, 1),
        ([Axis(1, 1), Axis(8, 8)], 4, 6, 1),
        ([], 4, 6, None),
    ],
)
def test_as_many_as_the_file_takes(batches: list[Axis], most: int, images: int, count: int | None) -> None:
    others = (Axis(3, 3), Axis(32, 32), Axis(32, 64))
    shapes = InputShapes(tuple((batch, *others) for batch in batches))
    assert shapes.images_at_once(most, images, (32, 48)) == count
    assert shapes.images_at_once(most, images, (32, 65)) is None


def test_a_streamed_batch_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="a batch of 0"):
        run_shard(job_over(tmp_path, tmp_path, batch=0))
