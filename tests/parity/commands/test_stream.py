"""`parity run --images` from outside: what it leaves, its exit codes, and one clear line for every bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from parity.core.results import json_schema, read_run
from parity.suite.thumbnails import SHOWN
from tests.parity.commands.command import Parity
from tests.parity.stream.jobs import PICTURES, picture, save_pictures, save_suite

RUN = ("run", "--model", "tiny", "--backend", "onnxruntime", "--workers", "0", "--batch", "4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite, and pictures in the directories of their classes."""
    place = tmp_path_factory.mktemp("cli")
    save_suite(place)
    save_pictures(place / "pictures")
    for number in range(12):
        folder = place / "classes" / ("ant" if number % 2 else "bee")
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number}.png")
    return place


def test_a_directory_of_images_that_holds(parity: Parity, tmp_path: Path) -> None:
    results = tmp_path / "results.json"

    code, out, err = parity(*RUN, "--images", "pictures", "--json", str(results))

    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "parity holds: 1 pass"
    written = json.loads(results.read_text(encoding="utf-8"))
    jsonschema.validate(written, json_schema())
    assert written["cases_file"] == "results.cases.jsonl"
    assert (written["subjects"][0]["images"], written["subjects"][0]["counts"]) == (PICTURES, {"match": PICTURES})
    lines = (tmp_path / "results.cases.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["image"] for line in lines[1:]] == [f"{number:03}.png" for number in range(PICTURES)]


def test_the_page_shows_the_worst_images_and_results_do_not(parity: Parity, tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "report.html"

    code, _, _ = parity(*RUN, "--images", "pictures", "--json", str(results), "--html", str(page))

    assert code == 0
    written = json.loads(results.read_text(encoding="utf-8"))
    assert written["thumbnails"] == {}
    assert page.read_text(encoding="utf-8").count("data:image/jpeg;base64,") == SHOWN


def test_a_run_that_was_stopped_goes_on_and_says_so(parity: Parity, tmp_path: Path) -> None:
    results, cases = tmp_path / "results.json", tmp_path / "results.cases.jsonl"
    parity(*RUN, "--images", "pictures", "--json", str(results))
    whole = (results.read_bytes(), cases.read_bytes())
    cases.write_bytes(whole[1][: len(whole[1]) // 2])
    results.unlink()

    code, _, err = parity(*RUN, "--images", "pictures", "--json", str(results))

    assert code == 0
    assert err.startswith(f"parity: {cases}: ")
    assert err.endswith("batches were done before; --fresh starts anew\n")
    assert (results.read_bytes(), cases.read_bytes()) == whole


def test_every_command_says_that_a_damaged_artefact_was_converted_again(
    parity: Parity, place: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.json"
    run = (*RUN, "--images", "pictures", "--json", str(results))
    parity(*run)
    before = results.read_bytes()
    (file,) = place.glob(".parity/tiny/*/tiny.onnx")
    told = "tiny.onnx was converted again: in the cache, tiny.onnx has other content"

    file.write_bytes(b"")
    code, _, err = parity(*run)
    assert (code, err.splitlines()[0]) == (0, f"parity: tiny by onnx-torchscript: {told}")
    assert results.read_bytes() == before
    file.write_bytes(b"")
    _, out, err = parity("run", "--model", "tiny", "--backend", "onnxruntime", "--json", str(results))
    assert err == ""
    assert told in out
    assert read_run(results).subjects[0].remarks == (told,)
    file.write_bytes(b"")
    code, out, err = parity("convert", "tiny", "--route", "onnx-torchscript", "--out", ".parity")
    assert (code, out, err) == (0, f"{file.relative_to(place)}\n", f"parity: {told}\n")


def test_the_cases_of_another_run_are_kept_unless_told(parity: Parity, tmp_path: Path) -> None:
    results = str(tmp_path / "results.json")
    parity(*RUN, "--images", "pictures", "--json", results)

    other = ("--images", "classes", "--json", results)
    code, out, err = parity(*RUN, *other)

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "is of another run" in err
    assert parity(*RUN, *other, "--fresh")[0] == 0


FAILING = ("run", "--model", "swapped", *RUN[3:], "--images", "pictures")


def test_a_leg_that_fails_says_why_everywhere(parity: Parity, tmp_path: Path) -> None:
    json_file, page, junit, markdown = (tmp_path / name for name in ("r.json", "r.html", "r.xml", "r.md"))

    reports = ("--json", json_file, "--html", page, "--junit", junit, "--markdown", markdown)
    code, out, err = parity(*FAILING, *map(str, reports))

    assert (code, err) == (1, "")
    assert "(confirmed on 16 of the images, the worst among them: undoing it restores parity) [pre-bgr-swap]" in out
    assert "  guilty hop: torch -> onnx\n" in out
    assert "  first divergence: operation " in out
    written = json.loads(json_file.read_text(encoding="utf-8"))
    jsonschema.validate(written, json_schema())
    (subject,) = written["subjects"]
    assert [(found["fault"], found["confirmed"]) for found in subject["diagnoses"]] == [("pre-bgr-swap", True)]
    assert (subject["guilty_hop"], subject["explained_on"], subject["images"]) == ("torch -> onnx", 16, PICTURES)
    assert subject["first_divergence"]["type"] == "Conv"
    for report in (page, junit, markdown):
        content = report.read_text(encoding="utf-8")
        for told in ("pre-bgr-swap", "BGR", "confirmed on 16 of the images", "guilty hop", "first divergence"):
            assert told in content or told.capitalize() in content, (report, told)


def test_a_run_that_explained_a_failure_is_started_again(parity: Parity, tmp_path: Path) -> None:
    results, cases = tmp_path / "r.json", tmp_path / "r.cases.jsonl"
    parity(*FAILING, "--json", str(results))
    whole = (results.read_bytes(), cases.read_bytes())
    cases.write_bytes(whole[1][: 2 * len(whole[1]) // 3])

    assert parity(*FAILING, "--json", str(results))[0] == 1

    assert (results.read_bytes(), cases.read_bytes()) == whole


def test_unless_wanted_nobody_looks_why(parity: Parity, tmp_path: Path) -> None:
    results = tmp_path / "r.json"

    code, out, err = parity(*FAILING, "--json", str(results), "--no-explain")

    assert (code, err) == (1, "")
    assert "fail: " in out
    assert "cause" not in out
    assert read_run(results).subjects[0].explained_on == 0


def test_a_shard_says_that_it_is_one_and_is_not_explained(parity: Parity, tmp_path: Path) -> None:
    results = tmp_path / "r.json"

    code, out, err = parity(*FAILING, "--shard", "2/3", "--json", str(results))

    assert code == 1
    assert err.startswith("parity: shard 2/3: why 1 leg fails was not looked for; `parity run` looks for it, ")
    assert out.splitlines()[-1] == "parity does not hold on shard 2/3 of the images: 1 fail"
    assert "cause" not in out
    written = json.loads(results.read_text(encoding="utf-8"))
    jsonschema.validate(written, json_schema())
    assert (written["shard"], written["subjects"][0]["diagnoses"]) == ({"number": 2, "of": 3}, [])


def test_the_directories_say_what_is_right(parity: Parity, tmp_path: Path) -> None:
    results = tmp_path / "results.json"

    code, _, err = parity(*RUN, "--images", "classes", "--json", str(results))

    (subject,) = read_run(results).subjects
    assert (code, err) == (0, "")
    assert subject.accuracy is not None
    assert subject.accuracy.images == 12
    assert subject.accuracy.change.difference == 0
    assert {case.truth for case in subject.cases} == {"ant", "bee"}


def test_a_file_says_what_is_right(parity: Parity, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n000.png,cat\n001.png,dog\n", encoding="utf-8")

    code, _, _ = parity(*RUN, "--images", "pictures", "--labels", str(labels), "--json", str(results))

    accuracy = read_run(results).subjects[0].accuracy
    assert code == 0
    assert accuracy is not None
    assert accuracy.images == 2


def test_directories_of_which_some_are_no_classes_are_told_of(parity: Parity, tmp_path: Path) -> None:
    shutil.copytree("classes", tmp_path / "images")
    (tmp_path / "images" / "ant").rename(tmp_path / "images" / "emu")

    code, _, err = parity(*RUN, "--images", str(tmp_path / "images"))

    assert code == 0
    assert "accuracy of tiny is not measured: 1 of 2 directories are no label of it, `emu` first" in err


@pytest.mark.parametrize(("allowed", "code"), [(None, 1), ("0.1", 0), ("0", 1)])
def test_past_a_share_of_unreadable_images_the_run_fails(
    parity: Parity, tmp_path: Path, allowed: str | None, code: int
) -> None:
    images, results = save_pictures(tmp_path / "images"), tmp_path / "results.json"
    (images / "bad.png").write_bytes(b"")

    given = () if allowed is None else ("--max-unreadable", allowed)

    assert parity(*RUN, "--images", str(images), "--json", str(results), *given)[0] == code
    unreadable = read_run(results).unreadable
    assert unreadable is not None
    assert [one.image for one in unreadable.images] == ["bad.png"]


def test_nothing_but_unreadable_images_concludes_nothing(parity: Parity, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")

    assert parity(*RUN, "--images", str(tmp_path))[0] == 3


@pytest.mark.parametrize(
    "option",
    [
        ("--labels", "l.csv"),
        ("--batch", "8"),
        ("--workers", "2"),
        ("--shard", "1/2"),
        ("--max-unreadable", "0.5"),
        ("--engine", "ray"),
        ("--fresh",),
    ],
)
def test_what_belongs_to_a_directory_is_refused_without_one(parity: Parity, option: tuple[str, ...]) -> None:
    code, out, err = parity("run", *option)

    assert (code, out) == (2, "")
    assert err == f"parity: {option[0]} goes with --images (see `parity run --help`)\n"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--images", "nowhere"), "nowhere: no such directory of images"),
        (("--images", "own/000.png"), "no such directory of images"),
        (("--images", "pictures", "--shard", "4/3"), "4/3: no shard"),
        (("--images", "pictures", "--labels", "gone.csv"), "gone.csv: cannot be read"),
        (("--images", "pictures", "--batch", "0"), "--batch"),
        *(
            (("--images", "pictures", "--max-unreadable", share), "--max-unreadable")
            for share in ("2", "-0.1", "nan", "inf", "-inf", "1e999", "few")
        ),
        *((("--tolerance-scale", scale), "above 0, not") for scale in ("nan", "inf", "0", "-1")),
        (("--images", "pictures", "--engine", "slurm"), "--engine"),
        (("--images", "pictures", "--json", "nowhere/r.json"), "the directory does not exist"),
        (("--images", "pictures", "--route", "mlprogram"), "no model `tiny` with route mlprogram"),
    ],
)
def test_bad_input_is_one_clear_line(parity: Parity, given: tuple[str, ...], told: str) -> None:
    code, out, err = parity(*RUN, *given)

    assert (code, out) == (2, "")
    assert err.startswith("parity: ")
    assert err.count("\n") == 1
    assert told in err
