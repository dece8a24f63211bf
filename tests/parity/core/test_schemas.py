"""The JSON schemas of what is written: each is what the code says, and what was written is as it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from parity.core.file_kinds import WRITTEN
from parity.stream import lines
from parity.suite.suite import Suite
from parity.versions import baselines, bisect, drift, run_diff, upgrade
from tests.parity.stream.test_causes import place as place
from tests.parity.stream.test_causes import whole as whole
from tests.parity.versions.test_bisect import SUITE, releases
from tests.parity.versions.test_bisect import opened as opened
from tests.parity.versions.test_drift import ROW, answering
from tests.parity.versions.test_drift import leg as leg
from tests.parity.versions.test_run_diff import everything
from tests.parity.versions.test_upgrade import NEW, OLD, good, sides, wrong
from tests.parity.versions.test_upgrade import suite as suite

SCHEMAS = Path(__file__).parents[3] / "parity" / "schemas"
FIXTURES = Path(__file__).parents[3] / "fixtures"
# The name of a schema's file -> the module that generates it.
GENERATED: dict[str, ModuleType] = {
    "baseline": baselines,
    "bisection": bisect,
    "cases": lines,
    "drift": drift,
    "run-diff": run_diff,
    "upgrade": upgrade,
}


def committed(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Put a value into a copy of a document, at a place."""
    copy = json.loads(json.dumps(content))
    table = copy
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    return copy


def refused(name: str, document: Any, path: tuple[Any, ...], value: Any) -> bool:
    """Tell whether a sound document is refused once a value of it is another."""
    validator = jsonschema.Draft202012Validator(committed(name))
    validator.validate(document)
    return not validator.is_valid(changed(document, path, value))


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_schema_is_the_generated_one(name: str) -> None:
    module = GENERATED[name]
    generated = json.dumps(module.json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8") == generated, (
        f"what is written has changed: write json.dumps({module.__name__}.json_schema(), indent=2, "
        f"ensure_ascii=False) and a newline to parity/schemas/{name}.schema.json"
    )


