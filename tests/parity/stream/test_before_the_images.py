"""What a streamed run finds before the images: a fault that compression would hide."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.stream.engines import stream
from parity.stream.job import Job
from tests.parity.shipping import PHOTOS, lay_out_shipping


@pytest.mark.parametrize(("edit", "verdict"), [("nothing", "pass"), ("scalar std", "fail")])
def test_what_compression_would_hide_fails(edit: str, verdict: str, tmp_path: Path) -> None:
    suite = lay_out_shipping(tmp_path, "callable", edit)
    job = Job(suite, PHOTOS, backends=("coreml-evaluator",), artifacts=tmp_path / "artifacts")

    (subject,) = stream(job).run.subjects

    assert subject.verdict == verdict, subject.reason
    if verdict == "fail":
        assert "but these are PyTorch's own" in subject.reason
        assert [d.fault for d in subject.diagnoses if d.confirmed] == ["pre-scalar-std"]
