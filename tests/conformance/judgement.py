"""What a run of Apple's tests shows: each test's kind, the share of each part, and the table of known failures.

Only a test that asked for a prediction says something of the evaluator, so only those are counted in the share that
must pass. A failure is either in known_failures.toml, with its reason and who is right, or fails the run; so does
an entry there whose test passes by now.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KNOWN_FAILURES = Path(__file__).with_name("known_failures.toml")

Record = Mapping[str, Any]

# What a test did. `passed`, `failed` and `rounding` asked for a prediction; `rounding` fails at a tolerance that
# its own values of fp16 cannot keep, by one unit in the last place. `structural` passed and `broken` failed without
# asking; `mac` asked for what only a Mac has, `no network` for a model that is none.
KINDS = ("passed", "failed", "rounding", "structural", "broken", "mac", "no network", "skipped")
# In the names of tests that are there on demand; NeuralNetworks are always fp32.
_FP32 = "backend='mlprogram', precision='fp32'"
ON_A_MAC = ("runs on macOS alone", "'NoneType' object has no attribute 'get_all_compute_devices'")
NO_NETWORK = ("a model of type ", "; the evaluator runs mlProgram")


@dataclass(frozen=True)
class Suite:
    """Hold a part of Apple's tests: its place in the wheel, and the share of predictions that must pass.

    core: what breaks there before it asks for a prediction fails too. limit: so many tests, chosen by a hash.
    """

    name: str
    path: str
    bar: float = 0.99
    core: bool = False
    limit: int | None = None


SUITES = (
    Suite("MIL operations", "coremltools/converters/mil/mil/ops/tests", 0.995, core=True),
    Suite("layers", "coremltools/test/neural_network/test_numpy_nn_layers.py", core=True),
    Suite("networks", "coremltools/test/neural_network"),
    Suite("passes", "coremltools/converters/mil/mil/passes/tests"),
    Suite("programs", "coremltools/converters/mil/mil/tests"),
    Suite("backends", "coremltools/converters/mil/backend"),
    Suite("milproto", "coremltools/converters/mil/frontend/milproto"),
    Suite("torch front end", "coremltools/converters/mil/frontend/torch/test", limit=2500),
    Suite("ml_program", "coremltools/test/ml_program"),
    Suite("modelpackage", "coremltools/test/modelpackage"),
    Suite("pipeline", "coremltools/test/pipeline"),
    Suite("optimize", "coremltools/test/optimize"),
    Suite("api", "coremltools/test/api"),
)
CORE = tuple(suite for suite in SUITES if suite.core)


@dataclass(frozen=True)
class Judgement:
    """Say what a run shows.

    suites: the parts that ran. counts: suite name -> kind -> number of tests. shares: suite name -> passed of those
        that predicted, `rounding` left out.
    known, unknown: failing tests, inside and outside the table; stale: entries of the table that passed.
    loose: tests that pass, by a tolerance that hides more than rounding explains.
    broken, skips: reason -> number of tests; broken: of those that failed before they asked, outside of the core.
    """

    suites: tuple[Suite, ...]
    counts: Mapping[str, Mapping[str, int]]
    shares: Mapping[str, float]
    below: tuple[str, ...]
    known: Mapping[str, str]
    unknown: Mapping[str, str]
    stale: tuple[str, ...]
    loose: Mapping[str, str]
    broken: Mapping[str, int]
    skips: Mapping[str, int]

    @property
    def exit_code(self) -> int:
        """Return 0 only where every bar is reached and the table of known failures is exact."""
        return 1 if self.below or self.unknown or self.stale else 0


def kind_of(record: Record) -> str:
    """Say what a test did."""
    asked, said = record["predictions"] > 0, reason_of(record)
    if record["outcome"] == "skipped":
        return "skipped"
    if record["outcome"] == "failed":
        if any(words in said for words in ON_A_MAC):
            return "mac"
        if all(words in said for words in NO_NETWORK):
            return "no network"
        if record["rounding"]:
            return "rounding"
        # A worker that dies takes its note along: the test may well have asked.
        return "failed" if asked or "crashed while running" in record["reason"] else "broken"
    if "the evaluator lacks" in record["raised"]:
        return "failed"  # it caught the error: what did not run has not passed
    return "passed" if asked else "structural"


def suite_of(nodeid: str, suites: Sequence[Suite] = SUITES) -> Suite | None:
    """Find the part that a test belongs to: the innermost."""
    around = [suite for suite in suites if nodeid.startswith(suite.path)]
    return max(around, key=lambda suite: len(suite.path), default=None)


def judge(
    records: Mapping[str, Record], known: Mapping[str, str], *, whole: bool, suites: tuple[Suite, ...] = SUITES
) -> Judgement:
    """Count, and hold against the bars and the table.

    known: node id -> reason. whole: all tests ran, or all that limits leave, so that the bars apply and an entry
    without its test is stale.
    """
    kinds = {nodeid: kind_of(record) for nodeid, record in records.items()}
    parts = {nodeid: suite_of(nodeid, suites) for nodeid in (*records, *known)}
    counts = {
        suite.name: Counter(kind for nodeid, kind in kinds.items() if parts[nodeid] is suite) for suite in suites
    }
    shares = {name: _share(count["passed"], count["failed"]) for name, count in counts.items()}
    failing, broken = dict[str, str](), Counter[str]()
    for nodeid, kind in kinds.items():
        part = parts[nodeid]
        if kind == "failed" or (kind == "broken" and (part is None or part.core)):
            failing[nodeid] = reason_of(records[nodeid])
        elif kind == "broken":
            broken[reason_of(records[nodeid])] += 1
    skips = Counter(record["reason"] for nodeid, record in records.items() if kinds[nodeid] == "skipped")
    return Judgement(
        suites=suites,
        counts=counts,
        shares=shares,
        below=tuple(s.name for s in suites if whole and shares[s.name] < s.bar),
        known={nodeid: known[nodeid] for nodeid in failing if nodeid in known},
        unknown={nodeid: why for nodeid, why in failing.items() if nodeid not in known},
        stale=tuple(n for n in known if kinds.get(n) == "passed" or (whole and parts[n] and _is_gone(n, records))),
        loose={nodeid: record["loose"] for nodeid, record in records.items() if record["loose"]},
        broken=dict(broken.most_common()),
        skips=dict(skips.most_common()),
    )


def _is_gone(nodeid: str, records: Mapping[str, Record]) -> bool:
    """Say whether a test is no longer there; those in fp32 are where INCLUDE_MIL_FP32_UNIT_TESTS asks for them."""
    asked = _FP32 not in nodeid or any(_FP32 in other for other in records)
    return asked and nodeid not in records


def _share(passed: int, failed: int) -> float:
    return passed / (passed + failed) if passed + failed else 0.0


def reason_of(record: Record) -> str:
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
    for suite in found.suites:
        numbers = "".join(f"{found.counts[suite.name][kind]:>12}" for kind in KINDS)
        lines.append(f"{suite.name:16}{numbers}{found.shares[suite.name]:>14.2%}{suite.bar:>8.1%}")
    lines += [
        "passed, failed: asked for a prediction; structural, broken: passed or failed without asking",
        "rounding: failed by at most one unit in the last place of fp16, in which the test itself computes",
        "mac: asked for what only a Mac has; no network: asked for a linear regressor, a tree or the like",
        *(f"{suite.name}: {suite.limit} of its tests, chosen by a hash" for suite in found.suites if suite.limit),
    ]
    lines += _listed(
        "reasons for which tests break before they ask",
        {f"{n:6} times {why}": "" for why, n in found.broken.items()},
    )
    lines += _listed(
        "reasons for which Apple's tests skip themselves",
        {f"{n:6} times {why}": "" for why, n in found.skips.items()},
    )
    lines += _listed("known failures", found.known)
    lines += _listed(
        "known failures that pass by now or are gone: delete them from known_failures.toml",
        dict.fromkeys(found.stale, ""),
    )
    lines += _listed("passes within 0.5, and rounding does not explain it", found.loose)
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
