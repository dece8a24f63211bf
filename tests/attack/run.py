"""Attack the commands and print a table of what was held: `make attack`.

    python tests/attack/run.py [--workers N] [--sample N] [--only PATTERN] [--list]

The exit code is 0 if every attack was held, else 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    # A package in the environment may be called `tests` too.
    sys.path.insert(0, str(ROOT))
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]

from tests.attack.families import all_attacks  # noqa: E402  - ours only now
from tests.sampling import sample_of_each  # noqa: E402


@dataclass(frozen=True)
class Row:
    """Hold what became of one attack; faults are empty where it was held."""

    name: str
    faults: tuple[str, ...]
    seconds: float
    peak: int

    @property
    def family(self) -> str:
        """Return the first part of the name."""
        return self.name.partition("/")[0]


def sample(names: Sequence[str], count: int) -> list[str]:
    """Take so many of the attacks by a hash of their names, and at least one of each family, in their order."""
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.partition("/")[0], []).append(name)
    chosen = sample_of_each(families.values(), count)
    return [name for name in names if name in chosen]


def attack_all(names: Sequence[str], place: Path, workers: int = 1) -> list[Row]:
    """Run attacks by their names, in processes that fork one for each."""
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda part: list(_in_process(part, place)), [names[k::workers] for k in range(workers)])
    return sorted((row for part in parts for row in part), key=lambda row: row.name)


def make_place_at(place: Path) -> Path:
    """Make the place that attacks work in, in a process of its own."""
    _start("--make", place)
    return place


def _start(what: str, place: Path, sent: str = "") -> str:
    """Run this file in a new process, which has no threads yet, and return what it prints."""
    command = [sys.executable, __file__, what, "--place", str(place)]
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(
        command, input=sent, text=True, stdout=subprocess.PIPE, env=os.environ | single, check=True
    ).stdout


def _in_process(names: Sequence[str], place: Path) -> Iterator[Row]:
    for line in _start("--serve", place, json.dumps(names)).splitlines() if names else ():
        row = json.loads(line)
        yield Row(row["name"], tuple(row["faults"]), row["seconds"], row["peak"])


def _serve(place: Path) -> None:
    """Run the attacks whose names come in, and print a line of JSON for each."""
    from tests.attack.running import run_attack

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is not an answer
    _import_what_is_slow()
    attacks = {attack.name: attack for attack in all_attacks()}
    for name in json.load(sys.stdin):
        verdict = run_attack(attacks[name], place)
        outcome = verdict.outcome
        row = {"name": name, "faults": verdict.faults, "seconds": outcome.seconds, "peak": outcome.peak}
        print(json.dumps(row), file=answers, flush=True)
        if verdict.faults:
            print(f"FALLEN {name}: {'; '.join(verdict.faults)}", file=sys.stderr, flush=True)


def _import_what_is_slow() -> None:
    import onnx
    import onnxruntime  # noqa: F401
    import torch

    import parity.commands.run
    import parity.coreml.evaluator
    import parity.pipeline
    import parity.plugin  # noqa: F401
    from conversion.guards.quiet import import_coremltools

    import_coremltools()
    torch.set_num_threads(1)
    assert onnx.__version__


def table(rows: Iterable[Row]) -> str:
    """Lay out how many attacks of each family were held."""
    rows = list(rows)
    totals, fallen = Counter(row.family for row in rows), Counter(row.family for row in rows if row.faults)
    lines = [f"{'':12} {'attacks':>8} {'held':>6} {'fallen':>7} {'longest':>9} {'memory':>9}"]
    for family, total in totals.items():
        own = [row for row in rows if row.family == family]
        longest, peak = max(row.seconds for row in own), max(row.peak for row in own)
        held = total - fallen[family]
        lines.append(f"{family:12} {total:8} {held:6} {fallen[family]:7} {longest:7.1f} s {peak >> 20:6} MB")
    lines.append(f"{'all':12} {totals.total():8} {totals.total() - fallen.total():6} {fallen.total():7}")
    return "\n".join(lines)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Attack the commands and print what was held.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, help="only so many, chosen by a hash of their names")
    parser.add_argument("--only", default="*", help="only names like this: models/*")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.place)
        return 0
    if options.make:
        from tests.attack.place import make_place

        _import_what_is_slow()
        make_place(options.place)
        return 0
    names = [attack.name for attack in all_attacks() if fnmatch.fnmatch(attack.name, options.only)]
    names = sample(names, options.sample) if options.sample else names
    if options.list:
        print("\n".join(names))
        return 0
    if not names:
        print(f"no attack has a name like {options.only}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        rows = attack_all(names, make_place_at(Path(directory) / "place"), options.workers)
    for row in rows:
        for fault in row.faults:
            print(f"{row.name}: {fault}")
    print(table(rows))
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main())
