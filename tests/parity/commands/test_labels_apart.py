"""Labels that are judged apart, from outside: their records, baselines and audits, with right verdicts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conversion import Classifier
from conversion.deployed import deployed_module, pixels_to_tensor
from parity.core.results import Subject, read_run
from parity.suite.images import load_images
from tests.parity.commands.command import Parity, lay_out
from tests.parity.tiny import LABELS, converted, tiny

ROUTES = {"onnx-torchscript": "apart.onnx", "mlprogram": "apart.mlpackage", "onnx-coreml": "apart.mlmodel"}
FACTORY = """

def apart():
    return replace(tiny(), sigmoid="added")
"""
SUITE = """
images = ["photos/*.png"]

[models.apart]
factory = "models.py:apart"
routes = ["onnx-torchscript", "mlprogram-fp32", "onnx-coreml"]
"""


def apart() -> Classifier:
    return replace(tiny(), sigmoid="added")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a factory, photos, a suite, and the files that three routes make of the model."""
    place = lay_out(tmp_path_factory.mktemp("apart"), SUITE)
    with (place / "models.py").open("a", encoding="utf-8") as file:
        file.write(FACTORY)
    for route, name in ROUTES.items():
        path = converted(route, apart).path
        (shutil.copytree if path.is_dir() else shutil.copy)(path, place / name)
    return place


def recorded(file: str, parity: Parity, change: Callable[[Any], None] = lambda answers: None) -> Path:
    """Record what a file answers; change: what becomes of the numbers of each image on the way."""
    assert parity("record", file, "--images", "photos", "--out", "record.json", "--force").code == 0
    record = Path("record.json")
    content = json.loads(record.read_text(encoding="utf-8"))
    for prediction in content["records"][0]["predictions"]:
        change(prediction["probabilities"])
    record.write_text(json.dumps(content), encoding="utf-8")
    return record


def exchange(numbers: Any) -> None:
    """Give two labels each other's number, in a dictionary or in a list."""
    one, other = ("bee", "gnu") if isinstance(numbers, dict) else (LABELS.index("bee"), LABELS.index("gnu"))
    numbers[one], numbers[other] = numbers[other], numbers[one]


def only(path: str) -> Subject:
    (subject,) = read_run(Path(path)).subjects
    return subject


# Predictions


@pytest.mark.parametrize("file", ROUTES.values())
def test_each_label_is_printed_with_a_probability_of_its_own(file: str, parity: Parity) -> None:
    done = parity("predict", file, "photos/picture0.png", "--top", "8")
    head, *lines = done.out.splitlines()

    assert done.code == 0
    assert head.endswith(": each label by itself, as a probability of its own")
    printed = {label: float(number) for number, label in map(str.split, lines)}
    assert set(printed) == set(LABELS)
    assert sum(printed.values()) > 1.5
    with torch.no_grad():
        image = pixels_to_tensor(load_images(["photos/picture0.png"], apart().preprocessing).pixels)
        expected = deployed_module(apart())(image)[0].tolist()
    assert [printed[label] for label in LABELS] == pytest.approx(expected, abs=5e-3)


# Records


@pytest.mark.parametrize("file", ROUTES.values())
def test_a_record_of_a_sound_file_holds(file: str, parity: Parity) -> None:
    recorded(file, parity)

    done = parity(
        *("check", "models.py:apart", file, "--images", "photos", "--record", "record.json"),
        *("--backend", "recorded", "--json", "results.json", "--force"),
    )

    assert (done.code, done.err) == (0, "")
    found = only("results.json")
    assert (found.backend, found.verdict, found.images) == ("recorded", "pass", 6)
    assert [output.name for output in found.outputs] == ["labelProbs"]
    assert parity("explain", "models.py:apart", file, "--images", "photos", "--record", "record.json").code == 0


