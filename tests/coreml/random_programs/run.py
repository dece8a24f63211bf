"""`make fuzz`, its second half: random programs, each operation judged by several oracles.

    seeds --worker processes--> PER_SEED programs of each, drawn by hypothesis --check--> counts, failures

A seed draws the same programs every time, as long as hypothesis and coremltools are the same. A failing program is
shrunk by hypothesis first. Ends with 1 where something disagrees.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
if __name__ == "__main__":
    # A package in the environment may be called `tests` too.
    sys.path.insert(0, str(ROOT))
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402

from tests.coreml.random_programs.checking import Tally, check  # noqa: E402  - ours only now
from tests.coreml.random_programs.drawing import programs  # noqa: E402
from tests.coreml.random_programs.program import Program  # noqa: E402

PER_SEED = 250


def run_seed(number: int, count: int, only: tuple[str, ...] = ()) -> tuple[Tally, str]:
    """Check so many programs of one seed; return what was counted, and a failure's text or nothing.

    only: the operations that are drawn, all by default.
    """
    tally = Tally()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs(only))
    def each(program: Program) -> None:
        tally.add(check(program))

    try:
        each()
    except Exception as error:  # a DisagreementError, or whatever a program leads to
        return tally, f"seed {number}: " + "\n".join(_described(error))
    return tally, ""


def _described(error: Exception) -> list[str]:
    """Name an error; of a group, in which hypothesis puts several kinds of failure, each."""
    if isinstance(error, ExceptionGroup):
        return [line for one in error.exceptions for line in _described(one)]
    return [f"{type(error).__name__}: {error}"]


def work(shares: Sequence[tuple[int, int]]) -> None:
    """Run so many programs of each seed, and write a line of JSON for each."""
    for number, count in shares:
        tally, failure = run_seed(number, count)
        print(json.dumps([vars(tally), failure]), flush=True)


def run_all(first: int, counts: Sequence[int], workers: int) -> Iterator[tuple[Tally, str]]:
    """Run so many programs of each seed from the first on, in processes of their own."""
    seeds = [(first + i, count) for i, count in enumerate(counts)]
    shares = [json.dumps(seeds[i::workers]) for i in range(min(workers, len(seeds)))]
    command = [sys.executable, __file__, "--worker"]

    def run(share: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, share], stdout=subprocess.PIPE, text=True, check=False)

    with ThreadPoolExecutor(max_workers=max(1, len(shares))) as pool:
        for done in pool.map(run, shares):
            for line in done.stdout.splitlines():
                tally, failure = json.loads(line)
                yield Tally(**tally), failure
            if done.returncode:
                yield Tally(), f"a worker ended with {done.returncode}"


def report(tally: Tally, failures: Sequence[str], seconds: float) -> str:
    """Write down what was counted."""
    lines = [f"{tally.programs} programs, {sum(tally.operations.values())} operations in {seconds:.0f} s"]
    for name in ("oracles", "opsets", "types"):
        counts: Counter[str] = getattr(tally, name)
        lines.append(f"{name}: " + ", ".join(f"{key} {n}" for key, n in sorted(counts.items())))
    lines.append(f"{len(tally.operations)} kinds of operations, error as a part of what is allowed:")
    for kind, n in sorted(tally.operations.items()):
        lines.append(f"  {kind:34} {n:6} {tally.worst.get(kind, 0.0):6.2f}")
    lines += [f"coremltools folds it wrongly, {n} times: {what}" for what, n in sorted(tally.excused.items())]
    return "\n".join([*lines, *failures])


def main(arguments: Sequence[str]) -> int:
    """Check the programs that the command line asks for, print the counts, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check the evaluator on random programs.")
    parser.add_argument("--programs", type=int, default=20_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args(arguments)
    whole, rest = divmod(asked.programs, PER_SEED)
    counts = [PER_SEED] * whole + [rest] * bool(rest)
    total, failures, started = Tally(), [], time.monotonic()
    for tally, failure in run_all(asked.first, counts, asked.workers):
        total.add(tally)
        failures += [failure] if failure else []
    print(report(total, failures, time.monotonic() - started))
    return bool(failures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(json.loads(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
