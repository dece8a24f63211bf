"""Predictions made elsewhere: the file, who writes it, and the backend that refuses what does not belong to it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conversion import Artifact, Classifier
from conversion.artifact import open_artifact
from conversion.task import LABELS_APART, OutputSpec
from parity import ParityError, check
from parity.artifacts.record_file import record
from parity.backends import Backend, coreml_native, find_backend, record_names
from parity.backends.recorded import Recorded
from parity.core.results import Prediction, Subject
from parity.formats.facts import artifact_digest
from parity.suite import records
from parity.suite.images import pixels_digest
from parity.suite.records import RecordFile, read_records, to_json
from tests.parity.tiny import LABELS, converted, pictures, shifted, tiny

SCHEMA_FILE = Path(__file__).parents[3] / "parity" / "schemas" / "record.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))

# What README and the module call the least that an app writes.
SMALLEST: dict[str, Any] = {
    "schema": "parity-record/1",
    "records": [
        {
            "artifact": {"name": "net.mlpackage", "sha256": "0" * 64},
            "predictions": [{"image": "a.png", "pixels": "1" * 64, "probabilities": {"cat": 0.75, "dog": 0.25}}],
        }
    ],
}


# The file


def test_the_committed_schema_is_the_generated_one() -> None:
    generated = json.dumps(records.json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert SCHEMA_FILE.read_text(encoding="utf-8") == generated, (
        "records have changed: write json.dumps(parity.suite.records.json_schema(), indent=2, ensure_ascii=False) "
        "and a newline to parity/schemas/record.schema.json"
    )


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(records.json_schema())


def test_the_smallest_document_is_read(tmp_path: Path) -> None:
    file = tmp_path / "phone.json"
    file.write_text(json.dumps(SMALLEST), encoding="utf-8")

    VALIDATOR.validate(SMALLEST)
    (found,) = read_records(file).records
    assert (found.artifact.name, found.backend, found.compute_unit) == ("net.mlpackage", "", "")
    assert found.predictions[0].probabilities == {"cat": 0.75, "dog": 0.25}
    assert found.predictions[0].label is None


def test_the_smallest_document_of_the_documentation_is_the_one_tested() -> None:
    told = (records.__doc__ or "").split("\n\n")[2]
    document = json.loads(told.replace('"sha256": "..."', f'"sha256": "{"0" * 64}"').replace("...", "1" * 64))

    VALIDATOR.validate(document)
    assert document["records"][0].keys() == SMALLEST["records"][0].keys()


def without(*path: str | int) -> dict[str, Any]:
    found = copy.deepcopy(SMALLEST)
    inner: Any = found
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return found


def having(content: Any, *path: str | int) -> dict[str, Any]:
    found = copy.deepcopy(SMALLEST)
    inner: Any = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = content
    return found


RECORD, PREDICTION = ("records", 0), ("records", 0, "predictions", 0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (without("schema"), "schema: Field required"),
        (having("parity-record/2", "schema"), "schema: Input should be 'parity-record/1'"),
        (without("records"), "records: Field required"),
        (having([], "records"), "records: List should have at least 1 item"),
        (without(*RECORD, "artifact"), "records.0.artifact: Field required"),
        (without(*RECORD, "artifact", "name"), "records.0.artifact.name: Field required"),
        (having("abc", *RECORD, "artifact", "sha256"), "records.0.artifact.sha256: String should match pattern"),
        (having([], *RECORD, "predictions"), "records.0.predictions: List should have at least 1 item"),
        (having("F" * 64, *PREDICTION, "pixels"), "records.0.predictions.0.pixels: String should match pattern"),
        (without(*PREDICTION, "pixels"), "records.0.predictions.0.pixels: Field required"),
        (
            having({}, *PREDICTION, "probabilities"),
            ".0.probabilities.labels: Dictionary should have at least 1 item",
        ),
        (having([], *PREDICTION, "probabilities"), ".0.probabilities.columns: List should have at least 1 item"),
        (having({"cat": "0.5"}, *PREDICTION, "probabilities"), ".0.probabilities.labels.cat: Input should be a va"),
        (having({"cat": True}, *PREDICTION, "probabilities"), "valid number"),
        (having("ALL", *RECORD, "computeUnit"), "records.0.computeUnit: Extra inputs are not permitted"),
        ([], "the file: Input should be an object"),
    ],
)
def test_what_is_no_record_is_one_line(tmp_path: Path, content: Any, told: str) -> None:
    file = tmp_path / "phone.json"
    file.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(ParityError) as raised:
        read_records(file)

    assert str(raised.value).startswith(f"{file}: not a record of schema parity-record/1: ")
    assert told in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not VALIDATOR.is_valid(content)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", json.dumps(SMALLEST).encode()[:-20], b"[" * 100_000])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "phone.json"
    file.write_bytes(content)

    with pytest.raises(ParityError, match=r"phone\.json: not a record of schema parity-record/1: ") as raised:
        read_records(file)

    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_in_json_is_refused(tmp_path: Path, number: str) -> None:
    file = tmp_path / "phone.json"
    file.write_text(json.dumps(SMALLEST).replace("0.75", number), encoding="utf-8")

    with pytest.raises(ParityError, match="finite number"):
        read_records(file)


@pytest.mark.parametrize("other", [{"cat": 1.0}, {"cat": 0.5, "eel": 0.5}, [0.5, 0.5]])
def test_every_prediction_has_the_same_classes(tmp_path: Path, other: Any) -> None:
    content = copy.deepcopy(SMALLEST)
    predictions = content["records"][0]["predictions"]
    predictions.append({"image": "b.png", "pixels": "2" * 64, "probabilities": other})
    file = tmp_path / "phone.json"
    file.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(ParityError, match=r"b\.png has other classes than a\.png"):
        read_records(file)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
digests = st.binary(max_size=4).map(lambda content: hashlib.sha256(content).hexdigest())
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def record_files(draw: st.DrawFn) -> RecordFile:
    labels = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    row = draw(st.sampled_from([st.fixed_dictionaries(dict.fromkeys(labels, numbers)), st.just([0.5, None])]))
    prediction = st.fixed_dictionaries(
        {"image": names, "pixels": digests, "probabilities": row, "label": st.none() | names}
    )
    artifact = st.fixed_dictionaries({"name": names.filter(bool), "sha256": digests, "route": names})
    one = st.fixed_dictionaries(
        {"artifact": artifact, "backend": names, "predictions": st.lists(prediction, min_size=1, max_size=3)}
    )
    listed = draw(st.lists(one, min_size=1, max_size=2))
    environment = {"platform": draw(names), "packages": draw(st.dictionaries(names, names, max_size=2))}
    return RecordFile.model_validate(
        {"schema": "parity-record/1", "environment": environment, "records": listed}, strict=True
    )


@given(record_files())
def test_a_file_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, found: RecordFile) -> None:
    file = tmp_path_factory.mktemp("records") / "mac.json"

    file.write_text(to_json(found), encoding="utf-8")

    assert read_records(file) == found
    content = json.loads(file.read_text(encoding="utf-8"))
    VALIDATOR.validate(content)
    assert [path.name for path in file.parent.iterdir()] == ["mac.json"]


def test_a_file_has_a_line_per_prediction() -> None:
    text = to_json(RecordFile.model_validate_json(json.dumps(SMALLEST)))

    (line,) = [line for line in text.splitlines() if '"pixels"' in line]
    assert json.loads(line) == {**SMALLEST["records"][0]["predictions"][0], "label": None}


# Who writes it


def test_what_is_recorded() -> None:
    artifact = converted("mlprogram")

    found = record([artifact.path], pictures())

    (one,) = found.records
    assert one.artifact.model_dump() == {
        "name": "tiny.mlpackage",
        "sha256": artifact_digest(artifact),
        "route": "mlprogram",
        "format": "mlprogram",
        "precision": "fp16",
    }
    assert (one.backend, one.compute_unit) == ("coreml-evaluator", "")
    assert [p.image for p in one.predictions] == [f"image {i}" for i in range(6)]
    assert one.predictions[2].pixels == hashlib.sha256(np.asarray(pictures()[2]).tobytes()).hexdigest()
    answers = find_backend("coreml-evaluator").load(artifact)(np.stack([np.asarray(p) for p in pictures()]))
    assert answers.labels is not None
    assert one.predictions[2].probabilities == dict(
        zip(answers.labels, answers.probabilities[2].tolist(), strict=True)
    )
    assert answers.top1 is not None
    assert [p.label for p in one.predictions] == list(answers.top1)
    assert set(found.environment.packages) >= {"coremltools", "numpy"}
    assert "/" not in found.environment.platform + found.environment.cpu


def test_several_artefacts_go_into_one_file() -> None:
    found = record([converted("mlprogram").path, converted("onnx-torchscript").path], pictures()[:1])

    assert [(r.artifact.name, r.backend) for r in found.records] == [
        ("tiny.mlpackage", "coreml-evaluator"),
        ("tiny.onnx", "onnxruntime"),
    ]
    # ONNX names no class itself.
    assert found.records[1].predictions[0].label is None


def test_apples_runtime_is_asked_for_its_compute_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(artifact: Artifact, batch: int = 1, compute_unit: str = "") -> Callable[[np.ndarray], Prediction]:
        asked.append(compute_unit)
        return lambda pixels: Prediction(np.full((len(pixels), 8), 0.125), LABELS, ("ant",) * len(pixels))

    monkeypatch.setattr(coreml_native, "why_not", lambda: None)
    monkeypatch.setattr(coreml_native, "load", load)

    units = [
        record([converted("mlprogram").path], pictures(), compute_unit=unit).records[0] for unit in (None, "ALL")
    ]

    assert asked == ["CPU_ONLY", "ALL"]
    assert [(one.backend, one.compute_unit) for one in units] == [
        ("coreml-native", "CPU_ONLY"),
        ("coreml-native", "ALL"),
    ]


def test_answers_that_are_not_finite_are_recorded_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = Prediction(np.array([[np.nan, np.inf, 0.5]]))
    monkeypatch.setattr("parity.backends.onnxruntime.load", lambda *_: lambda pixels: answer)

    found = record([converted("onnx-torchscript").path], pictures()[:1])

    assert found.records[0].predictions[0].probabilities == [None, None, 0.5]
    (tmp_path / "f.json").write_text(to_json(found), encoding="utf-8")
    assert read_records(tmp_path / "f.json") == found


@pytest.mark.parametrize(
    ("route", "backend", "unit", "told"),
    [
        ("mlprogram", "onnxruntime", None, "onnxruntime does not run mlprogram; use coreml-native or coreml-ev"),
        ("mlprogram", "tflite", None, "unknown backend `tflite`"),
        ("mlprogram", "recorded", None, "backend `recorded` reads predictions that were made elsewhere"),
        (
            "mlprogram",
            None,
            "ALL",
            "coreml-evaluator takes no compute unit; ALL is for coreml-native, on macOS",
        ),
        ("onnx-torchscript", None, "ALL", "onnxruntime takes no compute unit"),
    ],
)
def test_what_cannot_be_recorded(
    route: str, backend: str | None, unit: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")

    with pytest.raises(ParityError, match=told):
        record([converted(route).path], pictures(), backend, unit)


# Who reads it


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record the program's answers."""
    file = tmp_path_factory.mktemp("made") / "mac.json"
    file.write_text(to_json(record([converted("mlprogram").path], pictures())), encoding="utf-8")
    return file


