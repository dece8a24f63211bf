"""Results, cases, records and baselines that contradict themselves, or are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.attack.attack import HOLDS, INCONCLUSIVE, NOT_GREEN, REFUSED, Attack
from tests.attack.families.images import SPECIAL

Change = Callable[[Any], Any]
DIGITS = "9" * 5000


def _subject(document: Any) -> Any:
    return document["subjects"][0]


def _case(document: Any) -> Any:
    return document["subjects"][0]["cases"][0]


RESULTS: dict[str, Change] = {
    "match 0.9 apart": lambda r: _case(r).update(max_abs_diff=0.9),
    "match of two labels": lambda r: _case(r)["candidate"].update(label="hen"),
    "pass without images": lambda r: _subject(r).update(cases=[], images=0),
    "pass with no cases": lambda r: _subject(r).update(cases=[]),
    "pass of a flip": lambda r: _case(r).update(verdict="flip"),
    "pass of an error": lambda r: _case(r).update(verdict="error"),
    "agreement of 0": lambda r: _subject(r).update(top1_agreement=0.0),
    "agreement of 7": lambda r: _subject(r).update(top1_agreement=7.0),
    "an image twice": lambda r: _subject(r)["cases"].append(_case(r)),
    "a subject twice": lambda r: r["subjects"].append(_subject(r)),
    "more images than cases": lambda r: _subject(r).update(images=600),
    "a probability of 7": lambda r: _case(r)["candidate"].update(probability=7.0),
    "a probability of NaN": lambda r: _case(r)["candidate"].update(probability=float("nan")),
    "a distance of NaN": lambda r: _case(r).update(max_abs_diff=float("nan")),
    "a distance below 0": lambda r: _case(r).update(max_abs_diff=-1.0),
    "no distance": lambda r: _case(r).update(max_abs_diff=None),
    "a tolerance below 0": lambda r: _subject(r).update(tolerance=-1.0),
    "a tolerance of 1e9": lambda r: _subject(r).update(tolerance=1e9),
    "a verdict of its own": lambda r: _subject(r).update(verdict="fine"),
    "a verdict of a number": lambda r: _subject(r).update(verdict=1),
    "no subjects": lambda r: r.update(subjects=[]),
    "subjects a table": lambda r: r.update(subjects={}),
    "subjects null": lambda r: r.update(subjects=None),
    "cases of text": lambda r: _subject(r).update(cases=["x"]),
    "a key too many": lambda r: r.update(evil=1),
    "no environment": lambda r: r.pop("environment"),
    "largest distance of another": lambda r: _subject(r).update(max_abs_diff=0.5),
}
# Their numbers agree with each other, and the verdict is worked out from these again, whatever word stands there; a
# key that nobody reads changes no answer.
SOUND = ("pass of a flip", "pass of an error", "a key too many")
TEXTS: dict[str, str] = {
    "empty": "",
    "a number": "7",
    "null": "null",
    "a list": "[]",
    "an empty table": "{}",
    "NaN": "NaN",
    "100,000 brackets": "[" * 100_000,
    "100,000 braces": '{"a":' * 100_000,
    "a number of 5,000 digits": '{"subjects": ' + DIGITS + "}",
    "zeros": "\0" * 1000,
    "half": '{"environment": {"python": "3.11',
    "a suite": '[models.tiny]\nfactory = "models.py:tiny"\n',
    "two documents": "{}{}",
}
HEADS: dict[str, Change] = {
    "a schema of 2099": lambda h: h.update(schema="parity-cases/99"),
    "no legs": lambda h: h.update(legs=[]),
    "legs null": lambda h: h.update(legs=None),
    "a leg twice": lambda h: h["legs"].append(h["legs"][0]),
    "a leg of nobody": lambda h: h["legs"][0].update(model="nobody"),
    "no models": lambda h: h.update(models=[]),
    "7 images more": lambda h: h.update(images=13),
    "no images": lambda h: h.update(images=0),
    "-1 images": lambda h: h.update(images=-1),
    "a tolerance of 0.999": lambda h: h["legs"][0].update(tolerance=0.999),
    "a tolerance of NaN": lambda h: h["legs"][0].update(tolerance=float("nan")),
    "shard 2 of 1": lambda h: h.update(shard={"number": 2, "of": 1}),
    "shard 1 of 3": lambda h: h.update(shard={"number": 1, "of": 3}),
    "shard 0 of 0": lambda h: h.update(shard={"number": 0, "of": 0}),
    "a label twice": lambda h: h["models"][0]["labels"].__setitem__(0, "bee"),
    "no labels": lambda h: h["models"][0].update(labels=[]),
    "a size of 0": lambda h: h["models"][0]["preprocessing"].update(size=[0, 0]),
}
LINES: dict[str, Change] = {
    "match 0.9 apart": lambda line: line["cases"][0].update(max_abs_diff=0.9),
    "match of two labels": lambda line: line["cases"][0]["candidate"].update(label="hen"),
    "no cases": lambda line: line.update(cases=[]),
    "a case too many": lambda line: line["cases"].append(line["cases"][0]),
    "cases null": lambda line: line.update(cases=None),
    "a verdict of its own": lambda line: line["cases"][0].update(verdict="fine"),
    "a distance of NaN": lambda line: line["cases"][0].update(max_abs_diff=float("nan")),
    "a distance below 0": lambda line: line["cases"][0].update(max_abs_diff=-1),
    "index 5": lambda line: line.update(index=5),
    "index -1": lambda line: line.update(index=-1),
    "index of 5,000 digits": lambda line: line.update(index=DIGITS),
    "another image": lambda line: line.update(image="other.png"),
    "without a leg": lambda line: line.pop("cases"),
}
RECORDS: dict[str, Change] = {
    "a probability of 7": lambda r: _first_answer(r, 7.0),
    "a probability of NaN": lambda r: _first_answer(r, float("nan")),
    "a probability of text": lambda r: _first_answer(r, "x"),
    "no records": lambda r: r.update(records=[]),
    "records null": lambda r: r.update(records=None),
    "schema of 2099": lambda r: r.update(schema="parity-record/99"),
    "no schema": lambda r: r.pop("schema"),
    "a record twice": lambda r: r["records"].append(r["records"][0]),
    "a record twice, of other answers last": lambda r: (_another_answer(r), r["records"].reverse()),
    "a record twice, of other answers first": lambda r: _another_answer(r),
    "artifact null": lambda r: r["records"][0].update(artifact=None),
}


def _first_answer(document: Any, value: Any) -> None:
    """Write a value into the first number of the first answer."""
    probabilities = document["records"][0]["predictions"][0]["probabilities"]
    probabilities[next(iter(probabilities))] = value


def _another_answer(document: Any) -> None:
    """Append a record of the same file that says something else."""
    document["records"].append(json.loads(json.dumps(document["records"][0])))
    _first_answer(document, 0.5)


def _document(place: Path, source: str, change: Change) -> None:
    document = json.loads((place / source).read_text())
    change(document)
    (place / "evil.json").write_text(json.dumps(document).replace(f'"{DIGITS}"', DIGITS))


def _text(place: Path, text: str, name: str = "evil.json") -> None:
    (place / name).write_text(text)


def _head(place: Path, change: Change) -> None:
    _lines(place, lambda lines: [_changed(lines[0], change), *lines[1:]])


def _line(place: Path, change: Change) -> None:
    _lines(place, lambda lines: [lines[0], _changed(lines[1], change), *lines[2:]])


def _changed(line: str, change: Change) -> str:
    content = json.loads(line)
    change(content)
    return json.dumps(content).replace(f'"{DIGITS}"', DIGITS)


def _lines(place: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = (place / "streamed.cases.jsonl").read_text().splitlines()
    (place / "evil.cases.jsonl").write_text("\n".join([*change(lines), ""]))


WHOLE: dict[str, Callable[[list[str]], list[str]]] = {
    "a line twice": lambda lines: [*lines[:2], *lines[1:]],
    "a line gone": lambda lines: [lines[0], *lines[2:]],
    "no head": lambda lines: lines[1:],
    "the head twice": lambda lines: [lines[0], *lines],
    "only the head": lambda lines: lines[:1],
    "in another order": lambda lines: [lines[0], *reversed(lines[1:])],
    "a line of junk": lambda lines: [*lines[:2], "junk", *lines[2:]],
    "a line of junk at the end": lambda lines: [*lines, "junk"],
    "a line of 100,000 brackets": lambda lines: [*lines[:2], "[" * 100_000, *lines[2:]],
    "an empty line": lambda lines: [*lines[:2], "", *lines[2:]],
    "a line of null": lambda lines: [*lines[:2], "null", *lines[2:]],
}


def _baseline(place: Path, text: str) -> None:
    for path in (place / "baselines").rglob("*.json"):
        path.write_text(text)


def attacks() -> Iterator[Attack]:
    """Give every document to the commands that read its kind."""
    doubtful = frozenset({REFUSED, INCONCLUSIVE, 1})
    judge, merge = ("parity", "judge", "evil.json"), ("parity", "merge", "evil.cases.jsonl")
    against = ("parity", "compare-runs", "results.json", "evil.json")
    for what, change in RESULTS.items():
        trap = partial(_document, source="results.json", change=change)
        codes = frozenset({HOLDS}) if what in SOUND else doubtful
        yield Attack(f"documents/results, {what}/judge", judge, trap, codes)
        yield Attack(f"documents/results, {what}/compare-runs", against, trap, codes)
        if what in ("match 0.9 apart", "pass without images", "pass of a flip"):
            words = (*judge, "--tolerance", "0.01")
            yield Attack(f"documents/results, {what}, tolerance/judge", words, trap, codes)
    for what, text in TEXTS.items():
        trap = partial(_text, text=text)
        yield Attack(f"documents/results {what}/judge", judge, trap)
        yield Attack(f"documents/results {what}/compare-runs", against, trap)
        cases = partial(_text, text=text, name="evil.cases.jsonl")
        yield Attack(f"documents/cases {what}/merge", merge, cases)
        words = ("parity", "check", "models.py:tiny", "keep.onnx", "--images", "pictures", "--record", "evil.json")
        yield Attack(f"documents/record {what}/check", (*words, "--no-explain"), trap)
        yield Attack(
            f"documents/baselines {what}/baseline",
            ("parity", "baseline", "check"),
            partial(_baseline, text=text),
            NOT_GREEN,  # a baseline that cannot be read is one from which the answers moved
        )
    for what, change in HEADS.items():
        yield Attack(f"documents/cases, head with {what}/merge", merge, partial(_head, change=change), NOT_GREEN)
    for what, change in LINES.items():
        yield Attack(f"documents/cases, line with {what}/merge", merge, partial(_line, change=change), NOT_GREEN)
    for what, rewrite in WHOLE.items():
        yield Attack(f"documents/cases, {what}/merge", merge, partial(_lines, change=rewrite), NOT_GREEN)
    for what, change in RECORDS.items():
        trap = partial(_document, source="record.json", change=change)
        words = ("parity", "check", "models.py:tiny", "keep.onnx", "--images", "pictures", "--record", "evil.json")
        codes = frozenset({HOLDS}) if what == "a record twice" else NOT_GREEN  # it says the same twice
        yield Attack(f"documents/record, {what}/check", (*words, "--backend", "recorded"), trap, codes)
    for what, place_it in SPECIAL.items():
        yield Attack(f"documents/{what}/judge", judge, partial(place_it, name="evil.json"))
        yield Attack(f"documents/{what}/merge", merge, partial(place_it, name="evil.cases.jsonl"))
