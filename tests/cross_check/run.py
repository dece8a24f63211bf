"""Run the evaluator and Core AI on the same inputs, operation by operation: `make cross-check`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
if __name__ == "__main__":
    # A package in the environment may be called `tests` too.
    sys.path.insert(0, str(HERE.parents[1]))
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(HERE.parent)]

from tests.cross_check.answers import Answer, by_core_ai, by_evaluator, why_not  # noqa: E402  - ours only now
from tests.cross_check.judgement import Known, Tally, judge, read_known, tally  # noqa: E402
from tests.cross_check.operation import Example, draw_examples  # noqa: E402
from tests.cross_check.operations import OPERATIONS  # noqa: E402


def cross_check(names: Sequence[str], count: int, known: Sequence[Known]) -> Iterator[Tally]:
    """Compare `count` examples of each operation; every operation's tally as soon as it is there."""
    batches = [draw_examples(OPERATIONS[name], count) for name in names]
    for name, batch, theirs in zip(names, batches, by_core_ai(batches), strict=True):
        ours = _evaluated(batch)
        opinions = [judge(OPERATIONS[name], *each) for each in zip(batch, ours, theirs, strict=True)]
        yield tally(name, opinions, known)


def _evaluated(batch: Sequence[Example]) -> list[Answer]:
    """Run a batch as one file, and where that fails each example as its own, with the error for an answer."""
    try:
        return by_evaluator(batch)
    except Exception as error:
        if len(batch) == 1:
            return [Answer(error=f"{type(error).__name__}: {error}")]
        return [answer for example in batch for answer in _evaluated([example])]


def describe(tallies: Sequence[Tally]) -> str:
    """Write the table: operation, examples, agreed, the largest difference, and the disagreements."""
    lines = [f"{'operation':26} {'examples':>8} {'agreed':>7} {'max |d|':>8}  disagreements"]
    for each in tallies:
        noted = [f"{times} {differs}" for differs, times in each.explained.items()]
        if each.unexplained:
            noted.append(f"{len(each.unexplained)} not explained")
        counts = f"{each.operation:26} {each.examples:8} {each.agreed:7} {each.distance:8.1e}"
        lines.append(f"{counts}  {'; '.join(noted)}".rstrip())
    examples, agreed = sum(t.examples for t in tallies), sum(t.agreed for t in tallies)
    explained = sum(sum(t.explained.values()) for t in tallies)
    lines.append(
        f"{len(tallies)} operations, {examples} examples: {agreed} agree, {explained} are explained disagreements, "
        f"{examples - agreed - explained} are not explained"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 where all is agreed or explained, 1 where not, 3 where Core AI does not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=40, metavar="N", help="at most so many for each operation")
    parser.add_argument("--only", action="append", metavar="OPERATION", help="this operation; again for another")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.only or () if name not in OPERATIONS]
    if unknown:
        parser.error(f"no operation `{unknown[0]}`; there are {', '.join(OPERATIONS)}")
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 3
    known = read_known()
    tallies = list(cross_check(chosen.only or list(OPERATIONS), chosen.examples, known))
    print(describe(tallies))
    failed = [opinion for each in tallies for opinion in each.unexplained]
    for opinion in failed:
        attributes = json.dumps(opinion.example.attributes)
        print(f"\n{opinion.example.operation}, example {opinion.example.number}: {attributes}")
        print(f"  right: {opinion.right}; |d| {opinion.distance:.2g} {opinion.reason}")
    seen = {(each.operation, differs) for each in tallies for differs in each.explained}
    stale = [k for k in known if not chosen.only and (k.operation, k.differs) not in seen]
    for entry in stale:
        print(f"\n{entry.operation}: no example shows that {entry.differs}; take the entry out of the list")
    return 1 if failed or stale else 0


if __name__ == "__main__":
    sys.exit(main())
