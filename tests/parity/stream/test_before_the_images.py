"""What a streamed run finds before the images: a fault that compression would hide, a task that it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.core.errors import ParityError
from parity.stream.engines import stream
from parity.stream.job import Job
from tests.parity.shipping import PHOTOS, lay_out_shipping
from tests.parity.stream.jobs import job_over, save_pictures, save_suite


@pytest.mark.parametrize(("edit", "verdict"), [("nothing", "pass"), ("scalar std", "fail")])
def test_what_compression_would_hide_fails(edit: str, verdict: str, tmp_path: Path) -> None:
    suite = lay_out_shipping(tmp_path, "callable", edit)
    job = Job(suite, PHOTOS, backends=("coreml-evaluator",), artifacts=tmp_path / "artifacts")

    (subject,) = stream(job).run.subjects

    assert subject.verdict == verdict, subject.reason
    if verdict == "fail":
        assert "but these are PyTorch's own" in subject.reason
        assert [d.fault for d in subject.diagnoses if d.confirmed] == ["pre-scalar-std"]


def test_labels_that_are_judged_apart_are_refused_in_one_line(tmp_path: Path) -> None:
    place = tmp_path / "suite"
    suite = save_suite(place)
    with (place / "models.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef apart():\n    return replace(tiny(), sigmoid='added')\n")
    suite.write_text(
        'images = ["own/*.png"]\n\n[models.apart]\nfactory = "models.py:apart"\nroutes = ["onnx-torchscript"]\n',
        encoding="utf-8",
    )

    with pytest.raises(ParityError, match="apart: its labels are judged apart .* run without --images"):
        stream(job_over(save_pictures(tmp_path / "pictures"), place, models=("apart",)))