def edited(made: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(made.read_text(encoding="utf-8"))
    change(content)
    file = tmp_path / "edited.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def judged(
    file: Path, classifier: Classifier | None = None, images: Any = None, artifact: Artifact | None = None
) -> Subject:
    run = check(classifier or tiny(), artifact or converted("mlprogram"), images or pictures(), records=[file])
    (found,) = [subject for subject in run.subjects if subject.backend == "recorded"]
    return found


def test_a_record_is_judged_like_the_backend_that_made_it(made: Path) -> None:
    run = check(tiny(), converted("mlprogram"), pictures(), records=[made])

    evaluated, recorded = (
        next(s for s in run.subjects if s.backend == name) for name in ("coreml-evaluator", "recorded")
    )
    assert recorded.verdict == "pass"
    assert recorded.cases == evaluated.cases
    assert recorded.recorded_by.startswith("coreml-evaluator on ")
    assert evaluated.recorded_by == ""


@pytest.mark.parametrize("first", [True, False])
def test_two_records_of_one_file_that_do_not_say_the_same_are_refused(
    made: Path, tmp_path: Path, first: bool
) -> None:
    def change(content: dict[str, Any]) -> None:
        other = json.loads(json.dumps(content["records"][0]))
        other["predictions"][0]["probabilities"]["ant"] = 0.5
        content["records"].insert(0 if first else 1, other)

    found = judged(edited(made, tmp_path, change))

    assert found.verdict == "error"
    assert "has 2 records of tiny.mlpackage, which do not say the same" in found.reason


