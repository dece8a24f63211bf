"""`make fuzz`: damaged model files. Each must end in an answer or in a CoreMLError, soon, and without much memory.

Half of what happens to a specification happens to its bytes, which mostly ends its being one, and half to a field
of the message: a number, a name, a list, a part that is gone or there twice.

    small valid files --mutate--> a damaged copy --Evaluator, in a worker--> outcome --> findings

A case is its number: the same number damages the same byte in the same way, as long as the files are those that
the same coremltools writes. Workers are processes, so that a crash and a hang are seen; they run this file by its
path, because a package in the environment may be called `tests` too.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import pickle
import random
import resource
import selectors
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Seconds for one case; a tiny loop that never ends is ended by the evaluator within a few.
BOUND = 60.0
# Bytes: more than any of these files needs, and less than a machine has.
MEMORY = 1 << 30
_FINE = ("answer", "refused")
# What a worker says first: the time of its imports is no case's time.
_READY = "ready"

# A small valid model: its files by path, and inputs that it takes.
Seed = tuple[Mapping[str, bytes], Mapping[str, Any]]
Seeds = Mapping[str, Seed]


@dataclass(frozen=True)
class Outcome:
    """Say how a case ended: `answer`, `refused`, or something that is a finding; detail is an error's text."""

    case: int
    kind: str
    detail: str = ""


def _load(path: Path) -> Any:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_mutations = _load(HERE / "mutations.py")


def damage(case: int, seeds: Seeds) -> tuple[str, str, bytes]:
    """Choose a file by the case's number and damage it: the model's name, the file's path, its new content."""
    # In turns, so that a few cases cover every kind of file.
    targets = [(name, path) for name in sorted(seeds) for path in sorted(seeds[name][0])]
    name, path = targets[case % len(targets)]
    generator = random.Random(case)
    specification = path.endswith(".mlmodel") and generator.random() < 0.5
    return (
        name,
        path,
        (_mutations.mutate_message if specification else _mutations.mutate)(seeds[name][0][path], generator),
    )


def run_case(case: int, seeds: Seeds) -> Outcome:
    """Write the damaged model, read it and predict."""
    from conversion import ConversionError
    from parity.core.errors import CoreMLError
    from parity.coreml import Evaluator

    name, damaged_path, content = damage(case, seeds)
    files, inputs = seeds[name]
    with tempfile.TemporaryDirectory() as directory:
        for path, original in files.items():
            target = Path(directory) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if path == damaged_path else original)
        try:
            evaluator = Evaluator(Path(directory) / Path(damaged_path).parts[0])
            state = evaluator.make_state() if name == "stateful" else None
            evaluator.predict(dict(inputs), state)
        except (CoreMLError, ConversionError) as error:
            return Outcome(case, "refused", str(error).replace(directory, ""))
        except Exception:
            return Outcome(case, "error", traceback.format_exc())
    return Outcome(case, "answer")


