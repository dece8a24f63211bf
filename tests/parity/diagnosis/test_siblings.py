"""What agrees beside what fails: units and systems of one file, and other files of one model."""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from conversion import Artifact
from conversion.artifact import open_artifact
from conversion.deployed import deployed_module, example_pixels
from parity.artifacts.causes import look_into
from parity.artifacts.record_file import record
from parity.backends import coreml_evaluator, coreml_native
from parity.core.compare import explain_failure
from parity.core.results import Run, Subject
from parity.diagnosis.siblings import Sibling, with_siblings
from parity.pipeline import check
from parity.suite.records import to_json
from tests.parity.diagnosis.faulty import _home, broken, good, node
from tests.parity.test_injected_faults import BGR
from tests.parity.tiny import save_pictures, tiny


@cache
def images() -> Path:
    return save_pictures(_home() / "pictures")


@cache
def artifact() -> Artifact:
    return good("mlprogram-fp32", tiny)


def flattened(prediction: dict[str, Any]) -> None:
    """Bring probabilities a fifth nearer to an even answer."""
    probabilities = prediction["probabilities"]
    prediction["probabilities"] = {label: 0.8 * p + 0.2 / len(probabilities) for label, p in probabilities.items()}


def record_of(
    path: Path, unit: str, wrong: bool = False, system: str = "macOS 15.1 arm64", pixels: str | None = None
) -> Path:
    """Write what a Mac would have recorded."""
    path.write_text(to_json(record([artifact().path], [str(images())])), encoding="utf-8")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["environment"]["platform"] = system
    (one,) = content["records"]
    one |= {"backend": "coreml-native", "compute_unit": unit}
    for prediction in one["predictions"]:
        prediction["pixels"] = pixels or prediction["pixels"]
        if wrong:
            flattened(prediction)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def checked(*records: Path, backends: list[str] | None = None) -> dict[str, Subject]:
    run = check(tiny(), artifact(), str(images()), backends=backends, records=records)
    return {subject.backend: subject for subject in run.subjects}


def causes(subject: Subject) -> list[tuple[str, bool]]:
    return [(diagnosis.fault, diagnosis.confirmed) for diagnosis in subject.diagnoses]


def test_one_unit_agrees_and_another_does_not(tmp_path: Path) -> None:
    subjects = checked(
        record_of(tmp_path / "cpu.json", "CPU_ONLY"), record_of(tmp_path / "all.json", "ALL", wrong=True)
    )

    assert (subjects["recorded-cpu"].verdict, subjects["recorded-all"].verdict) == ("pass", "fail")
    assert subjects["recorded-cpu"].diagnoses == ()
    assert causes(subjects["recorded-all"]) == [("p-compute-unit", True)]
    message = subjects["recorded-all"].diagnoses[0].message
    assert message.startswith("CPU_ONLY matches (")
    assert "but ALL does not (0.1" in message
    assert message.endswith("Core ML hardware path, not the conversion; file it with Apple.")
    assert subjects["recorded-all"].diagnoses[0].evidence == "the same file on CPU_ONLY agrees"
    # Nothing was undone: what was run is said as it was.
    assert "(confirmed: the same file on CPU_ONLY agrees)" in explain_failure(subjects["recorded-all"])


def test_without_the_exact_unit_the_evaluator_is_a_hint(tmp_path: Path) -> None:
    subject = checked(record_of(tmp_path / "all.json", "ALL", wrong=True))["recorded"]

    assert ("p-compute-unit", False) in causes(subject)
    assert "record CPU_ONLY too" in subject.diagnoses[-1].message


def test_two_units_that_are_both_wrong_are_no_matter_of_the_unit(tmp_path: Path) -> None:
    files = [record_of(tmp_path / f"{unit}.json", unit, wrong=True) for unit in ("CPU_ONLY", "ALL")]

    for subject in checked(*files, backends=["recorded-CPU_ONLY", "recorded-ALL"]).values():
        assert "p-compute-unit" not in [fault for fault, _ in causes(subject)]


def test_one_system_agrees_and_another_does_not(tmp_path: Path) -> None:
    subjects = checked(
        record_of(tmp_path / "old.json", "CPU_ONLY", system="macOS 13.6 arm64"),
        record_of(tmp_path / "new.json", "CPU_ONLY", wrong=True),
        backends=["recorded-old", "recorded-new"],
    )

    assert causes(subjects["recorded-new"]) == [("v-os-update", True)]
    assert "matches on macOS 13.6 arm64" in subjects["recorded-new"].diagnoses[0].message
    assert subjects["recorded-new"].diagnoses[0].evidence == "the same file on macOS 13.6 arm64 agrees"


def test_systems_whose_units_nobody_knows_are_a_hint(tmp_path: Path) -> None:
    subjects = checked(
        record_of(tmp_path / "old.json", "", system="macOS 13.6 arm64"),
        record_of(tmp_path / "new.json", "", wrong=True),
        backends=["recorded-old", "recorded-new"],
    )

    # The units may be what differs.
    assert ("v-os-update", False) in causes(subjects["recorded-new"])
    assert not any(d.confirmed or d.evidence for d in subjects["recorded-new"].diagnoses)


