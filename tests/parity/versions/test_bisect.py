"""Which release broke it, and which mended it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.contract import ASSUMED, Contract
from parity.core.errors import ParityError
from parity.core.results import Subject
from parity.suite.suite import ModelEntry, Suite
from parity.versions import bisect as module
from parity.versions.bench import Conversion, Outcome
from parity.versions.bisect import (
    Bisection,
    History,
    State,
    Trial,
    bisect,
    bisection_to_json,
    conclude,
    list_releases,
    search,
)
from parity.versions.suite_route import SuiteRoute

LETTERS: dict[str, State] = {
    "g": "good",
    "b": "bad",
    "u": "unknown",
    "r": "refused",
    "c": "crashed",
    "n": "nonsense",
    "x": "untried",
}


def states(letters: str) -> list[State]:
    return [LETTERS[letter] for letter in letters]


def searched(letters: str) -> dict[int, State]:
    return search([lambda state=state: state for state in states(letters)])  # type: ignore[misc]


def trials(letters: str) -> list[Trial]:
    return [Trial(str(place), state, "why" * (state != "good")) for place, state in enumerate(states(letters))]


@pytest.mark.parametrize(
    ("letters", "places"),
    [
        ("gb", [0, 1]),
        ("g", [0]),
        ("ggggbbbb", [0, 2, 3, 4, 7]),  # halved, not walked
        ("gggg", [0, 1, 2, 3]),  # alike at both ends: something may hide in between
        ("gggbbbggg", [0, 2, 3, 4, 5, 6, 8]),
        ("gub", [0, 1, 2]),
        ("ugbu", [0, 1, 2, 3]),
        ("xgbx", [0, 1, 2, 3]),
        ("rrrrbbbb", [0, 2, 3, 4, 7]),  # an error is something else than wrong numbers
        ("xxrbbbb", [0, 1, 2, 3, 4, 6]),
    ],
)
def test_as_few_are_asked_as_show_every_change(letters: str, places: list[int]) -> None:
    assert sorted(searched(letters)) == places


@given(st.text("gbrcnux", min_size=1, max_size=20))
def test_every_change_that_is_found_lies_between_neighbours(letters: str) -> None:
    found = searched(letters)
    known = [place for place in sorted(found) if letters[place] not in "ux"]

    assert all(found[place] == state for place, state in enumerate(states(letters)) if place in found)
    for low, high in pairwise(known):
        if found[low] != found[high]:
            assert set(letters[low + 1 : high]) <= {"u", "x"}
            assert all(place in found for place in range(low, high))


@given(st.text("gb", min_size=1, max_size=20))
def test_a_bad_release_among_good_ones_is_never_missed(letters: str) -> None:
    assert set(searched(letters).values()) == set(states(letters))


@given(st.integers(1, 63))
@settings(max_examples=30)
def test_one_change_takes_no_more_than_halving(first_bad: int) -> None:
    assert len(searched("g" * first_bad + "b" * (64 - first_bad))) <= 2 + 6


@pytest.mark.parametrize(
    ("letters", "bad", "fixed", "told"),
    [
        ("gb", "1", None, "first bad 1, good in 0"),
        ("bg", None, "1", "fixed in 1, bad in 0"),
        ("ggbbg", "2", "4", "first bad 2, good in 1; fixed in 4, bad in 3"),
        ("gub", "2", None, "first bad 2, good in 0 (between them, not to be judged: 1)"),
        ("gg", None, None, "good in every release that was tried"),
        ("bb", None, None, "bad in every release that was tried: why"),
        ("uu", None, None, "no release could be judged: why"),
        ("gbgbg", "1", "2", "first bad 1, good in 0; fixed in 2, bad in 1"),
        ("xxrbb", "3", None, "first bad 3, refused in 2"),
        ("gxb", "2", None, "first bad 2, good in 0 (between them, not to be judged: 1)"),
        ("xbb", None, None, "bad in every release that was tried: why"),
        ("rr", None, None, "refused in every release that was tried: why"),
        ("xx", None, None, "no release could be judged: why"),
        ("gcb", "1", None, "first crashed 1, good in 0; first bad 2, crashed in 1"),
        ("crg", None, "2", "first refused 1, crashed in 0; fixed in 2, refused in 1"),
        ("gn", "1", None, "first nonsense 1, good in 0"),
    ],
)
def test_what_was_found_is_said_in_a_sentence(letters: str, bad: str | None, fixed: str | None, told: str) -> None:
    releases = [str(place) for place in range(len(letters))]

    assert conclude(releases, trials(letters)) == (bad, fixed, told)


class Index:
    """Stands in for uv: answers with the newest release that fits."""

    def __init__(self, *releases: str) -> None:
        self.releases, self.asked = releases, []  # type: ignore[var-annotated]

    def __call__(self, requirement: str, early: bool) -> str | None:
        from packaging.requirements import Requirement
        from packaging.version import Version

        self.asked.append(requirement)
        fitting = Requirement(requirement).specifier.filter(self.releases, prereleases=early)
        return max(fitting, key=Version, default=None)


def test_releases_are_asked_for_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_newest", Index("0.3.9", "0.4.0", "0.5.0", "0.5.10", "0.5.9", "0.6.0"))

    assert list_releases("onnxscript", "0.4.0", "0.5.10") == ("0.4.0", "0.5.0", "0.5.9", "0.5.10")
    assert list_releases("onnxscript", "0.5.10", "0.5.9") == ("0.5.9", "0.5.10")
    assert list_releases("onnxscript", "0.4.0", "0.4.0") == ("0.4.0",)


def test_of_a_beta_the_betas_are_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_newest", Index("1.0b1", "1.0b2", "1.0b3", "0.9"))

    assert list_releases("coreai-core", "1.0b1", "1.0b3") == ("1.0b1", "1.0b2", "1.0b3")
    assert list_releases("coreai-core", "0.8", "1.1") == ("0.8", "0.9", "1.1")


def test_what_is_no_version_is_told() -> None:
    with pytest.raises(ParityError, match="Invalid version: 'latest'; give versions as onnx==1.2.3"):
        list_releases("onnx", "1.0", "latest")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'onnx==1.17.0 ; python_version > \"3\"'", "1.17.0"),
        ("echo they are unsatisfiable. >&2; exit 1", None),
    ],
)
def test_the_index_answers_through_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: str | None
) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\n{script}\n")
    uv.chmod(0o755)
    monkeypatch.setattr(module, "find_uv", lambda: uv)

    assert module._newest("onnx<2", early=False) == found


def test_an_index_that_does_not_answer_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho error: no route to host >&2\nexit 2\n")
    uv.chmod(0o755)
    monkeypatch.setattr(module, "find_uv", lambda: uv)
    with pytest.raises(ParityError, match="asked for onnx<2 and gave no answer: error: no route to host"):
        module._newest("onnx<2", early=False)

    monkeypatch.setattr(module, "find_uv", lambda: None)
    with pytest.raises(ParityError, match="uv is not installed"):
        module._newest("onnx<2", early=False)


class Bench:
    """Stands in for an opened tool chain: `bad` breaks in versions 2 and 3, `good` never, 1 cannot be tried."""

    def __init__(self, version: str) -> None:
        self.version, self.remarks = version, (f"remark on {version}",)

    def convert(self, tried: SuiteRoute, held: Contract = ASSUMED) -> Conversion:
        return Conversion()

    def judge(self, tried: SuiteRoute, made: Conversion, backend: str) -> Outcome:
        subject = Subject(tried.entry.name, tried.route, "", backend, "fp32", "pass")
        if self.version == "1":
            return Outcome(replace(subject, verdict="skipped", reason="resolve: no wheel"), None, "untried")
        if tried.entry.name == "bad" and self.version in ("2", "3"):
            return Outcome(replace(subject, verdict="fail", reason="flips"), None, "wrong")
        return Outcome(subject, None, "right")


def entry(name: str, *routes: str) -> ModelEntry:
    return ModelEntry(name, "models.py:x", {}, routes, ())


SUITE = Suite(Path("parity.toml"), (entry("bad", "onnx", "mlprogram"), entry("good", "onnx")))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Open stand-ins, and note which."""
    names: list[str] = []

    def open_one(side: Any, artifacts: Path, timeout: float) -> Any:
        names.append(side.toolchain.packages[0])
        return nullcontext(Bench(side.name.rpartition(" ")[2]))

    monkeypatch.setattr(module, "opened", open_one)
    monkeypatch.setattr(module, "load_entry", lambda suite, entry: None)
    return names


