from __future__ import annotations

import importlib.util
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conversion import Classifier, ConversionError, convert
from conversion.artifact import open_artifact
from conversion.labels import check_labels, read_labels
from parity import check
from parity.core.compare import explain_failure
from parity.core.errors import ParityError
from parity.core.results import Answer, Case, Environment, Run, Subject, from_json, read_run, to_json
from parity.coreml import Evaluator
from parity.report.terminal import make_console, print_run
from parity.strategies.labels import labels
from tests.parity.tiny import PREPROCESSING, Tiny, pictures

COUNT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels")


def classifier(names: tuple[str, ...]) -> Classifier:
    """Give the tiny network a head of as many classes, with weights as a trained one has them."""
    module = Tiny()
    module.linear = torch.nn.Linear(96, len(names))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Classifier("named", module.eval(), PREPROCESSING, names)


# Through every format that is written


# The first example is always the plainest list, so there is more than one.


@settings(max_examples=4)
@given(names=labels(COUNT))
def test_onnx_keeps_labels(folder: Path, names: tuple[str, ...]) -> None:
    artifact = open_artifact(convert(classifier(names), "onnx-torchscript", folder).path)
    assert artifact.provenance is not None
    assert artifact.provenance.labels == names


@pytest.mark.parametrize("route", ["mlprogram", "onnx-coreml"])
@settings(max_examples=4)
@given(names=labels(COUNT))
def test_core_ml_keeps_labels(folder: Path, route: str, names: tuple[str, ...]) -> None:
    if route == "onnx-coreml" and importlib.util.find_spec("onnx_coreml") is None:
        pytest.skip("onnx-coreml 1.3 is not installed")
    path = convert(classifier(names), route, folder).path
    provenance = open_artifact(path).provenance
    assert provenance is not None
    assert provenance.labels == names
    answer = Evaluator(path).predict({"image": pictures()[0]})
    assert tuple(answer["classLabelProbs"]) == names
    assert answer["classLabel"] == max(answer["classLabelProbs"], key=answer["classLabelProbs"].get)


@settings(max_examples=2)
@given(names=labels(COUNT))
def test_parity_holds_whatever_the_names(folder: Path, names: tuple[str, ...]) -> None:
    model = classifier(names)
    found = check(model, [convert(model, route, folder) for route in ("onnx", "mlprogram")], pictures())
    assert [s.verdict for s in found.subjects if s.verdict != "skipped"] == ["pass"] * 3, found.subjects
    told = {case.candidate.label for s in found.subjects for case in s.cases}
    assert told
    assert told <= set(names)
    assert from_json(to_json(found)) == found


# Through results and reports


def a_run(names: tuple[str, ...]) -> Run:
    cases = tuple(
        Case(
            *("photo.jpg", "flip", Answer(name, 0.75), Answer(names[-1], 0.5), 0.5),
            worst_label=name,
            worst_reference=0.75,
            worst_candidate=0.25,
            reason=f"the model names {name!r}",
        )
        for name in names
    )
    fields: dict[str, Any] = {"verdict": "fail", "reason": "1 flip", "tolerance": 0.1, "cases": cases}
    subject = Subject("model", "onnx", "model.onnx", "onnxruntime", "fp32", **fields)
    return Run(Environment("3", "linux", {}), (subject,), summary={"fail": 1})


@given(labels())
def test_results_keep_labels(folder: Path, names: tuple[str, ...]) -> None:
    found = a_run(names)
    assert from_json(to_json(found)) == found
    path = folder / "results.json"
    path.write_bytes(to_json(found).encode("utf-8"))
    assert read_run(path) == found
    # Any other reader of JSON finds the same names.
    answers = [case["reference"]["label"] for case in json.loads(path.read_bytes())["subjects"][0]["cases"]]
    assert tuple(answers) == names


def printed(names: tuple[str, ...]) -> str:
    stream = io.StringIO()
    print_run(a_run(names), make_console(stream))
    return stream.getvalue()


@given(labels())
def test_reports_quote_labels(names: tuple[str, ...]) -> None:
    plain = ("cat",) * len(names)
    text = printed(names)
    assert len(text.splitlines()) == len(printed(plain).splitlines())
    assert repr(names[0]) in text
    assert all(letter.isprintable() for letter in text.replace("\n", ""))
    told = explain_failure(a_run(names).subjects[0])
    assert len(told.splitlines()) == len(explain_failure(a_run(plain).subjects[0]).splitlines())
    assert f"PyTorch {names[0]!r} at 0.75" in told


# Through the files that people keep names in


def as_list(names: tuple[str, ...]) -> Any:
    return names


