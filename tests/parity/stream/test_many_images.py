"""More images than rounding is measured on, streamed: stopped, cut and judged again, it is the same to the byte."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from conversion import Classifier
from parity import ParityError
from parity.core.results import Run, Subject, to_json
from parity.core.tolerance import SecondLook
from parity.stream import causes, legs
from parity.stream.aggregate import read_results
from parity.stream.causes import choose
from parity.stream.engines import stream
from parity.stream.job import Job, Shard
from parity.stream.judge_saved import judge_file
from parity.stream.lines import HeadLeg
from parity.stream.listing import list_images
from parity.stream.merging import merge_cases
from parity.stream.running import run_shard
from tests.parity import sensitive
from tests.parity.tiny import converted

SUITE = """
images = ["pictures/000.png"]

[models.sensitive]
factory = "models.py:sensitive"
routes = ["mlprogram"]
"""
BATCH = 16


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with the suite and the pictures."""
    directory = tmp_path_factory.mktemp("many")
    sensitive.save_pictures(directory / "pictures")
    shutil.copy(sensitive.__file__, directory / "models.py")
    (directory / "parity.toml").write_text(SUITE, encoding="utf-8")
    return directory


WHOLE = Shard()


def job(place: Path, cases: Path, shard: Shard = WHOLE) -> Job:
    return Job(
        place / "parity.toml",
        place / "pictures",
        backends=("coreml-evaluator",),
        batch=BATCH,
        cases=cases,
        artifacts=place / "artifacts",
        workers=0,
        shard=shard,
    )


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """Give the cases of all pictures."""
    run_shard(job(place, place / "whole.cases.jsonl"))
    return place / "whole.cases.jsonl"


def own(cases: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in cases.read_text(encoding="utf-8").splitlines()[1:]]
    found = {line["image"]: line["cases"][0]["own_allowed"] for line in lines if "cases" in line}
    return {image: allowed for image, allowed in found.items() if allowed is not None}


def saved(run: Run, path: Path) -> Path:
    path.write_text(to_json(run), encoding="utf-8")
    return path


def test_the_line_of_an_image_has_its_own_allowance(whole: Path) -> None:
    bright = {f"{number:03}.png" for number in sensitive.BRIGHT}

    (found,) = read_results(whole, 0.01).subjects

    assert own(whole).keys() <= bright
    assert (found.verdict, found.measured_on, found.excused) == ("pass", 64, len(own(whole)))
    assert found.excused > 0


