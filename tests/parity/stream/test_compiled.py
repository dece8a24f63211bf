"""A stream has its plans compiled from the first image on; a few images never: no answer depends on a count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parity.backends import coreml_evaluator
from parity.stream.engines import stream
from tests.parity.stream.jobs import SUITE, job_over, save_pictures, save_suite


@pytest.mark.parametrize(("images", "after"), [(64, None), (65, 0)])
def test_many_images_are_answered_by_compiled_plans(
    images: int, after: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    load = coreml_evaluator.load

    def noting(artifact: Any, batch: int = 1, compile_after: int | None = None) -> Any:
        asked.append(compile_after)
        return load(artifact, batch, compile_after)

    monkeypatch.setattr(coreml_evaluator, "load", noting)
    save_suite(tmp_path, SUITE.replace("onnx-torchscript", "mlprogram-fp32"))
    save_pictures(tmp_path / "pictures", images)

    run = stream(job_over(tmp_path / "pictures", tmp_path, backends=("coreml-evaluator",), batch=16)).run

    assert [s.verdict for s in run.subjects] == ["pass"]
    assert asked[0] == after