def test_a_sibling_that_was_allowed_more_proves_nothing() -> None:
    cpu = Subject("tiny", "-", "", "coreml-native", "fp32", "pass", max_abs_diff=0.02, tolerance=0.05)
    other = Subject(
        "tiny", "-", "", "recorded", "fp32", "fail", max_abs_diff=0.02, tolerance=0.01,
        recorded_by="coreml-native (ALL) on macOS 15.1 arm64",
    )  # fmt: skip

    first, second = with_siblings([Sibling(cpu, artifact()), Sibling(other, artifact())])

    assert (first.diagnoses, second.diagnoses) == ((), ())
    allowed_alike = replace(cpu, tolerance=0.01)
    _, told_now = with_siblings([Sibling(allowed_alike, artifact()), Sibling(other, artifact())])
    assert causes(told_now) == [("p-compute-unit", True)]


def test_explain_reads_all_units_of_a_record(tmp_path: Path) -> None:
    files = [record_of(tmp_path / "cpu.json", "CPU_ONLY"), record_of(tmp_path / "all.json", "ALL", wrong=True)]
    first, second = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    first["records"] += second["records"]
    files[0].write_text(json.dumps(first), encoding="utf-8")

    run: Run = look_into(tiny(), artifact(), str(images()), record=files[0]).run

    assert [subject.verdict for subject in run.subjects] == ["pass", "fail"]
    assert causes(run.subjects[1]) == [("p-compute-unit", True)]


def test_explain_on_a_mac_asks_the_exact_unit_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = record_of(tmp_path / "all.json", "ALL", wrong=True)
    monkeypatch.setattr(coreml_native, "why_not", lambda: None)
    monkeypatch.setattr(coreml_native, "load", lambda artifact, batch=1: coreml_evaluator.load(artifact, batch))

    run = look_into(tiny(), artifact(), str(images()), record=file).run

    assert causes(run.subjects[0]) == [("p-compute-unit", True)]


def test_records_of_other_pixels_say_nothing_of_the_unit(tmp_path: Path) -> None:
    file = record_of(tmp_path / "all.json", "ALL", wrong=True, pixels="0" * 64)

    (subject,) = look_into(tiny(), artifact(), str(images()), record=file).run.subjects

    assert "p-compute-unit" not in [fault for fault, _ in causes(subject)]


# Other files of the model


@cache
def exported(opset: int) -> Artifact:
    """Export as somebody would who has no route of ours."""
    path = Path(tempfile.mkdtemp(dir=_home())) / f"opset{opset}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old exporter says that it is old
        torch.onnx.export(
            deployed_module(tiny()),
            (example_pixels(tiny()),),
            str(path),
            opset_version=opset,
            input_names=["image"],
            output_names=["classLabelProbs"],
            dynamo=False,
        )
    return open_artifact(path)


def spoilt(sound: Artifact) -> Artifact:
    return broken(sound, spoil_onnx if sound.format == "onnx" else spoil_program)


def spoil_onnx(model: Any) -> None:
    node(model, "Softmax").op_type = "LogSoftmax"


def spoil_program(specification: Any) -> None:
    specification.description.input[0].type.imageType.colorSpace = BGR


def hints_of(fine: Artifact, wrong: Artifact) -> list[tuple[str, str]]:
    """Judge two files of a model without looking for causes, and let one explain the other."""
    backends = ["onnxruntime", "coreml-evaluator"]
    run = check(tiny(), [fine, wrong], str(images()), backends=backends, explain=False)
    assert [subject.verdict for subject in run.subjects] == ["pass", "fail"]
    first, second = with_siblings([Sibling(s, a) for s, a in zip(run.subjects, (fine, wrong), strict=True)])
    assert first.diagnoses == ()
    assert not any(diagnosis.confirmed for diagnosis in second.diagnoses)
    return [(diagnosis.fault, diagnosis.message) for diagnosis in second.diagnoses]


def test_one_exporter_agrees_and_the_other_does_not() -> None:
    ((fault, message),) = hints_of(good("onnx-torchscript", tiny), spoilt(good("onnx", tiny)))

    assert fault == "v-exporter-default"
    assert "the onnx-torchscript file (opset 17) agrees with PyTorch, the onnx file (opset" in message
    assert "LogSoftmax none -> 1" in message


def test_one_opset_agrees_and_the_other_does_not() -> None:
    ((fault, message),) = hints_of(exported(11), spoilt(exported(13)))

    assert fault == "g-opset-choice"
    assert message.startswith("opset11.onnx (opset 11) agrees with PyTorch, opset13.onnx (opset 13) does not")


def test_one_format_of_core_ml_agrees_and_the_other_does_not() -> None:
    ((fault, message),) = hints_of(good("onnx-coreml", tiny), spoilt(good("mlprogram-fp32", tiny)))

    assert fault == "i-nn-vs-mlprogram"
    assert message.startswith("the onnx-coreml file agrees with PyTorch, the mlprogram-fp32 file does not")


def test_one_deployment_target_agrees_and_the_other_does_not() -> None:
    import coremltools

    def newer(specification: Any) -> None:
        spoil_program(specification)
        specification.specificationVersion = coremltools.SPECIFICATION_VERSION

    ((fault, message),) = hints_of(artifact(), broken(artifact(), newer))

    assert fault == "v-deployment-target"
    assert f"specification {coremltools.SPECIFICATION_VERSION}" in message


def test_files_that_differ_in_nothing_of_that_say_nothing() -> None:
    assert hints_of(good("onnx-torchscript", tiny), spoilt(good("onnx-torchscript", tiny))) == []


def test_a_cause_that_was_confirmed_needs_no_hint() -> None:
    run = check(
        tiny(), [good("onnx-coreml", tiny), spoilt(good("mlprogram-fp32", tiny))], str(images()),
        backends=["coreml-evaluator"],
    )  # fmt: skip

    assert causes(run.subjects[1]) == [("pre-bgr-swap", True)]
