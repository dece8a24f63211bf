"""`make variants`: what each front end, target and compression costs each model of the fixtures, by the evaluator.

    fixtures/parity.toml --write_suite--> a suite file of variants --run_legs--> a line each: size, |dp|, verdict

Not the full product: both front ends in both precisions for each target without compression, and each compression
once, by trace in fp16. Ends with 1 where a variant was not judged, or one without compression does not pass; what a
compression costs is what the table is there to show.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conversion.frontends import FRONTENDS
from parity.pipeline import Leg, RunOptions, run_legs
from parity.report.text import percent, small
from parity.suite.suite import Selection, read_suite

FIXTURES = Path(__file__).parents[2] / "fixtures" / "parity.toml"
BACKEND = "coreml-evaluator"
BASES = {"fp16": "mlprogram", "fp32": "mlprogram-fp32"}
TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18")
# Each with the first target that holds such weights.
COMPRESSIONS = {
    "int8": "iOS16",
    "int4-block32": "iOS18",
    "palettize-6bit": "iOS16",
    "palettize-4bit": "iOS16",
    "prune-50": "iOS16",
}
# What stays of a model's table; the rest is of the routes that the fixtures have for it.
KEPT = ("factory", "arguments", "images", "dynamic", "bounds", "sizes")
# Heading -> width of its column; numbers stand to the right.
WORDS, NUMBERS = {"model": 21, "variant": 20}, {"MB": 6, "max |Δp|": 8, "allowed": 8, "top-1": 5}
JUDGED = ("pass", "fail")

# The name of a variant -> the keys of [converters.NAME].
Variants = Mapping[str, Mapping[str, str]]


def variants() -> Variants:
    """List the variants of the table."""
    plain = {
        f"{frontend}-{precision}-{target}": {"base": base, "frontend": frontend, "target": target}
        for frontend, (precision, base), target in itertools.product(FRONTENDS, BASES.items(), TARGETS)
    }
    compressed = {
        f"{weights}-{target}": {"base": BASES["fp16"], "target": target, "weights": weights}
        for weights, target in COMPRESSIONS.items()
    }
    return plain | compressed


def write_suite(suite: Path, path: Path, converters: Variants) -> None:
    """Write a suite file with the models of another, each by all these converters."""
    content = tomllib.loads(suite.read_text(encoding="utf-8"))
    lines = [text for name, keys in converters.items() for text in _table(["converters", name], keys)]
    for name, model in content["models"].items():
        keys = {key: model[key] for key in KEPT if key in model}
        keys["images"] = [str(suite.parent / pattern) for pattern in keys.get("images", content["images"])]
        file, _, function = keys["factory"].rpartition(":")
        if file.endswith(".py"):
            keys["factory"] = f"{suite.parent / file}:{function}"
        lines += _table(["models", name], {"routes": list(converters), **keys})
    path.write_text("\n".join(lines), encoding="utf-8")


def _table(names: Sequence[str], keys: Mapping[str, Any]) -> Iterator[str]:
    # Texts, numbers and lists of them are written in TOML as in JSON.
    yield f"[{'.'.join(map(json.dumps, names))}]"
    yield from (f"{key} = {json.dumps(value)}" for key, value in keys.items() if not isinstance(value, dict))
    for key, value in keys.items():
        if isinstance(value, dict):
            yield from _table([*names, key], value)


def measure(suite: Path, scratch: Path, converters: Variants, models: Sequence[str] = ()) -> bool:
    """Convert and judge every variant, print a line for each, and say whether all are as they must be."""
    path = scratch / "variants.toml"
    write_suite(suite, path, converters)
    print(_line([*WORDS, *NUMBERS, "verdict"]))
    sound = []
    options = RunOptions(scratch / "artifacts", explain=False)
    for leg in run_legs(read_suite(path), Selection(tuple(models), (), (BACKEND,)), options):
        print(_line(_cells(leg)), flush=True)
        compressed = "weights" in converters[leg.subject.route]
        sound.append(leg.subject.verdict in (JUDGED if compressed else ("pass",)))
    return all(sound)


def _cells(leg: Leg) -> Iterator[str]:
    subject = leg.subject
    yield from (subject.model, subject.route)
    yield "-" if leg.artifact is None else f"{_size(leg.artifact.path) / 1e6:.2f}"
    agreement = "" if subject.top1_agreement is None else percent(subject.top1_agreement)
    yield from (text or "-" for text in (small(subject.max_abs_diff), small(subject.tolerance), agreement))
    yield subject.verdict if subject.verdict in JUDGED else f"{subject.verdict}: {subject.reason}"


def _size(path: Path) -> int:
    """Return the bytes of a file or of all files of a directory."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def _line(cells: Iterable[str]) -> str:
    *texts, verdict = cells
    words = [text.ljust(width) for text, width in zip(texts, WORDS.values(), strict=False)]
    numbers = [text.rjust(width) for text, width in zip(texts[len(words) :], NUMBERS.values(), strict=True)]
    return "  ".join([*words, *numbers, verdict])


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", default=[], help="a model of the fixtures; all if none is named"
    )
    parser.add_argument("--scratch", type=Path, help="keep the converted files here, and use them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (options.scratch or Path(temporary)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        return measure(FIXTURES, scratch, variants(), options.model)


if __name__ == "__main__":
    sys.exit(not main())