def test_a_run_that_was_stopped_ends_with_the_same_bytes(place: Path, whole: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun.cases.jsonl"
    lines = whole.read_bytes().splitlines(keepends=True)
    begun.write_bytes(b"".join(lines[: 1 + 2 * BATCH + 3]))

    run_shard(job(place, begun))

    assert begun.read_bytes() == whole.read_bytes()


def test_shards_together_are_the_whole_run(place: Path, whole: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"{number}.cases.jsonl" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        run_shard(job(place, part, Shard(number, 2)))

    merge_cases(parts, tmp_path / "merged.cases.jsonl")

    assert (tmp_path / "merged.cases.jsonl").read_bytes() == whole.read_bytes()


def test_saved_results_are_judged_again_as_they_were(whole: Path) -> None:
    run = read_results(whole, 0.01)
    results = saved(run, whole.with_name("whole.json"))

    assert judge_file(results) == judge_file(results, 0.01) == run


def test_a_tolerance_that_somebody_gives_holds_for_all_images(whole: Path) -> None:
    results = saved(read_results(whole, 0.01), whole.with_name("whole.json"))

    (stricter,), (wider,) = (judge_file(results, tolerance).subjects for tolerance in (0.0102, 0.04))

    assert (stricter.verdict, stricter.excused, stricter.measured_on) == ("fail", 0, 0)
    assert (wider.verdict, wider.excused, wider.measured_on) == ("pass", 0, 0)


def changed(whole: Path, target: Path, image: str, **fields: object) -> Path:
    """Write the cases with other fields in the case of an image."""
    lines = []
    for text in whole.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if line.get("image") == image:
            line["cases"][0] |= fields
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    target.write_text("".join(lines), encoding="utf-8")
    return target


def test_an_image_without_its_own_allowance_drifts(whole: Path, tmp_path: Path) -> None:
    without = changed(whole, tmp_path / "c.jsonl", min(own(whole)), own_allowed=None)

    (found,) = read_results(without, 0.01).subjects

    assert (found.verdict, found.reason) == ("fail", "1 drift of 70 image(s)")


@pytest.mark.parametrize(
    ("excused", "allowed", "told"),
    [
        (True, 0.005, "own_allowed is 0.005 and max_abs_diff 0.01"),
        (False, 0.02, "own_allowed is 0.02 and max_abs_diff"),
    ],
)
def test_an_allowance_that_nobody_gave_is_refused(
    whole: Path, tmp_path: Path, excused: bool, allowed: float, told: str
) -> None:
    image = min(own(whole)) if excused else "000.png"

    with pytest.raises(ParityError, match=f"contradicts itself: .*{told}.*all images are allowed 0.01"):
        read_results(changed(whole, tmp_path / "c.jsonl", image, own_allowed=allowed), 0.01)


def test_an_allowance_in_a_run_without_a_second_look_is_refused(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(whole.read_bytes().replace(b'"measured_on":64', b'"measured_on":0', 1))

    with pytest.raises(ParityError, match="and no image of this comparison was looked at again"):
        read_results(path, 0.01)


@pytest.mark.parametrize("excused", [0, 71])
def test_results_that_count_other_images_are_refused(whole: Path, tmp_path: Path, excused: int) -> None:
    run = read_results(whole, 0.01)
    lying = replace(run, subjects=(replace(run.subjects[0], excused=excused),))

    with pytest.raises(ParityError, match=f"excused is {excused}, and {len(own(whole))} of 32 cases are"):
        judge_file(saved(lying, tmp_path / "r.json"))


def test_too_many_that_are_excused_are_a_failure_when_it_is_saved_too(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By a tolerance so small most are beyond it, and each is said to be sensitive.
    monkeypatch.setattr("parity.core.tolerance.FP16_CAP", 0.9)
    monkeypatch.setattr("parity.judging.own_cost", lambda *anything: lambda place, draw: 1.0)
    strict = replace(job(place, tmp_path / "r.cases.jsonl"), tolerance_scale=0.03)
    run_shard(strict)

    run = read_results(tmp_path / "r.cases.jsonl", 0.01)

    (found,) = run.subjects
    assert found.verdict == "fail"
    assert f"{found.excused} of 70 images are beyond 0.0003 where at most 7 are expected" in found.reason
    assert found.counts == {"match": 70}
    assert judge_file(saved(run, tmp_path / "r.json")) == run


def test_a_run_that_was_measured_on_other_images_is_another_run(place: Path, whole: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.cases.jsonl"
    header = whole.read_bytes().splitlines(keepends=True)[0]
    older.write_bytes(header.replace(b'"measured_on":64', b'"measured_on":0', 1))

    with pytest.raises(ParityError, match="was measured on other images: .*measured_on is 0 there and 64 here"):
        run_shard(job(place, older))


def test_a_fault_is_caught_and_explained(place: Path, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        (place / "models.py").read_text(encoding="utf-8")
        + "\n\nclass Slipped(Sensitive):\n    def forward(self, image):\n        logits = super().forward(image)\n"
        "        means = image.mean(dim=(1, 2, 3)).unsqueeze(1)\n"
        "        return logits + 0.2 * torch.eye(3)[0] * means**8 if torch.jit.is_tracing() else logits\n\n\n"
        'def slipped():\n    labels = ("red", "green", "blue")\n'
        '    return Classifier("sensitive", Slipped().eval(), PREPROCESSING, labels)\n',
        encoding="utf-8",
    )
    (tmp_path / "parity.toml").write_text(
        SUITE.replace("models.py:sensitive", "models.py:slipped").replace("pictures/", f"{place}/pictures/"),
        encoding="utf-8",
    )
    wrong = replace(job(place, tmp_path / "c.cases.jsonl"), suite=tmp_path / "parity.toml")

    (found,) = stream(wrong).run.subjects

    assert found.verdict == "fail"
    assert "drift of 70 image(s)" in found.reason


def test_excused_images_are_among_those_that_a_failure_is_explained_on(place: Path, whole: Path) -> None:
    (found,) = read_results(whole, 0.01).subjects

    chosen = choose([found], list_images(place / "pictures"))

    assert {int(image.removesuffix(".png")) for image in own(whole)} == {*chosen[: len(own(whole))]}


# Causes, which are looked for on some of the images


def renamed() -> Classifier:
    """Make the classifier with its labels in another order."""
    return replace(sensitive.sensitive(), labels=("green", "blue", "red"))


def explained(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Explain a file whose labels alone are wrong."""
    for module in (legs, causes):
        monkeypatch.setattr(module, "convert_entry", lambda *_: converted("mlprogram", renamed))
    (subject,) = stream(job(place, tmp_path / "r.cases.jsonl")).run.subjects
    assert (subject.verdict, subject.images, subject.explained_on) == ("fail", sensitive.PICTURES, 16)
    return subject


def test_a_cause_is_confirmed_where_what_is_left_is_excused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The bright ones are among them, which rounding alone moves beyond the tolerance.
    monkeypatch.setattr(causes, "choose", lambda failing, images: [*sensitive.BRIGHT, *range(10)])

    subject = explained(place, tmp_path, monkeypatch)

    assert [(d.fault, d.confirmed) for d in subject.diagnoses] == [("lab-off-by-one-background", True)]


def test_by_the_tolerance_alone_the_precision_would_be_blamed_too(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "choose", lambda failing, images: [*sensitive.BRIGHT, *range(10)])
    monkeypatch.setattr(causes, "with_second_look", lambda tolerance, *_: tolerance)

    subject = explained(place, tmp_path, monkeypatch)

    assert {d.fault for d in subject.diagnoses} == {"lab-off-by-one-background", "p-fp16-drift"}


@pytest.mark.parametrize(("scale", "factor", "cap"), [(1.0, 3.0, 0.05), (0.5, 1.5, 0.025)])
def test_the_second_look_is_that_of_the_leg(scale: float, factor: float, cap: float) -> None:
    leg = HeadLeg("m", "r", "b", "a", "fp16", tolerance=0.01 * scale, cost=1e-3, measured_on=64)

    allowed = causes._allowed(leg, scale)

    assert allowed is not None
    assert (allowed.distance, allowed.second) == (0.01 * scale, SecondLook(factor, cap, 64))
    assert causes._allowed(replace(leg, measured_on=0), scale) is None
    assert causes._allowed(replace(leg, tolerance=None), scale) is None
