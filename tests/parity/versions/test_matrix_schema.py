"""The JSON schema of a matrix: it is what the code says, and a file that was written is as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from parity.suite.suite import Suite
from parity.versions.matrix import json_schema, matrix, matrix_to_json
from tests.parity.versions.test_matrix import AXES, sides, wrong_with
from tests.parity.versions.test_matrix import suite as suite

SCHEMA_FILE = Path(__file__).parents[3] / "parity" / "schemas" / "matrix.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_the_committed_schema_is_the_generated_one() -> None:
    generated = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert SCHEMA_FILE.read_text(encoding="utf-8") == generated, (
        "a matrix has changed: write json.dumps(parity.versions.matrix.json_schema(), indent=2, "
        "ensure_ascii=False) and a newline to parity/schemas/matrix.schema.json"
    )


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["title"] == "coreml-parity matrix"


@pytest.fixture(scope="module")
def written(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a matrix in which one package makes a cell worse."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        sides(monkeypatch, wrong_with("onnx==1.17.0"))
        return matrix_to_json(matrix(suite, AXES, artifacts=tmp_path_factory.mktemp("artifacts")))


def test_a_matrix_is_valid(written: str) -> None:
    content = json.loads(written)

    jsonschema.validate(content, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert content["summary"] == {
        **dict.fromkeys(("broken", "inconclusive", "untried", "skipped", "better"), 0),
        "same": 2,
        "worse": 2,
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-matrix/2"),
        (("another",), 1),
        (("axes", "onnx"), "1.16.0"),
        (("summary", "worse"), -1),
        (("summary", "unnoticed"), 1),
        (("environment", "packages", "torch"), 2),
        (("legs", 0, "verdict"), "pass"),
        (("legs", 0, "state"), "same"),
        (("legs", 0, "cell", "versions"), [1]),
        (("legs", 0, "subject", "images"), 1.5),
        (("legs", 0, "culprits"), "onnx"),
        (("legs", 0, "known_issue"), "why"),
    ],
)
def test_the_schema_refuses(path: tuple[Any, ...], value: Any, written: str) -> None:
    content = json.loads(written)
    table = content
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value

    assert not VALIDATOR.is_valid(content)


@pytest.mark.parametrize("key", ["schema", "axes", "legs", "environment", "remarks", "summary"])
def test_the_schema_wants_every_key(key: str, written: str) -> None:
    content = json.loads(written)
    del content[key]

    with pytest.raises(jsonschema.ValidationError, match=key):
        VALIDATOR.validate(content)
