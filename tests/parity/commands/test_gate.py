"""The gate on accuracy from outside: its exit codes, its options, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

from parity.core.gate import Gate
from parity.core.results import json_schema, read_run
from tests.parity import tiny
from tests.parity.commands.command import Parity, Refused
from tests.parity.stream.jobs import SUITE, picture, save_pictures, save_suite

GATE = "\n[gate]\naccuracy_loss = 0.05\nthreshold = 0.6\n"
RUN = ("run", "--backend", "onnxruntime", "--workers", "0", "--batch", "16", "--no-explain")
TINY = (*RUN, "--model", "tiny", "--images", "classes")
IMAGES = 150


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite with a gate, and pictures of which PyTorch is right on nine of ten."""
    place = tmp_path_factory.mktemp("gate")
    save_suite(place, SUITE + GATE)
    classifier = tiny.tiny()
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    for number in range(IMAGES):
        image = picture(number)
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
        answer = classifier.labels[int(classifier.module(((pixels - mean) / std)[None]).argmax())]
        folder = place / "classes" / ("hen" if number % 10 == 0 else answer)
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")
    save_pictures(place / "pictures")
    return place


def test_what_keeps_its_accuracy_passes_and_both_verdicts_are_there(parity: Parity, tmp_path: Path) -> None:
    results = tmp_path / "results.json"

    code, out, _ = parity(*TINY, "--json", str(results))

    assert code == 0
    assert out.splitlines()[-1] == "parity holds, accuracy is kept: 1 pass; gate: 1 pass"
    assert "tiny by onnx-torchscript on onnxruntime: gate on accuracy: pass: loses 0.000 points" in out
    assert "at the threshold 0.6 PyTorch answers" in out
    written = json.loads(results.read_text(encoding="utf-8"))
    jsonschema.validate(written, json_schema())
    assert written["gate"] == {"accuracy_loss": 0.05, "confidence": 0.95, "threshold": 0.6, "decides": "both"}
    (subject,) = written["subjects"]
    assert (subject["verdict"], subject["gate"]["verdict"], subject["gate"]["images"]) == ("pass", "pass", IMAGES)
    assert subject["accuracy"]["selective"]["threshold"] == 0.6


@pytest.mark.parametrize(
    ("decides", "code", "told"),
    [
        ("both", 1, "parity does not hold, accuracy is not kept: 1 fail; gate: 1 fail"),
        ("parity", 1, "parity does not hold, accuracy is not kept (parity decides): 1 fail; gate: 1 fail"),
        ("accuracy", 1, "parity does not hold, accuracy is not kept (accuracy decides): 1 fail; gate: 1 fail"),
    ],
)
def test_what_loses_its_accuracy_fails(parity: Parity, decides: str, code: int, told: str) -> None:
    run = (*RUN, "--model", "swapped", "--images", "classes", "--gate", decides)

    found, out, _ = parity(*run)

    assert (found, out.splitlines()[-1]) == (code, told)


def test_too_few_images_are_inconclusive_and_the_number_is_told(parity: Parity) -> None:
    code, out, _ = parity(*TINY, "--accuracy-loss", "0.002")

    assert code == 3
    assert "0.2 may be lost: too few images: about 1,507 would decide it" in out
    assert parity(*TINY, "--accuracy-loss", "0.002", "--gate", "parity").code == 0


@pytest.mark.parametrize("images", [(), ("--images", "pictures")], ids=["its own", "no labels"])
def test_without_labels_nothing_passes(parity: Parity, images: tuple[str, ...]) -> None:
    run = ("run", "--model", "tiny", "--backend", "onnxruntime", *images)

    code, out, _ = parity(*run)

    assert "gate on accuracy: inconclusive: of no image it is known what it shows" in out
    # The one image of the suite proves nothing of parity either.
    assert code == 3
    if images:
        assert out.splitlines()[-1].startswith("parity holds, accuracy is not shown to be kept: 1 pass;")
        assert parity(*run, "--gate", "parity").code == 0
        assert parity(*run, "--gate", "accuracy").code == 3