def as_indices(names: tuple[str, ...]) -> Any:
    return {str(index): name for index, name in reversed(list(enumerate(names)))}


def as_keras(names: tuple[str, ...]) -> Any:
    return {str(index): [f"n{index:08}", name] for index, name in enumerate(names)}


@pytest.mark.parametrize("form", [as_list, as_indices, as_keras])
@given(names=labels(), escaped=st.booleans(), name=st.sampled_from(["labels.json", "labels.txt"]))
def test_json_files_keep_labels(
    folder: Path, form: Callable[[tuple[str, ...]], Any], names: tuple[str, ...], escaped: bool, name: str
) -> None:
    path = folder / name
    path.write_bytes(json.dumps(form(names), ensure_ascii=escaped).encode("utf-8"))
    assert read_labels(path) == names


@given(names=labels(), newline=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_text_files_keep_labels(folder: Path, names: tuple[str, ...], newline: str, last: bool) -> None:
    """Those that such a file can hold: a name ends with its line, and the blanks around it are not its own."""
    lines = tuple(name for name in names if name == name.strip() and not set(name) & {"\n", "\r"})
    text = newline.join(lines) + newline * last
    assume(lines and not _is_json(text))
    path = folder / "labels.txt"
    path.write_bytes(text.encode("utf-8-sig"))
    assert read_labels(path) == lines


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# What is refused, is refused before anything is converted


@pytest.mark.parametrize("route", ["onnx", "mlprogram", "onnx-coreml"])
@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("\ud83d", r"named: label 7 is '\\ud83d'; .* lone surrogate"),
        ("nul\0", r"named: label 7 is 'nul\\x00'; .* NUL"),
        ("\u2003", "named: label 7 is empty"),
        ("a", "named: duplicate labels: 'a' at 0 and 7"),
    ],
)
def test_conversion_refuses(tmp_path: Path, route: str, last: str, message: str) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        convert(classifier((*"abcdefg", last)), route, tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.suffix != ".lock" and path.is_file()]


every_character = st.text(st.characters(), max_size=4)


@given(st.lists(every_character, min_size=1, max_size=3))
def test_names_are_accepted_or_refused_in_one_line(names: list[str]) -> None:
    # By the rules of the formats: UTF-8, C strings, one entry per name.
    storable = all(
        name.strip() and "\0" not in name and not any(unicodedata.category(letter) == "Cs" for letter in name)
        for name in names
    )
    if storable and len(set(names)) == len(names):
        check_labels(names, len(names))
        return
    with pytest.raises(ConversionError) as caught:
        check_labels(names, len(names))
    assert len(str(caught.value).splitlines()) == 1


# The strategy itself


@given(labels())
def test_lists_are_labels(names: tuple[str, ...]) -> None:
    assert isinstance(names, tuple)
    assert 1 <= len(names) <= 12
    check_labels(names, None)


@given(st.integers(1, 60).flatmap(lambda count: st.tuples(st.just(count), labels(count))))
def test_lists_have_the_length_that_was_asked_for(drawn: tuple[int, tuple[str, ...]]) -> None:
    count, names = drawn
    check_labels(names, count)


@pytest.mark.parametrize("count", [0, -1])
def test_a_classifier_without_classes_is_refused(count: int) -> None:
    with pytest.raises(ParityError, match=f"labels: count is {count}; a classifier has at least one class"):
        labels(count)


# Always the same examples, whatever the profile: enough for every kind to be among them.
@settings(max_examples=300, derandomize=True, database=None)
@given(st.data())
def draw_many(drawn: list[tuple[str, ...]], data: st.DataObject) -> None:
    drawn.append(data.draw(labels()))


def test_every_kind_is_drawn() -> None:
    drawn: list[tuple[str, ...]] = []
    draw_many(drawn)
    kinds: dict[str, Callable[[tuple[str, ...]], bool]] = {
        "astral": lambda names: any(letter > "\uffff" for name in names for letter in name),
        "right to left": lambda names: any(unicodedata.bidirectional(n[0]) in ("R", "AL") for n in names),
        "combining": lambda names: any(unicodedata.combining(letter) for name in names for letter in name),
        "quotes": lambda names: any("'" in name and '"' not in name for name in names),
        "newline": lambda names: any("\n" in name for name in names),
        "blanks around": lambda names: any(name != name.strip() for name in names),
        "one text in two forms": lambda names: len({unicodedata.normalize("NFC", n) for n in names}) < len(names),
        "differ by blanks": lambda names: len({name.strip() for name in names}) < len(names),
        "a single one": lambda names: len(names) == 1,
    }
    assert [kind for kind, holds in kinds.items() if not any(map(holds, drawn))] == []
