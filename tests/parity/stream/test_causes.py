"""Why legs of a streamed run fail: found on a few images, kept in the journal, and the same however it is cut."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.routes import convert
from parity import ParityError
from parity.backends import onnxruntime as runtime
from parity.core.results import Answer, Case, Part, Prediction, Run, Subject, to_json
from parity.diagnosis import causes as artefact_causes
from parity.stream import causes, engines, legs
from parity.stream.aggregate import read_results
from parity.stream.causes import IMAGES, WORST, choose, spaced
from parity.stream.engines import shards_of, stream
from parity.stream.job import Job, Shard
from parity.stream.judge_saved import judge_file
from parity.stream.listing import ImageList
from parity.stream.merging import merge_cases, merged_results
from parity.stream.running import run_shard
from tests.parity.diagnosis.faulty import broken
from tests.parity.diagnosis.suspects.test_interface import background, program_labels
from tests.parity.stream.jobs import PICTURES, SUITE, job_over, save_pictures, save_suite
from tests.parity.tiny import tiny

Broken = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("causes")
    save_suite(place)
    save_pictures(place / "pictures")
    return place


def failing(place: Path, cases: Path | None, **more: Any) -> Job:
    """Make a job whose file reads blue where PyTorch reads red."""
    return job_over(place / "pictures", place, models=("swapped",), cases=cases, **more)


@pytest.fixture(scope="module")
def whole(place: Path) -> tuple[str, bytes]:
    """Run without any interruption: results and cases."""
    cases = place / "whole" / "r.cases.jsonl"
    return to_json(stream(failing(place, cases)).run), cases.read_bytes()


def only(run: Run) -> Subject:
    (subject,) = run.subjects
    return subject


def told(subject: Subject) -> list[tuple[str, bool]]:
    return [(found.fault, found.confirmed) for found in subject.diagnoses]


# What is found


def test_a_leg_that_fails_says_why(place: Path, whole: tuple[str, bytes]) -> None:
    subject = only(read_results(place / "whole" / "r.cases.jsonl", 0.01))

    assert (subject.verdict, subject.images, subject.explained_on) == ("fail", PICTURES, 16)
    assert told(subject) == [("pre-bgr-swap", True)]
    assert subject.guilty_hop == "torch -> onnx"
    assert subject.first_divergence is not None
    assert "convolution" in subject.first_divergence.told
    # The header, the images, and one line for the artefact.
    assert len(whole[1].splitlines()) == 1 + PICTURES + 1


def test_a_run_that_holds_says_nothing_and_its_file_ends_with_the_images(place: Path, tmp_path: Path) -> None:
    cases = tmp_path / "r.cases.jsonl"

    found = stream(job_over(place / "pictures", place, cases=cases))

    assert (found.run.exit_code, found.remarks) == (0, ())
    assert (only(found.run).explained_on, only(found.run).diagnoses) == (0, ())
    assert len(cases.read_bytes().splitlines()) == 1 + PICTURES


def test_unless_wanted_nobody_looks(place: Path, tmp_path: Path, whole: tuple[str, bytes]) -> None:
    cases = tmp_path / "r.cases.jsonl"

    subject = only(stream(failing(place, cases), explain=False).run)

    assert (subject.verdict, subject.explained_on, subject.diagnoses) == ("fail", 0, ())
    assert (subject.guilty_hop, subject.first_divergence) == ("", None)
    assert cases.read_bytes() == whole[1][: len(cases.read_bytes())]
    # What is known already is left out too, and kept.
    cases.write_bytes(whole[1])
    assert only(stream(failing(place, cases), explain=False).run) == subject
    assert cases.read_bytes() == whole[1]


def test_runtimes_that_fail_alike_are_explained_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, explain = [], artefact_causes.explain
    monkeypatch.setattr(artefact_causes, "explain", lambda *given: asked.append(given) or explain(*given))

    found = stream(failing(place, tmp_path / "r.cases.jsonl", backends=())).run

    one, other = found.subjects
    assert (one.backend, other.backend) == ("onnxruntime", "onnx-reference")
    assert told(one) == told(other) == [("pre-bgr-swap", True)]
    assert len(asked) == 1


def test_labels_that_were_wrong_before_any_image_are_explained(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = broken(convert(tiny(), "mlprogram", place / "artifacts"), program_labels(background))
    for module in (legs, causes):
        monkeypatch.setattr(module, "convert_entry", lambda *_: found)

    save_suite(tmp_path, SUITE.replace("onnx-torchscript", "mlprogram"))

    job = job_over(place / "pictures", tmp_path, backends=("coreml-evaluator",))
    subject = only(stream(job).run)

    assert (subject.verdict, subject.images, subject.explained_on) == ("fail", 0, 16)
    assert told(subject) == [("lab-off-by-one-background", True)]


def test_a_file_that_cannot_be_loaded_is_looked_at_and_stays_an_error(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> Any:
        raise ParityError("the file is broken")

    monkeypatch.setattr(runtime, "load", load)

    found = stream(job_over(place / "pictures", place, cases=tmp_path / "r.cases.jsonl"))

    subject = only(found.run)
    assert (subject.verdict, subject.reason, subject.explained_on) == ("error", "the file is broken", 16)
    assert not any(confirmed for _, confirmed in told(subject))


def test_what_fails_only_in_the_run_is_said_to(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, calls = runtime.load, [0]

    def breaking(*given: Any) -> Any:
        predict = load(*given)

        def run(pixels: np.ndarray) -> Prediction:
            calls[0] += 1
            # The first call is the trial, the third the second batch.
            return Prediction(predict(pixels).probabilities * np.nan) if calls[0] == 3 else predict(pixels)

        return run

    monkeypatch.setattr(runtime, "load", breaking)

    subject = only(stream(job_over(place / "pictures", place, cases=tmp_path / "r.cases.jsonl")).run)

    assert (subject.reason, subject.diagnoses) == ("4 error of 23 image(s)", ())
    assert subject.unexplained.startswith("16 images, the worst among them, agree when they are run again")


def test_what_the_suite_expects_to_fail_is_not_explained(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_suite(tmp_path, f'{SUITE}[[known_issues]]\nmodel = "swapped"\nreason = "upstream"\n')
    job = replace(failing(place, tmp_path / "r.cases.jsonl"), suite=tmp_path / "parity.toml")

    found = stream(job)

    assert only(found.run).known_issue is not None
    assert (only(found.run).explained_on, found.remarks) == (0, ())


def test_a_bug_of_ours_hides_no_failure(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any) -> Any:
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr(causes, "judge_with_prediction", bug)

    found = stream(failing(place, tmp_path / "r.cases.jsonl"))

    assert (only(found.run).verdict, only(found.run).explained_on) == ("fail", 0)
    assert found.remarks == ("swapped by onnx-torchscript: why it fails cannot be looked for: division by zero",)


def test_images_that_went_away_are_told_of(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = tmp_path / "r.cases.jsonl"
    shutil.copytree(place / "pictures", tmp_path / "pictures")
    job = replace(failing(place, cases), images=tmp_path / "pictures")
    run = stream(job, explain=False).run
    for number in range(PICTURES):
        (tmp_path / "pictures" / f"{number:03}.png").write_bytes(b"")

    found, remarks = causes.explain_run(job, cases, run, lambda *_: None)

    assert found == run
    assert len(remarks) == 1
    assert "none of 16 images can be read, " in remarks[0]


# The same bytes


@pytest.mark.parametrize("lost", [1, 400, 6000])
def test_a_run_that_was_stopped_in_its_explanation_or_before_ends_with_the_same_bytes(
    place: Path, tmp_path: Path, whole: tuple[str, bytes], lost: int
) -> None:
    cases = tmp_path / "r.cases.jsonl"
    cases.write_bytes(whole[1][:-lost])

    found = stream(failing(place, cases)).run

    assert (to_json(found), cases.read_bytes()) == whole


def test_what_was_explained_is_not_looked_for_again(
    place: Path, tmp_path: Path, whole: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = tmp_path / "r.cases.jsonl"
    cases.write_bytes(whole[1])
    monkeypatch.setattr(causes, "_artefact", lambda *_: pytest.fail("explained twice"))

    found = stream(failing(place, cases))

    assert (to_json(found.run), cases.read_bytes()) == whole
    assert to_json(read_results(cases, 0.01)) == whole[0]


def test_shards_are_not_explained_and_say_so_and_the_run_over_all_is(
    place: Path, tmp_path: Path, whole: tuple[str, bytes]
) -> None:
    parts = []
    for number in (1, 2):
        job = failing(place, tmp_path / f"{number}.cases.jsonl", shard=Shard(number, 2))
        found = stream(job)
        assert (found.run.shard, only(found.run).explained_on) == (Part(number, 2), 0)
        assert found.remarks == (
            f"shard {number}/2: why 1 leg fails was not looked for; `parity run` looks for it, without --shard and "
            "with the --json that `parity merge` was given",
        )
        parts.append(job.cases)
    assert None not in parts

    (tmp_path / "whole").mkdir()
    merged = merged_results([part for part in parts if part], tmp_path / "whole" / "r.json", 0.01)

    assert (merged.shard, only(merged).explained_on) == (None, 0)
    assert causes.remarks_on(merged) == (
        "why 1 leg fails was not looked for; `parity run` looks for it, without --shard and with the --json that "
        "`parity merge` was given",
    )
    cases = tmp_path / "whole" / "r.cases.jsonl"
    assert (to_json(stream(failing(place, cases)).run), cases.read_bytes()) == whole
    # What is merged is then the whole run, and keeps what was found.
    assert to_json(replace(merged_results([cases], None, 0.01), cases_file=cases.name)) == whole[0]
    merge_cases([cases], tmp_path / "again.cases.jsonl")
    assert (tmp_path / "again.cases.jsonl").read_bytes() == whole[1]


def test_an_engine_that_makes_shards_of_its_own_gives_the_same_bytes(
    place: Path, tmp_path: Path, whole: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        engines, "ENGINES", {"ray": lambda job, progress: [run_shard(part, progress) for part in shards_of(job, 3)]}
    )
    cases = tmp_path / "r.cases.jsonl"

    found = stream(failing(place, cases), "ray")

    assert (to_json(found.run), cases.read_bytes()) == whole
    assert list(tmp_path.iterdir()) == [cases]


def test_without_a_place_for_the_cases_it_is_explained_all_the_same(place: Path) -> None:
    found = stream(failing(place, None)).run

    assert told(only(found)) == [("pre-bgr-swap", True)]
    assert list((place / "artifacts" / "runs").iterdir()) == []


def test_judged_again_it_keeps_its_causes_for_as_long_as_it_fails(whole: tuple[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(whole[0], encoding="utf-8")
    (tmp_path / "r.cases.jsonl").write_bytes(whole[1])

    assert to_json(judge_file(tmp_path / "r.json")) == whole[0]
    looser = only(judge_file(tmp_path / "r.json", 0.1))
    assert (looser.verdict, told(looser)) == ("fail", [("pre-bgr-swap", True)])
    # Labels that no arithmetic turns round are no tie, whatever is allowed.
    loosest = only(judge_file(tmp_path / "r.json", 0.999))
    assert (loosest.verdict, told(loosest)) == ("fail", [("pre-bgr-swap", True)])


# Which images


def images(count: int) -> ImageList:
    """List images by two figures each."""
    names = "".join(f"{place:02}" for place in range(count))
    return ImageList(Path("pictures"), names.encode(), array("Q", range(2, 2 * count + 1, 2)), "digest")


def leg(*cases: tuple[int, Any]) -> Subject:
    """Make a leg with these cases, the worst first."""
    made = [Case(f"{place:02}", verdict, Answer("ant", 0.5), Answer("bee", 0.5)) for place, verdict in cases]
    return Subject("tiny", "onnx", "tiny.onnx", "onnxruntime", "fp32", "fail", cases=tuple(made))


def test_the_worst_come_first_and_the_others_are_evenly_spaced() -> None:
    found = choose([leg((40, "flip"), (3, "drift"), (7, "match"))], images(58))

    # 56 others, every fourth of them: 0, 4, ... as they are numbered without 3 and 40.
    assert found == [40, 3, 0, 5, 9, 13, 17, 21, 25, 29, 33, 37, 42, 46, 50, 54]
    assert len(found) == IMAGES == 16


def test_of_many_that_fail_the_worst_eight_are_taken_and_each_leg_has_its_turn() -> None:
    one = leg(*((place, "flip") for place in range(40, 72)))
    other = leg(*((place, "error") for place in (41, 90, 40, 91)))

    assert choose([one], images(96))[:9] == [40, 41, 42, 43, 44, 45, 46, 47, 0]
    assert choose([one, other], images(96))[:8] == [40, 41, 90, 42, 43, 91, 44, 45]
    assert WORST == 8


def test_of_few_images_all_are_taken() -> None:
    assert choose([leg((2, "flip"))], images(5)) == [2, 0, 1, 3, 4]
    assert choose([leg()], images(1)) == [0]
    assert choose([leg()], images(32)) == list(range(0, 32, 2))


@pytest.mark.parametrize(
    ("total", "count", "without"), [(9, 4, []), (9, 4, [0, 8]), (5, 9, [1]), (3, 2, [0, 1, 2])]
)
def test_places_are_different_and_none_of_those_left_out(total: int, count: int, without: list[int]) -> None:
    found = list(spaced(total, count, without))

    assert len(found) == len({*found}) == min(count, total - len(without))
    assert not {*found} & {*without}
    assert all(0 <= place < total for place in found)