def test_a_run_that_goes_on_and_its_shards_give_the_same_bytes(parity: Parity, tmp_path: Path) -> None:
    results, cases = tmp_path / "r.json", tmp_path / "r.cases.jsonl"
    parity(*TINY, "--json", str(results))
    whole = (results.read_bytes(), cases.read_bytes())
    cases.write_bytes(whole[1][: len(whole[1]) // 2])

    assert parity(*TINY, "--json", str(results)).code == 0
    assert (results.read_bytes(), cases.read_bytes()) == whole

    parts = [tmp_path / f"{number}.json" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        code, out, _ = parity(*TINY, "--shard", f"{number}/2", "--json", str(part))
        assert code == 0
        assert "the gate on accuracy is judged on all shards together, by `parity merge`" in out
        assert out.splitlines()[-1] == f"parity holds on shard {number}/2 of the images: 1 pass"
    merged = tmp_path / "again" / "r.json"
    merged.parent.mkdir()
    shards = [str(part.with_suffix(".cases.jsonl")) for part in parts]
    assert parity("merge", *shards, "--json", str(merged)).code == 0
    assert (merged.read_bytes(), merged.with_suffix(".cases.jsonl").read_bytes()) == whole
    assert parity("merge", *shards, "--accuracy-loss", "0.002").code == 3


def test_another_gate_computes_nothing_again(parity: Parity, tmp_path: Path) -> None:
    results, cases = tmp_path / "r.json", tmp_path / "r.cases.jsonl"
    parity(*TINY, "--json", str(results))
    before = cases.read_bytes().partition(b"\n")[2]

    code, _, err = parity(*TINY, "--json", str(results), "--accuracy-loss", "0.04", "--threshold", "0.9")

    assert code == 0
    assert "batches were done before" in err
    assert cases.read_bytes().partition(b"\n")[2] == before
    assert read_run(results).gate == Gate(0.04, threshold=0.9)


def test_saved_results_are_judged_by_another_gate(parity: Parity, tmp_path: Path) -> None:
    results, again = tmp_path / "r.json", tmp_path / "again.json"
    parity(*TINY, "--json", str(results))

    assert parity("judge", str(results)).code == 0
    assert parity("judge", str(results), "--accuracy-loss", "0.002").code == 3
    assert parity("judge", str(results), "--threshold", "0.3", "--json", str(again)).code == 0
    accuracy = read_run(again).subjects[0].accuracy
    assert accuracy is not None
    assert accuracy.selective is not None
    assert accuracy.selective.threshold == 0.3
    assert parity("compare-runs", str(results), str(again)).code == 0


def test_shards_that_ask_for_different_gates_are_refused(parity: Parity, refused: Refused, tmp_path: Path) -> None:
    cases = []
    for number, loss in ((1, "0.05"), (2, "0.01")):
        part = tmp_path / f"{number}.json"
        parity(*TINY, "--shard", f"{number}/2", "--json", str(part), "--accuracy-loss", loss)
        cases.append(str(part.with_suffix(".cases.jsonl")))

    assert "they ask for another gate on accuracy; run the shards alike" in refused("merge", *cases)


def test_a_spot_check_is_not_judged_by_the_gate(parity: Parity) -> None:
    run = tuple(word for word in TINY if word not in ("--backend", "onnxruntime"))

    code, out, _ = parity(*run)

    assert code == 0
    assert out.splitlines()[-1] == "parity holds, accuracy is kept: 2 pass; gate: 1 pass"
    assert "the gate on accuracy is judged where all images are seen" in out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--accuracy-loss", "0"), "--accuracy-loss"),
        (("--accuracy-loss", "nan"), "--accuracy-loss"),
        (("--confidence", "0.4"), "--confidence"),
        (("--threshold", "1"), "--threshold"),
        (("--gate", "neither"), "--gate"),
    ],
)
def test_impossible_numbers_are_one_clear_line(refused: Refused, given: tuple[str, str], told: str) -> None:
    assert f"Invalid value for '{told}'" in refused(*TINY, *given)


def test_a_gate_that_nobody_asks_for_is_not_changed(refused: Refused, tmp_path: Path) -> None:
    suite = save_suite(tmp_path / "without")

    line = refused("run", str(suite), "--model", "tiny", "--gate", "accuracy")

    assert line.startswith("--gate accuracy: there is no gate on accuracy; give --accuracy-loss")
