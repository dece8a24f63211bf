"""A sample of the damaged files, and that the harness sees what it is there to see."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from parity.coreml import Evaluator
from tests.coreml.fuzz import Outcome, Seeds, damage, findings, fuzz, run_case
from tests.coreml.fuzz_seeds import make_seeds
from tests.coreml.mutations import mutate, mutate_message


@pytest.fixture(scope="module")
def seeds() -> Seeds:
    return make_seeds()


def test_the_files_are_valid_before_they_are_damaged(seeds: Seeds, tmp_path: Path) -> None:
    for name, (files, inputs) in seeds.items():
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        model = Evaluator(tmp_path / name / Path(next(iter(files))).parts[0])

        assert model.predict(dict(inputs), model.make_state() if name == "stateful" else None)


def test_a_sample_of_damaged_files_ends_well(seeds: Seeds) -> None:
    outcomes = fuzz(range(60), seeds, workers=1)

    assert [outcome.case for outcome in outcomes] == list(range(60))
    assert findings(outcomes) == []
    assert {outcome.kind for outcome in outcomes} == {"answer", "refused"}


RUN = """
import dataclasses, os, signal, sys, threading
sys.path.insert(0, {here!r})
from fuzz import Outcome

def run(case, seeds):
    if case == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if case == 2:
        threading.Event().wait()
    if case == 3:
        block = bytearray(1200 << 20)
        block[::4096] = bytes(len(block[::4096]))
    return Outcome(case, "answer")
"""


def test_a_crash_and_much_memory_are_seen(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN.format(here=str(Path(__file__).parent)))

    outcomes = fuzz((0, 1, 3, 4), {}, workers=1, run_file=tmp_path / "run.py")

    assert [outcome.kind for outcome in outcomes] == ["answer", "crash", "memory", "answer"]
    assert [outcome.case for outcome in findings(outcomes)] == [1, 3]


def test_a_hang_is_seen(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN.format(here=str(Path(__file__).parent)))

    outcomes = fuzz([2], {}, bound=0.2, run_file=tmp_path / "run.py")

    assert outcomes == findings(outcomes) == [Outcome(2, "hang", "no end within 0.2 s")]


def test_another_error_is_seen(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("internal")

    monkeypatch.setattr(Evaluator, "__init__", fail)
    outcome = run_case(0, seeds)

    assert outcome.kind == "error"
    assert "KeyError: 'internal'" in outcome.detail
    assert findings([outcome]) == [outcome]


def test_workers_that_cannot_start_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("raise ImportError")

    with pytest.raises(RuntimeError, match="a worker could not start"):
        fuzz(range(1), {}, run_file=tmp_path / "run.py")


@pytest.mark.parametrize(("detail", "found"), [("one line", 0), ("two\nlines", 1), ("", 1)])
def test_a_refusal_is_one_line(detail: str, found: int) -> None:
    assert len(findings([Outcome(0, "refused", detail)])) == found


def test_a_case_is_its_number(seeds: Seeds) -> None:
    targets = sum(len(files) for files, _ in seeds.values())

    assert damage(7, seeds) == damage(7, seeds)
    assert len({damage(case, seeds)[:2] for case in range(targets)}) == targets


def test_damage_is_damage(seeds: Seeds) -> None:
    content = seeds["network"][0]["network.mlmodel"]
    for mutation in (mutate, mutate_message):
        changed = sum(mutation(content, random.Random(case)) != content for case in range(50))
        assert changed > 40


def test_nothing_can_be_damaged_too(seeds: Seeds) -> None:
    for case in range(30):
        mutate(b"", random.Random(case))
        mutate_message(b"", random.Random(case))
