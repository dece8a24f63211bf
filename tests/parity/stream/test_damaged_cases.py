"""A cases file whose fields are of the right types, but from which nothing can be computed: one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity import ParityError
from parity.core.results import to_json
from parity.stream.aggregate import read_results
from parity.stream.judge_saved import judge_file
from parity.stream.merging import merged_results
from tests.parity.stream.test_journal import write

# Where a value stands in a header or a line, and what it is replaced by.
Change = Callable[[dict[str, Any]], object]


def changed(path: Path, line: int, change: Change) -> None:
    """Change one line of a cases file, counted from 0, the header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    content = json.loads(lines[line])
    change(content)
    lines[line] = json.dumps(content, separators=(",", ":"))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    write(tmp_path / "r.cases.jsonl")
    (tmp_path / "r.json").write_text(to_json(read_results(tmp_path / "r.cases.jsonl", 0.5)), encoding="utf-8")
    return tmp_path / "r.cases.jsonl"


def refused(cases: Path) -> str:
    """Return the line with which both commands that read cases refuse the file."""
    with pytest.raises(ParityError) as caught:
        judge_file(cases.with_name("r.json"), 0.01)
    with pytest.raises(ParityError) as caught_too:
        merged_results([cases], None, 0.5)
    (line,) = str(caught.value).splitlines()
    assert str(caught_too.value) == line
    return line


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda h: h.update(batch=0), "1: contradicts itself: batch is 0, and at least 1 is needed"),
        (lambda h: h.update(images=-1), "not a cases file of schema parity-cases/1"),
        (
            lambda h: h.update(shard={"number": 1, "of": 0}),
            "1: contradicts itself: shard is 1/0, and there is no such shard",
        ),
        (
            lambda h: h.update(shard={"number": 3, "of": 2}),
            "1: contradicts itself: shard is 3/2, and there is no such shard",
        ),
        (lambda h: h["models"].clear(), "1: contradicts itself: a leg is of model tiny, and the models are none"),
        (lambda h: h["models"].append(h["models"][0]), "1: contradicts itself: model tiny is there 2 times"),
        (lambda h: h["models"][0].update(labels=[]), "1: contradicts itself: a model has no labels"),
        (
            lambda h: h["models"][0].update(labels=["bee", "bee"]),
            "1: contradicts itself: model tiny has label 'bee' 2 times",
        ),
        (lambda h: h.pop("legs"), "not a cases file of schema parity-cases/1"),
        (lambda h: h.update(images=10**400), "not a cases file of schema parity-cases/1"),
        (lambda h: h["legs"][0].update(tolerance=float("nan")), "not a cases file of schema parity-cases/1"),
    ],
)
def test_headers(cases: Path, change: Change, told: str) -> None:
    changed(cases, 0, change)
    assert f"{cases}:{told}" in refused(cases).replace(": not", ":not")


PACKED = {"images": 4, "flat": False, "classes": [0], "low": "AAAAAAAAAAA=", "high": "AACAPwAAgD8="}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda at: at["cases"].clear(), "has 0 cases, and 1 legs see it"),
        (lambda at: at["cases"].append(at["cases"][0]), "has 2 cases, and 1 legs see it"),
        (lambda at: at.update(unreadable="it is gone"), "has 1 cases, and 0 legs see it"),
        (lambda at: at["cases"][0]["top"][0].update(label="wasp"), "label 'wasp' is none of its model's"),
        (lambda at: at["cases"][0]["top"][0].update(label="x" * 99), "is none of its model's"),
        (lambda at: at["cases"][0].update(max_abs_diff=float("inf")), "damaged: Input should be a finite number"),
        (lambda at: at["cases"][0].update(top5_overlap=1e308), "damaged: Input should be less than or equal to 1"),
        (lambda at: at["cases"][0].pop("candidate"), "damaged: "),
        (lambda at: at["cases"].insert(0, None), "damaged: "),
        (lambda at: at.update(varieties=[PACKED]), "ends no batch, and has what the answers of one are like"),
    ],
)
def test_lines(cases: Path, change: Change, told: str) -> None:
    changed(cases, 2, change)
    line = refused(cases)
    assert line.startswith((f"{cases}:3: damaged: ", f"{cases}:3: contradicts itself: "))
    assert told in line
    assert len(line) < 300 + len(str(cases))


def test_of_endless_shards_a_few_are_named(cases: Path) -> None:
    changed(cases, 0, lambda header: header.update(shard={"number": 1, "of": 10**12}))
    with pytest.raises(
        ParityError, match="no cases of shard 2/1000000000000 and 3/1000000000000 and 4/1000000000000 and"
    ):
        merged_results([cases], None, 0.5)