def test_a_record_that_is_there_twice_is_one(made: Path, tmp_path: Path) -> None:
    again = edited(made, tmp_path, lambda content: content["records"].append(content["records"][0]))

    assert judged(again).verdict == "pass"


def test_no_record_is_no_leg() -> None:
    run = check(tiny(), converted("mlprogram"), pictures())

    assert not [subject for subject in run.subjects if subject.backend.startswith("recorded")]


def test_images_may_be_asked_in_another_order_and_fewer_of_them(made: Path) -> None:
    found = judged(made, images=pictures()[3:0:-2])

    assert (found.verdict, found.images) == ("pass", 2)


def test_another_model_does_not_agree_with_the_record(made: Path) -> None:
    found = judged(made, shifted())

    assert found.verdict == "fail"
    assert found.cases[0].verdict == "flip"
    assert found.guilty_hop == "torch -> mlprogram"


def test_what_the_other_machine_computed_wrong_is_its_fault(made: Path, tmp_path: Path) -> None:
    def turn(content: dict[str, Any]) -> None:
        for prediction in content["records"][0]["predictions"]:
            found = prediction["probabilities"]
            prediction["probabilities"] = dict(zip(found, [*list(found.values())[1:], 0.0], strict=True))
            del prediction["label"]

    found = judged(edited(made, tmp_path, turn))

    assert found.verdict == "fail"
    assert found.guilty_hop == "mlprogram file -> recorded"


