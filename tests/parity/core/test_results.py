"""results.json: what is in it, that it reads back as it was, its schema, and the exit code that a run has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import ParityError, check
from parity.core.evidence import Attempt, Check
from parity.core.results import (
    Answer,
    Case,
    Diagnosis,
    Divergence,
    Environment,
    KnownIssue,
    Part,
    Run,
    Subject,
    from_json,
    json_schema,
    read_run,
    summarise,
    to_json,
)
from tests.parity.tiny import converted, pictures, tiny

SCHEMA_FILE = Path(__file__).parents[3] / "parity" / "schemas" / "results.schema.json"

VALIDATOR = jsonschema.Draft202012Validator(json_schema())

HERE = Environment("3.11.4", "Linux", {"torch": "2.13.0"})


def run_of(*subjects: Subject, stale: tuple[str, ...] = ()) -> Run:
    return Run(HERE, subjects, stale, summarise(subjects))


def subject(verdict: Any = "pass", known: bool = False, **more: Any) -> Subject:
    issue = KnownIssue("upstream", "https://example.org/1") if known else None
    return Subject("tiny", "onnx", "tiny.onnx", "onnxruntime", "fp32", verdict, known_issue=issue, **more)


def strictly(text: str) -> Any:
    """Parse JSON as its standard has it: NaN and Infinity are no numbers there."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# Written and read back

texts = st.text(max_size=12)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
shares = st.none() | st.floats(0, 1)
answers = st.builds(Answer, texts, numbers)
cases = st.builds(
    Case,
    texts,
    st.sampled_from(["match", "tie", "drift", "flip", "error"]),
    answers,
    answers,
    max_abs_diff=numbers,
    kl=numbers,
    worst_label=st.none() | texts,
    worst_reference=numbers,
    worst_candidate=numbers,
    top5_overlap=shares,
    snr_db=numbers,
    psnr_db=numbers,
    reason=texts,
)
steps = st.sampled_from(["comparison", "input", "weights", "operations", "head and labels"])
names = st.lists(texts, max_size=2).map(tuple)
attempts = st.builds(Attempt, names, names, numbers, st.integers(0, 9), st.booleans(), texts)
subjects = st.builds(
    Subject,
    texts,
    texts,
    texts,
    texts,
    texts,
    st.sampled_from(["pass", "fail", "error", "inconclusive", "skipped"]),
    reason=texts,
    images=st.integers(0, 9),
    top1_agreement=shares,
    max_abs_diff=numbers,
    tolerance=numbers,
    tolerance_reason=texts,
    required_tolerance=numbers,
    diagnoses=st.lists(st.builds(Diagnosis, texts, texts, st.booleans()), max_size=2).map(tuple),
    first_divergence=st.none() | st.builds(Divergence, texts, texts, st.integers(0, 99), st.integers(1, 99)),
    explained_on=st.integers(0, 16),
    unexplained=texts,
    known_issue=st.none() | st.builds(KnownIssue, texts, texts),
    cases=st.lists(cases, max_size=2).map(tuple),
    compressed_alike=st.booleans(),
    measured_on=st.integers(0, 64),
    excused=st.integers(0, 99),
    checks=st.lists(st.builds(Check, steps, texts, st.none() | st.booleans()), max_size=2).map(tuple),
    attempts=st.lists(attempts, max_size=2).map(tuple),
)
runs = st.builds(
    lambda environment, found, stale, shard: Run(environment, found, stale, summarise(found), shard=shard),
    st.builds(Environment, texts, texts, st.dictionaries(texts, texts, max_size=3)),
    st.lists(subjects, max_size=3).map(tuple),
    st.lists(texts, max_size=2).map(tuple),
    st.none() | st.builds(Part, st.integers(1, 9), st.integers(1, 9)),
)


@given(runs)
def test_a_run_reads_back_as_it_was_written(run: Run) -> None:
    again = from_json(to_json(run))

    assert again == run
    assert again.exit_code == run.exit_code


