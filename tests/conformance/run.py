"""Run Apple's own tests through the evaluator and judge: `make conformance`, `make conformance-native`.

Only a test that asked for a prediction says something of the evaluator, so only those are counted in the share that
must pass. A failure is either in known_failures.toml, with its reason and who is right, or fails the run; so does
an entry there whose test passes by now.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KNOWN_FAILURES = HERE / "known_failures.toml"

Record = Mapping[str, Any]

# What a test did. `passed` and `failed` asked for a prediction; `structural` passed and `broken` failed without.
KINDS = ("passed", "failed", "structural", "broken", "skipped")


@dataclass(frozen=True)
class Suite:
    """Hold a part of Apple's tests: its place in the wheel, and the share of predictions that must pass."""

    name: str
    path: str
    bar: float


SUITES = (
    Suite("MIL operations", "coremltools/converters/mil/mil/ops/tests", 0.995),
    Suite("layers", "coremltools/test/neural_network/test_numpy_nn_layers.py", 0.99),
)


@dataclass(frozen=True)
class Judgement:
    """Say what a run shows.

    counts: suite name -> kind -> number of tests. shares: suite name -> passed of those that predicted.
    known, unknown: failing tests, inside and outside the table; stale: entries of the table that passed.
    skips: reason -> number of tests.
    """

    counts: Mapping[str, Mapping[str, int]]
    shares: Mapping[str, float]
    below: tuple[str, ...]
    known: Mapping[str, str]
    unknown: Mapping[str, str]
    stale: tuple[str, ...]
    skips: Mapping[str, int]

    @property
    def exit_code(self) -> int:
        """Return 0 only where every bar is reached and the table of known failures is exact."""
        return 1 if self.below or self.unknown or self.stale else 0


def kind_of(record: Record) -> str:
    """Say what a test did."""
    asked = record["predictions"] > 0
    if record["outcome"] == "skipped":
        return "skipped"
    if record["outcome"] == "failed":
        # A worker that dies takes its note along: the test may well have asked.
        return "failed" if asked or "crashed while running" in record["reason"] else "broken"
    if "the evaluator lacks" in record["raised"]:
        return "failed"  # it caught the error: what did not run has not passed
    return "passed" if asked else "structural"


def judge(records: Mapping[str, Record], known: Mapping[str, str], *, whole: bool) -> Judgement:
    """Count, and hold against the bars and the table.

    known: node id -> reason. whole: all tests ran, so that the bars apply and an entry without its test is stale.
    """
    kinds = {nodeid: kind_of(record) for nodeid, record in records.items()}
    counts = {
        suite.name: Counter(kind for nodeid, kind in kinds.items() if nodeid.startswith(suite.path))
        for suite in SUITES
    }
    shares = {name: _share(count["passed"], count["failed"]) for name, count in counts.items()}
    failing = {n: _reason(records[n]) for n, kind in kinds.items() if kind in ("failed", "broken")}
    skips = Counter(record["reason"] for nodeid, record in records.items() if kinds[nodeid] == "skipped")
    return Judgement(
        counts=counts,
        shares=shares,
        below=tuple(s.name for s in SUITES if whole and shares[s.name] < s.bar),
        known={nodeid: known[nodeid] for nodeid in failing if nodeid in known},
        unknown={nodeid: why for nodeid, why in failing.items() if nodeid not in known},
        stale=tuple(n for n in known if kinds.get(n) == "passed" or (whole and n not in records)),
        skips=dict(skips.most_common()),
    )


def _share(passed: int, failed: int) -> float:
    return passed / (passed + failed) if passed + failed else 0.0


def _reason(record: Record) -> str:
    return str(record["reason"] or record["raised"])


def read_known(path: Path = KNOWN_FAILURES) -> dict[str, str]:
    """Read the table of known failures: node id -> reason, with who is right."""
    known: dict[str, str] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("failure", []):
        for nodeid in entry["tests"]:
            if nodeid in known:
                raise ValueError(f"{path}: {nodeid} is listed twice")
            known[nodeid] = f"{entry['reason']} (right: {entry['right']})"
    return known


def describe(found: Judgement) -> list[str]:
    """Say it in lines."""
    lines = [f"{'':16}" + "".join(f"{kind:>12}" for kind in KINDS) + f"{'of predicted':>14}{'bar':>8}"]
    for suite in SUITES:
        numbers = "".join(f"{found.counts[suite.name][kind]:>12}" for kind in KINDS)
        lines.append(f"{suite.name:16}{numbers}{found.shares[suite.name]:>14.2%}{suite.bar:>8.1%}")
    lines.append("passed, failed: asked for a prediction; structural, broken: passed or failed without asking")
    lines += _listed(
        "reasons for which Apple's tests skip themselves",
        {f"{n:6} times {why}": "" for why, n in found.skips.items()},
    )
    lines += _listed("known failures", found.known)
    lines += _listed(
        "known failures that pass by now or are gone: delete them from known_failures.toml",
        dict.fromkeys(found.stale, ""),
    )
    lines += _listed("failures that no table explains", found.unknown)
    lines += [f"{name}: {found.shares[name]:.2%} of the predictions pass, too few" for name in found.below]
    return lines


def _listed(title: str, rows: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    return [
        f"{title}: {len(rows)}",
        *(f"  {key}" + (f"\n      {text}" if text else "") for key, text in rows.items()),
    ]


def run_tests(
    json_file: Path, *, workers: int, sample: int | None = None, runtime: str = "evaluator"
) -> dict[str, Any]:
    """Run Apple's tests in a process of their own and return the record of each by its node id."""
    origin = (importlib.util.find_spec("coremltools") or sys.exit("coremltools is not installed")).origin
    packages = Path(str(origin)).parent.parent
    command = [sys.executable, "-m", "pytest", "-p", "conformance_plugin", "-q", "--no-header", "--tb=no"]
    # Nothing of this repository's configuration: Apple's tests warn, and know no strict markers.
    command += ["-c", os.devnull, "--rootdir", str(packages), "--import-mode=importlib", "--disable-warnings"]
    command += ["-p", "no:cacheprovider", "--show-capture=no", "-r", "N", "-n", str(workers)]
    # A file that cannot be imported, or a test that kills its process, is one failure and not the end.
    command += ["--continue-on-collection-errors", "--max-worker-restart", "1000"]
    command += ["--conformance-json", str(json_file), "--conformance-runtime", runtime]
    command += [] if sample is None else ["--conformance-sample", str(sample)]
    command += [str(packages / suite.path) for suite in SUITES]
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
            reasons = {"native_reason": _reason(theirs), "evaluator_reason": _reason(ours) if ours else ""}
            table.append({"test": nodeid} | sides | reasons | {"differences": theirs["differences"]})
    return table


def main() -> int:
    """Run, judge, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--sample", type=int, help="so many tests, chosen by a hash of the node id; no bars")
    parser.add_argument("--native", type=Path, help="compare with Apple's runtime and write the table here (macOS)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        records = run_tests(Path(directory) / "evaluator.json", workers=options.workers, sample=options.sample)
        if options.native:
            native = run_tests(
                Path(directory) / "native.json", workers=options.workers, sample=options.sample, runtime="native"
            )
            return tell_differences(compare_outcomes(native, records), len(native), options.native)
    found = judge(records, read_known(), whole=options.sample is None)
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
