"""Run Apple's own tests, those inside the coremltools wheel, on any system: a pytest plugin, used by run.py.

The numeric half of them is skipped off macOS. Here coremltools is told that it runs on macOS, MLModel.predict is
answered by the evaluator, and every test is recorded with what it did: its outcome, how many predictions it asked
for, and a short reason. run.py says what follows from that. The notes travel with pytest's reports, so they reach
the controller of pytest-xdist.

With `--conformance-runtime native`, on a Mac, Apple's runtime answers, and the evaluator is asked beside it.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import importlib
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion.guards.quiet import import_coremltools
from parity.coreml import patch_coremltools

# First, and quietly: coremltools has a conftest.py of its own, and to load that pytest would import it with noise.
import_coremltools()

# The newest system: Apple's tests skip what older ones get wrong, and nothing for being new.
_MACOS = (26, 0)
_PROPERTY = "conformance"


@dataclass
class Asked:
    """Note what the test that runs now asked of Core ML.

    raised: the first error of a prediction; a test may catch it and pass.
    half: a model that was asked holds numbers of fp16.
    within_half: what a comparison refused is what rounding to fp16 explains.
    loose: what a comparison within 0.5 lets pass, and rounding does not explain.
    last: the model that was asked last, with its inputs and answers.
    differences: where Apple's runtime and the evaluator answered differently.
    """

    predictions: int = 0
    raised: str = ""
    half: bool = False
    within_half: bool = False
    loose: str = ""
    last: tuple[Any, Any, Any] | None = None
    differences: list[dict[str, Any]] = field(default_factory=list)

    def reset(self) -> None:
        """Start over, for the next test."""
        self.predictions, self.raised, self.differences = 0, "", []
        self.half = self.within_half = False
        self.loose, self.last = "", None


_ASKED = pytest.StashKey[Asked]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the harness."""
    group = parser.getgroup("conformance")
    group.addoption("--conformance-json", type=Path, help="write the records of all tests to this file")
    group.addoption("--conformance-sample", type=int, help="run so many tests, chosen by a hash of the node id")
    group.addoption(
        "--conformance-limit",
        action="append",
        default=[],
        metavar="PATH=N",
        help="run so many tests of this part of the wheel, chosen in the same way; repeatable",
    )
    group.addoption(
        "--conformance-runtime",
        choices=("evaluator", "native"),
        default="evaluator",
        help="who answers predictions; native: Apple's runtime, and the evaluator is compared with it",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare the process that runs tests, and the one that reports: without pytest-xdist they are the same."""
    is_worker = hasattr(config, "workerinput")
    path = config.getoption("--conformance-json")
    if path is not None and not is_worker:
        config.pluginmanager.register(Recorder(path), "conformance-recorder")
    if is_worker or config.getoption("dist", "no") == "no":
        config.stash[_ASKED] = Asked()
        prepare(config.stash[_ASKED], config.getoption("--conformance-runtime"))


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Let every worker draw the same numbers: some of Apple's tests have them in their names."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)


def prepare(asked: Asked, runtime: str) -> None:
    """Answer for macOS before any of Apple's tests is imported: they ask while they are."""
    model = importlib.import_module("coremltools.models.model")
    if runtime == "native":
        set_evaluator_beside(model, asked)
    else:
        patch_coremltools()
    # A Mac that answers for itself also says which of Apple's tests its version is too old for.
    if runtime == "evaluator" or sys.platform != "darwin":
        answer_for_macos()
    # A sibling: run.py puts this directory on the path.
    from conformance_precise import computes_half, noting

    count_predictions(asked, computes_half)
    np.argsort = _stable_argsort
    np.testing.assert_allclose = noting(np.testing.assert_allclose, asked)


def set_evaluator_beside(model: Any, asked: Asked) -> None:
    """Let Apple's runtime answer, and note where the evaluator answers differently."""
    if model._MLModelProxy is None:
        raise pytest.UsageError("no Apple runtime here: it comes with coremltools on macOS; use `make conformance`")
    # A sibling: run.py puts this directory on the path.
    from conformance_native import beside

    model._MLModelProxy = beside(model._MLModelProxy, lambda found: asked.differences.extend(found))


def answer_for_macos() -> None:
    """Say macOS wherever coremltools, or a helper of its tests, has the question under one of its names."""
    answers: Mapping[str, Any] = {
        "_IS_MACOS": True,
        "_is_macos": lambda: True,
        "_macos_version": lambda: _MACOS,
    }
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "coremltools":
            for question, answer in answers.items():
                if question in vars(module):
                    setattr(module, question, answer)


def count_predictions(asked: Asked, computes_half: Callable[[Any], bool]) -> None:
    """Note every call of MLModel.predict and make_state: a model that cannot be run has no proxy to note it."""
    model = importlib.import_module("coremltools.models.model").MLModel
    for name in ("predict", "make_state"):
        setattr(model, name, _counted(getattr(model, name), asked, computes_half))


def _counted(
    function: Callable[..., Any], asked: Asked, computes_half: Callable[[Any], bool]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def counted(model: Any, *arguments: Any, **named: Any) -> Any:
        asked.predictions += 1
        asked.half = asked.half or computes_half(model)
        try:
            answers = function(model, *arguments, **named)
        except Exception as error:
            asked.raised = asked.raised or reason(error)
            raise
        # Apple's helpers always name a state, mostly None.
        stateless = len(arguments) == 1 and named.get("state") is None
        asked.last = (model, arguments[0], answers) if stateless else None
        return answers

    return counted


_argsort = np.argsort


def _stable_argsort(a: Any, axis: Any = -1, kind: Any = None, **named: Any) -> Any:
    """Let the first of equals lead, as NumPy did when Apple wrote its tests: they expect it of Core ML too.

    With vector units of today the default sort of NumPy leaves equals in any order, another one on each processor.
    """
    return _argsort(a, axis=axis, kind=kind or "stable", **named)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the samples that were asked for."""
    names = [item.nodeid for item in items]
    size = config.getoption("--conformance-sample")
    chosen = set(names) if size is None else sample(names, size)
    for limit in config.getoption("--conformance-limit"):
        path, _, most = limit.rpartition("=")
        inside = [name for name in names if name.startswith(path)]
        chosen -= set(inside) - sample(inside, int(most))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in chosen])
    items[:] = [item for item in items if item.nodeid in chosen]


def sample(nodeids: list[str], size: int) -> set[str]:
    """Choose tests by a hash of their names: the same everywhere, and hardly moved when others come or go."""
    return set(sorted(nodeids, key=_hash)[:size])


def _hash(nodeid: str) -> bytes:
    return hashlib.sha256(nodeid.encode()).digest()


def pytest_collection_finish() -> None:
    """Take what exists by now out of the garbage collector's sight: coremltools collects in each conversion."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Start each test with a clean note, and with random numbers that do not depend on what ran before it."""
    item.config.stash[_ASKED].reset()
    seed = int.from_bytes(_hash(item.nodeid)[:4])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Attach the note to the report, which pytest-xdist carries to its controller."""
    report = yield
    asked = item.config.stash[_ASKED]
    note: dict[str, Any] = {"predictions": asked.predictions, "raised": asked.raised}
    if asked.differences:
        note["differences"] = asked.differences
    if asked.half and asked.within_half:
        note["rounding"] = True
    if asked.loose:
        note["loose"] = asked.loose
    if call.excinfo is not None:
        note["reason"] = reason(call.excinfo.value)
    report.user_properties = [(_PROPERTY, note)]
    return report


def reason(error: BaseException) -> str:
    """Shorten an error to one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


@dataclass(eq=False)  # pytest keeps plugins in sets
class Recorder:
    """Collect one record for each test, in the process that reports, and write them to a file."""

    path: Path
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test's setup, call and teardown together."""
        self._note(report, dict(report.user_properties).get(_PROPERTY, {}))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that skips itself, or cannot be imported, as if it were a test."""
        if not report.passed:
            self._note(report, {})

    def _note(self, report: pytest.TestReport | pytest.CollectReport, note: Mapping[str, Any]) -> None:
        record = self.records.setdefault(
            report.nodeid,
            {
                "outcome": "passed",
                "predictions": 0,
                "raised": "",
                "reason": "",
                "differences": [],
                "rounding": False,
                "loose": "",
            },
        )
        record["predictions"] = max(record["predictions"], note.get("predictions", 0))
        record["raised"] = record["raised"] or note.get("raised", "")
        record["differences"] = note.get("differences", record["differences"])
        record["rounding"] = note.get("rounding", record["rounding"])
        record["loose"] = note.get("loose", record["loose"])
        if not report.passed and record["outcome"] != "failed":
            record["outcome"] = report.outcome
            # A worker that dies leaves a report without a note.
            record["reason"] = note.get("reason") or " ".join(str(report.longrepr).split())[-300:]

    def pytest_sessionfinish(self) -> None:
        """Write the records."""
        self.path.write_text(json.dumps(self.records, indent=1, sort_keys=True), encoding="utf-8")