def findings(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Keep what ought not to be: a crash, a hang, much memory, another error, one that is not one line."""
    return [o for o in outcomes if o.kind not in _FINE or (o.kind == "refused" and len(o.detail.splitlines()) != 1)]


# The side of the workers


def work(seeds_file: Path, run_file: Path | None) -> None:
    """Run the cases whose numbers come in, one to a line, and answer each with its outcome, a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is not an answer
    import torch

    import parity.coreml.evaluator  # noqa: F401

    torch.set_num_threads(1)
    # What asks for more is refused by the system, before it hurts the machine; what takes less is measured.
    with contextlib.suppress(ValueError, OSError):  # not every system lets itself be told
        resource.setrlimit(resource.RLIMIT_AS, (8 * MEMORY, 8 * MEMORY))
    warnings.simplefilter("ignore")  # NumPy's and torch's, on the numbers of damaged weights
    seeds: Seeds = pickle.loads(seeds_file.read_bytes())
    run: Callable[[int, Seeds], Outcome] = _load(run_file).run if run_file else run_case
    print(_READY, file=answers, flush=True)
    for line in sys.stdin:
        before = _peak()
        outcome = run(int(line), seeds)
        taken = _peak() - before
        if taken > MEMORY:
            outcome = Outcome(outcome.case, "memory", f"{taken >> 20} MB, then {outcome.kind}: {outcome.detail}")
        print(json.dumps(asdict(outcome)), file=answers, flush=True)


def _peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; its rusage counts what the parent had before the child became another program
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# The side that hands out the cases


class _Worker:
    """Hold a process that runs cases, and the case that it runs now."""

    def __init__(self, command: list[str], selector: selectors.BaseSelector) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self.case: int | None = None
        self.selector = selector
        selector.register(self.stream("stdout"), selectors.EVENT_READ, self)
        if self.stream("stdout").readline().decode().strip() != _READY:
            raise RuntimeError(f"a worker could not start: {' '.join(command)} ends with {self.end()}")

    def stream(self, name: str) -> IO[bytes]:
        stream: IO[bytes] = getattr(self.process, name)
        return stream

    def give(self, case: int) -> None:
        self.case = case
        self.stream("stdin").write(b"%d\n" % case)
        self.stream("stdin").flush()

    def take(self) -> Outcome:
        """Return the outcome of the case; the process is gone where it says nothing."""
        case, self.case = self.case, None
        line = self.stream("stdout").readline()
        if line:
            return Outcome(**json.loads(line))
        return Outcome(case if case is not None else -1, "crash", f"the process ended with {self.end()}")

    def give_up(self, bound: float) -> Outcome:
        """Return the outcome of a case that does not end."""
        self.end()
        return Outcome(self.case if self.case is not None else -1, "hang", f"no end within {bound:g} s")

    def end(self) -> int:
        self.process.kill()
        self.selector.unregister(self.stream("stdout"))
        self.stream("stdin").close()
        self.stream("stdout").close()
        return self.process.wait()


def fuzz(
    cases: Iterable[int], seeds: Seeds, workers: int = 2, bound: float = BOUND, run_file: Path | None = None
) -> list[Outcome]:
    """Run the cases in processes of their own, and return their outcomes in the order of their numbers.

    run_file: a Python file whose function `run(case, seeds)` stands in for run_case.
    """
    left = list(cases)[::-1]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as directory, selectors.DefaultSelector() as selector:
        seeds_file = Path(directory) / "seeds.pickle"
        seeds_file.write_bytes(pickle.dumps(dict(seeds)))
        command = [sys.executable, __file__, "--worker", str(seeds_file), *([str(run_file)] if run_file else [])]
        pool: list[_Worker] = []
        try:
            while left or any(worker.case is not None for worker in pool):
                idle = [worker for worker in pool if worker.case is None]
                if left and not idle and len(pool) < workers:
                    idle = [_Worker(command, selector)]
                    pool += idle
                if left and idle:
                    idle[0].give(left.pop())
                    continue
                # As long as one answers, nobody hangs for certain: a hang is seen when nobody does.
                answered = [key.data for key, _ in selector.select(bound)]
                outcomes += [worker.take() for worker in answered]
                if not answered:
                    outcomes += [worker.give_up(bound) for worker in pool if worker.case is not None]
                pool = [worker for worker in pool if worker.process.poll() is None]
        finally:
            for worker in pool:
                worker.end()
    return sorted(outcomes, key=lambda outcome: outcome.case)


def main(arguments: list[str]) -> int:
    """Run the cases that the command line asks for, print a summary, and return the exit code."""
    parser = argparse.ArgumentParser(description="Damage model files and see that each case ends well.")
    parser.add_argument("--cases", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args(arguments)
    seeds: Seeds = _load(HERE / "fuzz_seeds.py").make_seeds()
    outcomes = fuzz(range(asked.first, asked.first + asked.cases), seeds, asked.workers)
    counts = Counter(outcome.kind for outcome in outcomes)
    print(f"{len(outcomes)} cases: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    found = findings(outcomes)
    for outcome in found:
        name, path, _ = damage(outcome.case, seeds)
        print(f"case {outcome.case} ({name}, {path}): {outcome.kind}\n{outcome.detail}")
    return bool(found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None)
    else:
        sys.path.insert(0, str(ROOT))
        sys.exit(main(sys.argv[1:]))