def releases(package: str, first: str, last: str) -> Sequence[str]:
    return [str(number) for number in range(int(first), int(last) + 1)]


def test_every_model_has_a_history_and_a_release_is_installed_once(opened: list[str]) -> None:
    found = bisect(SUITE, "onnxscript", "0", "5", routes=["onnx"], released=releases)

    bad, good = found.histories
    assert (bad.model, bad.backend) == ("bad", "onnxruntime")
    assert (bad.first_bad, bad.first_fixed) == ("2", "4")
    assert bad.told == "first bad 2, good in 0 (between them, not to be judged: 1); fixed in 4, bad in 3"
    assert (good.first_bad, good.told) == (None, "good in every release that was tried")
    assert found.releases == ("0", "1", "2", "3", "4", "5")
    assert sorted(opened) == [f"onnxscript=={number}" for number in range(6)]
    assert found.exit_code == 0
    assert "remark on 2" in found.remarks
    assert '"first_fixed": "4"' in bisection_to_json(found)


def test_selections_leave_models_and_routes_out(opened: list[str]) -> None:
    found = bisect(SUITE, "onnxscript", "2", "2", models=["bad"], routes=["mlprogram"], released=releases)

    assert [(history.model, history.route) for history in found.histories] == [("bad", "mlprogram")]
    assert found.histories[0].told == "bad in every release that was tried: flips"


@pytest.mark.parametrize(
    ("letters", "code"),
    [
        *[("ug", 0), ("gb", 1), ("gr", 1), ("gc", 1), ("gn", 1), ("u", 3), ("x", 3), ("", 3)],
        *[("bg", 0), ("gbg", 0), ("crng", 0), ("gx", 0), ("bgx", 0), ("gbx", 1)],
    ],
)
def test_exit_codes(letters: str, code: int) -> None:
    history = History("m", "onnx", "onnxruntime", tuple(trials(letters)))

    assert Bisection("onnx", (), (history,)).exit_code == code


def test_the_newest_release_must_be_good_for_every_model() -> None:
    fixed, broken = (History("m", "onnx", "onnxruntime", tuple(trials(letters))) for letters in ("bg", "gb"))

    assert Bisection("onnx", (), (fixed, broken)).exit_code == 1
