"""What fails while causes are looked for: what is expected is an answer, what breaks is kept with its reason."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conversion.errors import ConversionError
from parity.core.errors import ParityError
from parity.core.refusals import RefusedError, refusals
from parity.diagnosis.failures import Broken, Failures
from parity.diagnosis.search import explain
from parity.pipeline import judge_artifact
from tests.breaking import LOGGER, Breakages
from tests.parity.diagnosis.faulty import broken, causes, examined, good, reference, swapped

pytest_plugins = ["pytester"]


def raising(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize("error", [ParityError("no"), ConversionError("no"), RefusedError("no")])
def test_what_is_expected_is_an_answer_and_no_bug(error: Exception) -> None:
    failures = Failures()

    assert failures.attempt("a part", lambda: raising(error), lambda error: f"not so: {error}") == "not so: no"
    assert failures.broken == []


@pytest.mark.breaks
def test_what_breaks_is_kept_once_with_its_reason() -> None:
    failures = Failures()
    for _ in range(2):
        assert failures.attempt("the part", lambda: raising(KeyError("weight")), lambda error: 7) == 7
    failures.attempt("another", lambda: raising(StopIteration()), lambda error: 7)

    assert failures.broken == [Broken("the part", "KeyError: 'weight'"), Broken("another", "StopIteration")]
    assert str(failures.broken[0]) == "the part: KeyError: 'weight'"


def test_what_does_not_fail_is_given_back() -> None:
    assert Failures().attempt("a part", lambda: 3, lambda error: 7) == 3


def test_who_refuses_is_named_and_what_is_ours_passes_through() -> None:
    with pytest.raises(RefusedError, match="the module: takes\\ no fp64"), refusals("the module"):
        raising(RuntimeError("takes\nno fp64"))
    with pytest.raises(ConversionError, match="^as it was$"), refusals("the module"):
        raising(ConversionError("as it was"))


@pytest.mark.breaks
def test_a_family_that_breaks_ends_no_other_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def suspects(examination: object) -> Iterator[Any]:
        raise ZeroDivisionError("a bug")
        yield

    monkeypatch.setattr("parity.diagnosis.suspects.environment.suspects", suspects)
    explanation = explain(examined(broken(good("onnx-torchscript"), swapped), reference()))

    assert causes(explanation) == ["pre-bgr-swap"]
    assert explanation.broken == (Broken("the family environment", "ZeroDivisionError: a bug"),)


@pytest.mark.breaks
def test_a_search_that_breaks_as_a_whole_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.diagnosis.causes.explain", lambda *_: raising(ZeroDivisionError("a bug")))
    artifact = broken(good("onnx-torchscript"), swapped)

    (leg,) = judge_artifact(reference(), artifact, ["onnxruntime"], explain=True)

    assert leg.subject.verdict == "fail"
    assert "the search for causes broke" in leg.subject.unexplained


def test_a_search_in_which_nothing_breaks_says_so() -> None:
    assert explain(examined(broken(good("onnx-torchscript"), swapped), reference())).broken == ()


@pytest.mark.breaks
@pytest.mark.parametrize(
    ("marker", "outcome"), [("", {"passed": 1, "errors": 1}), ("@pytest.mark.breaks", {"passed": 1})]
)
def test_a_test_in_which_something_breaks_fails_unless_it_is_marked(
    pytester: pytest.Pytester, marker: str, outcome: dict[str, int]
) -> None:
    root = Path(__file__).parents[3]
    pytester.makeini("[pytest]\nmarkers = breaks: on purpose\n")
    pytester.makeconftest(
        f"import sys; sys.path.insert(0, {str(root)!r})\nfrom tests.breaking import nothing_breaks\n"
    )
    pytester.makepyfile(
        f"""
        import pytest
        from parity.diagnosis.failures import Failures

        {marker}
        def test_it():
            Failures().note("a part", ValueError("a bug"))
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(**outcome)


def test_breakages_are_gathered_with_where_and_why() -> None:
    breakages = Breakages()
    breakages.handle(
        logging.LogRecord(LOGGER.name, logging.INFO, "", 0, "broke: %s", ("a part: ValueError",), None)
    )

    assert breakages.messages == ["broke: a part: ValueError"]
