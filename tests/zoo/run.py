"""`make zoo`: every network of the zoo by every route, a process each; runs what the record lacks.

    animals() --one process each--> zoo.jsonl, a line a leg --> docs/zoo.md

A route that is new is run for networks whose other routes are in the record already.

Ends with 1 where an answer is wrong and nobody is known to be at fault: those are to be looked at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    # A package in the environment may be called `tests` too.
    sys.path.insert(0, str(ROOT))
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]

from conversion import ROUTES  # noqa: E402  - ours only now
from tests.zoo.collection import COVERING, Animal, animals  # noqa: E402
from tests.zoo.one import Line, lines  # noqa: E402
from tests.zoo.table import written  # noqa: E402

# Kept with the code: hours of work, which another machine goes on from. Lines that are taken out are run again.
RECORD = Path(__file__).with_name("zoo.jsonl")
TABLE = ROOT / "docs" / "zoo.md"
SECONDS = 900.0


def read(record: Path) -> list[Line]:
    """Read what earlier runs wrote; the last line may be torn."""
    found = []
    for text in record.read_text(encoding="utf-8").splitlines() if record.is_file() else ():
        try:
            content = json.loads(text)
        except ValueError:
            continue
        found.append(Line(**{**content, "faults": tuple(content["faults"])}))
    return found


def keep(record: Path, some: Iterable[Line]) -> None:
    """Add lines to the record, all of a route's together."""
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("a", encoding="utf-8") as file:
        # Where files lay on one machine says nothing to another.
        placeless = (replace(line, reason=re.sub(r"/\S+/\S*", "...", line.reason)) for line in some)
        file.write("".join(f"{json.dumps(asdict(line))}\n" for line in placeless))


def missing(network: str, routes: Iterable[str], record: Path) -> list[str]:
    """List the routes by which a network was not run yet."""
    done = {line.route for line in read(record) if line.network == network}
    return [route for route in routes if route not in done]


def run_one(animal: Animal, routes: Sequence[str], record: Path, seconds: float) -> None:
    """Run a network by the routes that it lacks, in a process of its own; what that does not survive is a line too.

    seconds: for one process. The routes behind one that ends it are run by another.
    """
    while left := missing(animal.name, routes, record):
        began = time.monotonic()
        options = [f"--route={route}" for route in left]
        command = [sys.executable, __file__, "--one", animal.name, "--record", str(record), *options]
        try:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
            reason = " ".join(done.stderr.split())[-300:] or f"code {done.returncode}"
        except subprocess.TimeoutExpired:
            reason = f"ended after {seconds:.0f} s"
        for route in missing(animal.name, left, record)[:1]:
            took = time.monotonic() - began
            keep(record, [Line(animal.name, 0, route, "-", "error", took, reason=reason, whose="ours")])


def main() -> int:
    """Run the zoo, or a part of it, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="networks whose names contain this")
    parser.add_argument("--covering", action="store_true", help=f"the {len(COVERING)} that cover the architectures")
    parser.add_argument("--route", action="append", default=[], choices=ROUTES, help="only this; repeatable")
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--workers", type=int, default=2, help="networks at once, each on one thread")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one process")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="only write the table")
    asked = parser.parse_args()
    known = list(animals())
    routes = asked.route or list(ROUTES)
    if asked.one:
        (animal,) = (a for a in known if a.name == asked.one)
        with tempfile.TemporaryDirectory(prefix="coreml-parity-zoo-") as directory:
            for own in lines(animal, routes, Path(directory)):
                keep(asked.record, own)
        return 0
    chosen = [a for a in known if asked.only in a.name and (a.name in COVERING or not asked.covering)]
    left = [] if asked.table else [a for a in chosen if missing(a.name, routes, asked.record)]
    # Shuffled, and alike each time: what an interrupted run has done is a sample of the whole.
    left.sort(key=lambda animal: hashlib.sha256(animal.name.encode()).digest())
    with ThreadPoolExecutor(asked.workers) as pool:

        def run_numbered(number: int, animal: Animal) -> None:
            print(f"{number} of {len(left)}: {animal.name}", flush=True)
            run_one(animal, routes, asked.record, asked.seconds)

        list(pool.map(run_numbered, range(1, len(left) + 1), left))
    TABLE.write_text(written(read(asked.record), [animal.name for animal in known]), encoding="utf-8")
    return 1 if any(line.whose == "ours" for line in read(asked.record)) else 0


if __name__ == "__main__":
    sys.exit(main())