def test_a_class_that_contradicts_its_probabilities_is_seen(made: Path, tmp_path: Path) -> None:
    def misname(content: dict[str, Any]) -> None:
        content["records"][0]["predictions"][0]["label"] = "hen"

    found = judged(edited(made, tmp_path, misname))

    assert (found.verdict, found.cases[0].verdict) == ("fail", "flip")
    assert "the model names 'hen'" in found.cases[0].reason


def test_what_is_not_finite_is_an_error_of_its_image(made: Path, tmp_path: Path) -> None:
    def lose(content: dict[str, Any]) -> None:
        content["records"][0]["predictions"][0]["probabilities"]["ant"] = None

    found = judged(edited(made, tmp_path, lose))

    assert [case.verdict for case in found.cases[:2]] == ["error", "match"]


def drop_label(content: dict[str, Any]) -> None:
    for prediction in content["records"][0]["predictions"]:
        del prediction["probabilities"]["hen"]


def rename_label(content: dict[str, Any]) -> None:
    for prediction in content["records"][0]["predictions"]:
        prediction["probabilities"]["rooster"] = prediction["probabilities"].pop("hen")


def short_list(content: dict[str, Any]) -> None:
    for prediction in content["records"][0]["predictions"]:
        prediction["probabilities"] = list(prediction["probabilities"].values())[1:]


def other_artifact(content: dict[str, Any]) -> None:
    content["records"][0]["artifact"]["sha256"] = "0" * 64


def other_artifact_of_any_route(content: dict[str, Any]) -> None:
    content["records"][0]["artifact"] = {"name": "tiny.mlpackage", "sha256": "0" * 64}


def other_pixels(content: dict[str, Any]) -> None:
    content["records"][0]["predictions"][3]["pixels"] = "0" * 64


