"""Run Apple's own tests through the evaluator and judge: `make conformance`, `make conformance-native`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
if __name__ == "__main__":
    # A package in the environment may be called `tests` too.
    sys.path.insert(0, str(HERE.parents[1]))
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(HERE.parent)]

from tests.conformance.judgement import (  # noqa: E402  - ours only now
    SUITES,
    Record,
    Suite,
    describe,
    judge,
    kind_of,
    read_known,
    reason_of,
)


def run_tests(
    json_file: Path,
    *,
    workers: int,
    sample: int | None = None,
    runtime: str = "evaluator",
    suites: Sequence[Suite] = SUITES,
) -> dict[str, Any]:
    """Run Apple's tests in a process of their own and return the record of each by its node id."""
    origin = (importlib.util.find_spec("coremltools") or sys.exit("coremltools is not installed")).origin
    packages = Path(str(origin)).parent.parent
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no"]
    command += ["-p", "conformance_plugin", "-p", "conformance_stand_ins"]
    # Nothing of this repository's configuration: Apple's tests warn, and know no strict markers.
    command += ["-c", os.devnull, "--rootdir", str(packages), "--import-mode=importlib", "--disable-warnings"]
    command += ["-p", "no:cacheprovider", "--show-capture=no", "-r", "N", "-n", str(workers)]
    # A file that cannot be imported, or a test that kills its process, is one failure and not the end.
    command += ["--continue-on-collection-errors", "--max-worker-restart", "1000"]
    command += ["--conformance-json", str(json_file), "--conformance-runtime", runtime]
    command += [] if sample is None else ["--conformance-sample", str(sample)]
    command += [f"--conformance-limit={suite.path}={suite.limit}" for suite in suites if suite.limit]
    command += [str(packages / suite.path) for suite in suites]
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    # Without a fixed hash seed, the workers may collect tests that Apple makes from sets in different orders.
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=os.environ | environment, check=False)
    if done.returncode not in (0, 1) or not json_file.is_file():
        sys.exit(f"pytest could not run Apple's tests (exit code {done.returncode}): {' '.join(command)}")
    records: dict[str, Any] = json.loads(json_file.read_text(encoding="utf-8"))
    return records


def compare_outcomes(native: Mapping[str, Record], evaluator: Mapping[str, Record]) -> list[dict[str, Any]]:
    """List the tests that end differently, or whose predictions differ, by node id.

    native: records of a run in which Apple's runtime answered and the evaluator was asked beside it.
    """
    table = []
    for nodeid in sorted(native):
        theirs, ours = native[nodeid], evaluator.get(nodeid)
        kinds = [kind_of(theirs), kind_of(ours) if ours else "absent"]
        if kinds[0] != kinds[1] or theirs["differences"]:
            sides = dict(zip(("native", "evaluator"), kinds, strict=True))
            reasons = {"native_reason": reason_of(theirs), "evaluator_reason": reason_of(ours) if ours else ""}
            table.append({"test": nodeid} | sides | reasons | {"differences": theirs["differences"]})
    return table


def main() -> int:
    """Run, judge, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--sample", type=int, help="so many tests, chosen by a hash of the node id; no bars")
    parser.add_argument("--native", type=Path, help="compare with Apple's runtime and write the table here (macOS)")
    parser.add_argument("--suite", action="append", help="only this part, by its name; repeatable")
    options = parser.parse_args()
    unknown = set(options.suite or ()) - {suite.name for suite in SUITES}
    if unknown:
        parser.error(f"no part {sorted(unknown)[0]}; the parts are {', '.join(suite.name for suite in SUITES)}")
    suites = tuple(suite for suite in SUITES if not options.suite or suite.name in options.suite)
    run = partial(run_tests, workers=options.workers, sample=options.sample, suites=suites)
    with tempfile.TemporaryDirectory() as directory:
        records = run(Path(directory) / "evaluator.json")
        if options.native:
            native = run(Path(directory) / "native.json", runtime="native")
            return tell_differences(compare_outcomes(native, records), len(native), options.native)
    found = judge(records, read_known(), whole=options.sample is None, suites=suites)
    print(*describe(found), sep="\n")
    return found.exit_code


def tell_differences(table: list[dict[str, Any]], tests: int, path: Path) -> int:
    """Print the table short and write it whole; differences are what it is for, and no failure."""
    path.write_text(json.dumps({"tests": tests, "differing": table}, indent=1) + "\n", encoding="utf-8")
    for row in table:
        print(f"{row['native']} with Apple's runtime, {row['evaluator']} with the evaluator: {row['test']}")
        for d in row["differences"][:3]:
            print(f"  {d['output']} {d['what']}: native {d['native']}, evaluator {d['evaluator']}")
    print(f"{len(table)} of {tests} tests differ; the whole table is in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