@given(runs)
def test_every_run_is_valid_against_the_schema(run: Run) -> None:
    VALIDATOR.validate(strictly(to_json(run)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_written_as_null(value: float) -> None:
    case = Case("a.png", "error", Answer("ant", value), Answer("-", None), max_abs_diff=value, kl=value)

    written = strictly(to_json(run_of(subject("fail", max_abs_diff=value, tolerance=value, cases=(case,)))))

    (found,) = written["subjects"]
    assert (found["max_abs_diff"], found["tolerance"]) == (None, None)
    assert found["cases"][0]["reference"] == {"label": "ant", "probability": None}


def test_labels_are_written_as_they_are() -> None:
    case = Case("日本.png", "match", Answer("[red]猫[/]", 0.5), Answer('"quoted"\n', 0.5))

    assert from_json(to_json(run_of(subject(cases=(case,))))).subjects[0].cases == (case,)


# The documented keys


def test_the_documented_keys_are_there_with_their_types() -> None:
    run = check(tiny(), [converted("onnx-torchscript").path, converted("mlprogram-fp32").path], pictures())
    diagnosed = replace(
        run.subjects[0],
        diagnoses=(Diagnosis("pre-bgr-swap", "channels are swapped", True),),
        first_divergence=Divergence("conv_12", "conv", 18, 71),
    )
    found = strictly(to_json(replace(run, subjects=(diagnosed, *run.subjects[1:]))))

    assert found["schema"] == "parity-run/2"
    assert_types(found["environment"], {"python": str, "platform": str, "packages": dict})
    assert isinstance(found["environment"]["packages"]["torch"], str)
    assert found["summary"].keys() == {"pass", "fail", "error", "inconclusive", "skipped"}
    assert sum(found["summary"].values()) == len(found["subjects"]) == 4
    first = found["subjects"][0]
    assert_types(
        first,
        {
            **dict.fromkeys(("model", "route", "artifact", "backend", "precision", "verdict", "reason"), str),
            **dict.fromkeys(("top1_agreement", "max_abs_diff", "tolerance", "required_tolerance"), float),
            "images": int,
            "diagnoses": list,
            "first_divergence": dict,
            "cases": list,
        },
    )
    assert_types(first["diagnoses"][0], {"fault": str, "message": str, "confirmed": bool})
    assert_types(first["first_divergence"], {"operation": str, "type": str, "index": int, "of": int})
    assert len(first["cases"]) == first["images"] == len(pictures())
    for case in first["cases"]:
        assert_types(case, {"image": str, "verdict": str, "max_abs_diff": float, "kl": float})
        for answer in (case["reference"], case["candidate"]):
            assert_types(answer, {"label": str, "probability": float})
    for other in found["subjects"][1:]:
        assert (other["diagnoses"], other["first_divergence"]) == ([], None)
    jsonschema.validate(found, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def assert_types(found: dict[str, Any], types: dict[str, type]) -> None:
    assert {key: type(found[key]) for key in types} == types


# The schema


def test_the_committed_schema_is_the_generated_one() -> None:
    generated = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert SCHEMA_FILE.read_text(encoding="utf-8") == generated, (
        "results.json has changed: write json.dumps(parity.core.results.json_schema(), indent=2, "
        "ensure_ascii=False) and a newline to parity/schemas/results.schema.json"
    )


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json_schema()["title"] == "coreml-parity results"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-run/1"),
        (("schema",), None),
        (("subject",), []),
        (("subjects", 0, "verdict"), "passed"),
        (("subjects", 0, "max_abs_dif"), 0.5),
        (("subjects", 0, "max_abs_diff"), "0.5"),
        (("subjects", 0, "images"), 1.5),
        (("subjects", 0, "cases", 0, "verdict"), "pass"),
        (("subjects", 0, "cases", 0, "reference", "label"), None),
        (("summary", "pass"), -1),
        (("summary", "passed"), 1),
    ],
)
def test_the_schema_refuses(path: tuple[str | int, ...], value: Any) -> None:
    case = Case("a.png", "match", Answer("ant", 0.5), Answer("ant", 0.5), max_abs_diff=0.0)
    written = strictly(to_json(run_of(subject(cases=(case,)))))
    VALIDATOR.validate(written)
    table: Any = written
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(written)


@pytest.mark.parametrize("key", ["schema", "environment", "subjects", "summary", "stale_known_issues"])
def test_the_schema_wants_every_key(key: str) -> None:
    written = strictly(to_json(run_of(subject())))
    del written[key]

    with pytest.raises(jsonschema.ValidationError, match=key):
        VALIDATOR.validate(written)


# Exit codes


@pytest.mark.parametrize(
    ("run", "code"),
    [
        pytest.param(run_of(subject("pass")), 0, id="pass"),
        pytest.param(run_of(subject("pass"), subject("skipped")), 0, id="pass and skipped"),
        pytest.param(run_of(subject("fail")), 1, id="fail"),
        pytest.param(run_of(subject("error")), 1, id="error"),
        pytest.param(run_of(subject("pass"), subject("fail")), 1, id="pass and fail"),
        pytest.param(run_of(subject("inconclusive"), subject("fail")), 1, id="inconclusive and fail"),
        pytest.param(run_of(), 3, id="nothing"),
        pytest.param(run_of(subject("skipped")), 3, id="skipped"),
        pytest.param(run_of(subject("inconclusive")), 3, id="inconclusive"),
        pytest.param(run_of(subject("pass"), subject("inconclusive")), 3, id="pass and inconclusive"),
        pytest.param(run_of(subject("fail", known=True)), 3, id="known failure"),
        pytest.param(run_of(subject("fail", known=True), subject("skipped")), 3, id="known failure and skipped"),
        pytest.param(run_of(subject("inconclusive", known=True)), 3, id="known inconclusive alone"),
        pytest.param(run_of(subject("pass"), subject("error", known=True)), 0, id="pass and known error"),
        pytest.param(run_of(subject("inconclusive", known=True), subject("pass")), 0, id="known inconclusive"),
        pytest.param(run_of(subject("fail", known=True), subject("fail")), 1, id="known failure and fail"),
        pytest.param(run_of(subject("fail", known=True), subject("inconclusive")), 3, id="known and inconclusive"),
        pytest.param(run_of(subject("pass"), stale=("an old entry",)), 1, id="stale entry"),
        pytest.param(run_of(stale=("an old entry",)), 1, id="stale entry alone"),
    ],
)
def test_exit_code(run: Run, code: int) -> None:
    assert run.exit_code == code


def test_the_summary_counts_every_verdict() -> None:
    found = (subject("pass"), subject("pass"), subject("skipped"), subject("fail", known=True))

    assert summarise(found) == {"pass": 2, "fail": 1, "error": 0, "inconclusive": 0, "skipped": 1}


# Reading


def test_a_written_file_is_read(tmp_path: Path) -> None:
    run = run_of(subject())
    (tmp_path / "results.json").write_text(to_json(run), encoding="utf-8")

    assert read_run(tmp_path / "results.json") == run


def test_what_an_older_version_wrote_is_read_and_written_as_it_was_with_what_is_new() -> None:
    recorded = (Path(__file__).parent / "parity-run-1.json").read_text(encoding="utf-8")

    run = from_json(recorded)

    assert [s.verdict for s in run.subjects] == ["pass", "fail"]
    written = json.loads(to_json(run))
    jsonschema.validate(written, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    for s in written["subjects"]:
        assert s.pop("outputs") == []
        assert s.pop("compressed_alike") is False
        assert [case.pop("outputs") for case in s["cases"]] == [[]] * 3
        assert [case.pop("own_allowed") for case in s["cases"]] == [None] * 3
        assert (s.pop("measured_on"), s.pop("excused")) == (0, 0)
        assert (s.pop("checks"), s.pop("attempts")) == ([], [])
        assert s.pop("envelope") is None
        assert s.pop("gate") is None
    assert written.pop("gate") is None
    assert written.pop("migrations") == []
    assert written == {**json.loads(recorded), "schema": "parity-run/2"}


WRITTEN = to_json(run_of(subject()))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file: Invalid JSON: EOF"),
        (b"not json", "the file: Invalid JSON"),
        (WRITTEN[: len(WRITTEN) // 2].encode(), "the file: Invalid JSON: EOF"),
        (b"[]", "the file: "),
        (b"{}", "environment: Field required"),
        (WRITTEN.replace("parity-run/2", "parity-run/3").encode(), "schema: Input should be 'parity-run/2'"),
        (b'{"schema": "pytest-report/1", "tests": []}', "schema: Input should be 'parity-run/2'"),
        (WRITTEN.replace('"pass"', '"passed"').encode(), "subjects.0.verdict: Input should be 'pass', 'fail'"),
        (WRITTEN.encode("utf-16"), "can't decode byte"),
    ],
)
def test_anything_else_is_refused_in_one_line(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)

    with pytest.raises(ParityError) as raised:
        read_run(path)

    assert str(raised.value).startswith(f"{path}: ")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ParityError, match=r"results\.json: no such file; `parity run --json .*results\.json` writes"
    ):
        read_run(tmp_path / "results.json")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="is a directory, not a file"):
        read_run(tmp_path)