def other_schema(content: dict[str, Any]) -> None:
    content["schema"] = "parity-record/9"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            drop_label,
            "made for other labels: the record has 7 labels, the classifier 8; absent 'hen', unknown none",
        ),
        (rename_label, "has as many labels as the classifier, 8, but 1 of other names: label 7"),
        (short_list, "made for other labels: 7 numbers there, 8 labels in the classifier"),
        (other_artifact, "made from another tiny.mlpackage: its sha256 is 000000000000..., this one's "),
        (other_artifact_of_any_route, "made from another tiny.mlpackage"),
        (
            other_pixels,
            "made from other pixels: none for 1 of 6 image(s), image 3 first (it has image 0, image 1, ",
        ),
        (other_schema, "not a record of schema parity-record/1: schema: "),
    ],
)
def test_a_record_of_something_else_is_refused(
    made: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    found = judged(edited(made, tmp_path, change))

    assert (found.verdict, found.cases) == ("error", ())
    assert told in found.reason
    assert str(tmp_path / "edited.json") in found.reason


def test_other_pixels_under_the_same_name_are_refused(made: Path, tmp_path: Path) -> None:
    brighter = [Image.fromarray(np.minimum(np.asarray(p), 254) + np.uint8(1)) for p in pictures()]

    found = judged(made, images=brighter)

    assert found.verdict == "error"
    assert "made from other pixels: none for 6 of 6 image(s), image 0 first" in found.reason


def nothing_of_it(content: dict[str, Any]) -> None:
    content["records"][0]["artifact"].update(name="other.mlpackage", sha256="0" * 64)


def another_route(content: dict[str, Any]) -> None:
    content["records"][0]["artifact"].update(route="mlprogram-fp32", sha256="0" * 64)


@pytest.mark.parametrize("change", [nothing_of_it, another_route])
def test_what_was_not_recorded_is_skipped(
    made: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    file = edited(made, tmp_path, change)

    found = judged(file)

    name = json.loads(file.read_text(encoding="utf-8"))["records"][0]["artifact"]["name"]
    assert (found.verdict, found.reason) == ("skipped", f"{file} has no record of it (it has {name})")


def test_a_record_that_is_not_there_is_skipped(tmp_path: Path) -> None:
    found = judged(tmp_path / "mac.json")

    assert found.verdict == "skipped"
    assert found.reason.startswith(f"{tmp_path / 'mac.json'}: no such record; `parity record` writes it")


def test_the_digest_decides_not_the_name(made: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "Renamed.mlpackage"
    renamed.symlink_to(converted("mlprogram").path, target_is_directory=True)

    assert judged(made, artifact=open_artifact(renamed)).verdict == "pass"


def test_columns_without_labels_go_by_their_order(made: Path, tmp_path: Path) -> None:
    def strip(content: dict[str, Any]) -> None:
        for prediction in content["records"][0]["predictions"]:
            prediction["probabilities"] = [prediction["probabilities"][label] for label in LABELS]

    assert judged(edited(made, tmp_path, strip)).verdict == "pass"


def test_several_records_are_several_backends(made: Path, tmp_path: Path) -> None:
    phone = edited(made, tmp_path, other_pixels)

    run = check(tiny(), converted("mlprogram"), pictures(), records=[made, phone])
    one = check(tiny(), converted("mlprogram"), pictures(), ["recorded-edited"], records=[made, phone])

    assert {s.backend: s.verdict for s in run.subjects if s.backend.startswith("recorded")} == {
        "recorded-mac": "pass",
        "recorded-edited": "error",
    }
    assert [s.backend for s in one.subjects] == ["recorded-edited"]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ([], []),
        (["a/mac.json"], ["recorded"]),
        (["a/mac.json", "a/phone.json"], ["recorded-mac", "recorded-phone"]),
        (["a/mac.json", "b/mac.json"], ["recorded-a/mac", "recorded-b/mac"]),
    ],
)
def test_what_the_backends_of_records_are_called(files: list[str], named: list[str]) -> None:
    assert record_names([Path(file) for file in files]) == dict(zip(named, map(Path, files), strict=True))


def test_a_record_serves_as_a_backend(made: Path) -> None:
    backend: Backend = Recorded(made, LABELS, {})

    assert backend.FORMATS == ("onnx", "mlprogram", "neuralnetwork", "coreai")
    assert backend.why_not() is None
    # Nothing is run, so a batch is no matter.
    pixels = np.stack([np.asarray(p) for p in pictures()])
    assert backend.load(converted("mlprogram"), batch=4)(pixels).probabilities.shape == (6, 8)


def test_a_backend_that_needs_a_record_says_so() -> None:
    with pytest.raises(ParityError, match="backend `recorded` reads predictions .* name its file with --record"):
        check(tiny(), converted("mlprogram"), pictures(), ["recorded"])


def test_pixels_are_hashed_as_an_app_can() -> None:
    # Red, green, blue of a picture of 2 x 1, three bytes each.
    assert (
        pixels_digest(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
        == hashlib.sha256(bytes(range(1, 7))).hexdigest()
    )


def test_a_converted_copy_of_another_network_is_not_taken_for_it(made: Path) -> None:
    found = judged(made, shifted(), artifact=converted("mlprogram", shifted))

    assert (found.verdict, found.reason) == ("skipped", f"{made} has no record of it (it has tiny.mlpackage)")


def test_a_model_of_several_outputs_has_no_record(made: Path) -> None:
    several = tuple(OutputSpec(name, LABELS_APART, LABELS) for name in ("kind", "mood"))
    backend: Backend = Recorded(made, LABELS, {}, several)

    with pytest.raises(ParityError, match=r"holds the numbers of one output, and the model has 2 \(kind, mood\)"):
        backend.load(converted("onnx-torchscript"))