@pytest.mark.parametrize("file", ROUTES.values())
def test_a_record_of_wrong_answers_fails_and_says_why(file: str, parity: Parity) -> None:
    recorded(file, parity, exchange)
    record = ("--record", "record.json", "--json", "results.json", "--force")

    done = parity(
        "check", "models.py:apart", file, "--images", "photos", *record, "--backend", "recorded", "--no-explain"
    )
    explained = parity("explain", "models.py:apart", file, "--images", "photos", *record)

    assert (done.code, explained.code) == (1, 1)
    assert [(d.fault, d.confirmed) for d in only("results.json").diagnoses] == [("lab-order-permuted", True)]
    assert "'bee'" in explained.out
    assert "'gnu'" in explained.out


def test_a_record_by_label_has_no_order(parity: Parity) -> None:
    def turned(numbers: dict[str, float]) -> None:
        for label in reversed(LABELS):
            numbers[label] = numbers.pop(label)

    recorded("apart.onnx", parity, turned)

    done = parity(
        *("check", "models.py:apart", "apart.onnx", "--images", "photos", "--record", "record.json"),
        *("--backend", "recorded"),
    )

    assert done.code == 0


def test_a_record_of_other_labels_is_refused(parity: Parity) -> None:
    def lost(numbers: dict[str, float]) -> None:
        del numbers["gnu"]

    recorded("apart.onnx", parity, lost)

    done = parity(
        *("check", "models.py:apart", "apart.onnx", "--images", "photos", "--record", "record.json"),
        *("--backend", "recorded"),
    )

    assert done.code == 1
    assert "made for other labels: the record has 7 labels, the classifier 8" in done.out


# Baselines


def test_answers_are_stored_and_found_again(parity: Parity) -> None:
    stored = parity("baseline", "record", "--reason", "the first")
    again = parity("baseline", "check", "--json", "drift.json")

    assert (stored.code, again.code) == (0, 0), stored.err
    legs = json.loads(Path("drift.json").read_text(encoding="utf-8"))["legs"]
    assert {leg["route"]: leg["counts"] for leg in legs if leg["counts"]} == {
        route: {"same bits": 6} for route in ("onnx-torchscript", "mlprogram-fp32", "onnx-coreml")
    }


# The audit


@pytest.fixture(scope="module")
def audited(place: Path) -> dict[str, list[Any]]:
    """Audit the suite for what the head and the labels may have, by route."""
    from parity.audit.findings import to_json
    from parity.audit.run import audit_suite
    from parity.suite.suite import read_suite

    faults = ["head-*", "lab-*", "pre-bgr-swap"]
    audit = audit_suite(read_suite(place / "parity.toml"), faults=faults, artifacts=place / ".parity")
    legs = json.loads(to_json(audit))["legs"]
    assert all(leg["audited"] for leg in legs)
    return {leg["route"]: leg["mutants"] for leg in legs}


def verdicts(mutants: list[Any], fault: str) -> set[str]:
    return {mutant["verdict"] for mutant in mutants if mutant["fault"] == fault}


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32", "onnx-coreml"])
def test_what_may_be_wrong_with_the_sigmoid_is_put_in_and_caught(route: str, audited: dict[str, list[Any]]) -> None:
    mutants = audited[route]

    for fault in ("head-sigmoid-missing", "head-sigmoid-twice", "head-temperature", "pre-bgr-swap"):
        assert verdicts(mutants, fault) == {"caught"}, fault
    # A sigmoid of a sigmoid: every number is between one half and 0.732.
    (twice,) = (mutant for mutant in mutants if mutant["fault"] == "head-sigmoid-twice")
    assert 0.4 < twice["max_abs_diff"] <= 0.5
    # There is no softmax that could be missing.
    assert verdicts(mutants, "head-softmax-missing") == {"not applicable"}


@pytest.mark.parametrize(
    "fault",
    [
        *("lab-order-permuted", "lab-off-by-one-background", "lab-count-mismatch"),
        *("lab-text-mismatch", "lab-duplicate-names"),
    ],
)
def test_labels_in_a_file_that_are_others_are_caught(fault: str, audited: dict[str, list[Any]]) -> None:
    applied = [mutant for mutant in audited["onnx-torchscript"] if mutant["fault"] == fault]

    assert {mutant["verdict"] for mutant in applied} - {"not applicable"} == {"caught"}
    # Core ML has no place for them where there is no dictionary.
    assert verdicts(audited["mlprogram-fp32"], fault) == {"not applicable"}