@pytest.mark.parametrize("name", GENERATED)
def test_each_is_a_schema_with_a_title(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(committed(name))
    assert committed(name)["title"].startswith("coreml-parity ")


def test_every_kind_of_document_has_a_schema() -> None:
    texts = [path.read_text(encoding="utf-8") for path in SCHEMAS.glob("*.schema.json")]

    assert len(WRITTEN) == 13
    assert [kind for kind in WRITTEN if not any(f'"const": "{kind}/' in text for text in texts)] == []


# An upgrade


@pytest.fixture
def an_upgrade(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Compare a side that converts well with one that does not."""
    sides(monkeypatch, good, wrong)
    return json.loads(upgrade.upgrade_to_json(upgrade.upgrade(suite, OLD, NEW, ["tiny"], artifacts=tmp_path)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-upgrade/2"),
        (("another",), 1),
        (("summary", "worse"), -1),
        (("summary", "unnoticed"), 1),
        (("packages", "old"), ["onnx"]),
        (("legs", 0, "verdict"), "pass"),
        (("legs", 0, "before"), "good"),
        (("legs", 0, "flips"), 0.5),
        (("legs", 0, "old", "verdict"), "worse"),
    ],
)
def test_an_upgrade_is_valid_until_it_is_broken(an_upgrade: Any, path: tuple[Any, ...], value: Any) -> None:
    assert [leg["verdict"] for leg in an_upgrade["legs"]] == ["worse"]
    assert refused("upgrade", an_upgrade, path, value)


# A bisection


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-upgrade/1"),
        (("another",), 1),
        (("releases", 0), 0),
        (("histories", 0, "trials", 0, "state"), "right"),
        (("histories", 0, "first_bad"), 2),
        (("remarks",), None),
    ],
)
def test_a_bisection_is_valid_until_it_is_broken(opened: list[str], path: tuple[Any, ...], value: Any) -> None:
    bisection = bisect.bisect(SUITE, "onnxscript", "0", "5", routes=["onnx"], released=releases)

    assert refused("bisection", json.loads(bisect.bisection_to_json(bisection)), path, value)


# A difference of runs


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-run/1"),
        (("another",), 1),
        (("environment", "torch"), ["2.12"]),
        (("summary", "gone"), 0.5),
        (("subjects", 0, "verdict"), "pass"),
        (("subjects", 0, "worse"), "yes"),
        (("subjects", 0, "images", 0, "new"), "worse"),
    ],
)
def test_a_difference_of_runs_is_valid_until_it_is_broken(path: tuple[Any, ...], value: Any) -> None:
    assert refused("run-diff", json.loads(run_diff.diff_to_json(everything())), path, value)


# Baselines, and what became of them


Followed = Callable[[str], Any]


@pytest.fixture
def followed(leg: Any, tmp_path: Path) -> Followed:
    """Return what `parity baseline` writes with --json, where answers are stored and where they moved."""

    def follow(what: str) -> Any:
        stored = drift.follow(tmp_path, leg, "the first")
        moved = drift.follow(tmp_path, answering(leg, ROW[::-1].copy()))
        one = {"stored": stored, "moved": moved}[what]
        return json.loads(drift.to_json(drift.Drifts((one,), (tmp_path / "baselines" / "old.json",)), tmp_path))

    return follow


@pytest.mark.parametrize(
    ("what", "path", "value"),
    [
        ("stored", ("schema",), "parity-baseline/1"),
        ("stored", ("another",), 1),
        ("stored", ("legs", 0, "written"), True),
        ("stored", ("unused", 0), None),
        ("moved", ("exit_code",), "1"),
        ("moved", ("legs", 0, "counts", "moved"), "1"),
        ("moved", ("legs", 0, "counts", "better"), 1),
        ("moved", ("legs", 0, "images", "image 0", "kind"), "worse"),
        ("moved", ("legs", 0, "images", "image 0", "max_abs_diff"), "0.5"),
    ],
)
def test_a_drift_is_valid_until_it_is_broken(
    followed: Followed, what: str, path: tuple[Any, ...], value: Any
) -> None:
    assert refused("drift", followed(what), path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-drift/1"),
        (("another",), 1),
        (("reason",), None),
        (("environment", "packages"), ["torch"]),
        (("artifact", "size"), 0.5),
        (("images", "image 0", "top", 0), ["ant"]),
        (("images", "image 0", "top", 0, 1), "0.5"),
        (("images", "image 0", "pixels"), 1),
    ],
)
def test_a_baseline_is_valid_until_it_is_broken(
    leg: Any, tmp_path: Path, path: tuple[Any, ...], value: Any
) -> None:
    file = drift.follow(tmp_path, leg, "the first").written

    assert file is not None
    assert refused("baseline", json.loads(file.read_text(encoding="utf-8")), path, value)


def test_stored_baselines_are_valid_and_older_ones_too() -> None:
    files = sorted((FIXTURES / "baselines").glob("*/*.json"))
    validator = jsonschema.Draft202012Validator(committed("baseline"))

    assert files
    for file in files:
        stored = json.loads(file.read_text(encoding="utf-8"))
        validator.validate(stored)
        # Those that were written before baselines had the two are read, and are valid.
        validator.validate({key: value for key, value in stored.items() if key not in ("cpu", "artifact")})
        assert not validator.is_valid({key: value for key, value in stored.items() if key != "images"})


# Cases: a header, a line for each image, and why an artefact fails


@pytest.mark.parametrize(
    ("line", "path", "value"),
    [
        (0, ("schema",), "parity-cases/2"),
        (0, ("another",), 1),
        (0, ("images",), 2.5),
        (0, ("models", 0, "labels"), "ant"),
        (0, ("legs", 0, "verdict"), "worse"),
        (0, ("shard", "of"), None),
        (1, ("another",), 1),
        (1, ("index",), -1),
        (1, ("cases", 0, "verdict"), "pass"),
        (1, ("cases", 0, "max_abs_diff"), "0.5"),
        (4, ("varieties", 0, "low"), 0.5),
        (-1, ("another",), 1),
        (-1, ("explained", 0, "diagnoses"), None),
        (-1, ("explained", 0, "first_divergence", "index"), "0"),
    ],
)
def test_every_line_of_a_cases_file_is_valid_until_it_is_broken(
    whole: tuple[str, bytes], line: int, path: tuple[Any, ...], value: Any
) -> None:
    texts = whole[1].decode().splitlines()
    documents = [json.loads(text) for text in texts]

    assert documents[4]["varieties"]
    assert documents[-1]["explained"][0]["first_divergence"]
    assert all(jsonschema.Draft202012Validator(committed("cases")).is_valid(one) for one in documents)
    assert refused("cases", documents[line], path, value)
