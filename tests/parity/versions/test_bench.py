"""A side of an upgrade, named, opened and at work."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion import ROUTES
from conversion.own import finished_route
from parity.backends.reference import Reference, make_reference
from parity.core.errors import ParityError
from parity.suite.images import load_images
from parity.suite.suite import ModelEntry, Suite, read_suite
from parity.versions import bench as module
from parity.versions import side as side_module
from parity.versions.bench import Bench, Conversion, opened, runtime_for
from parity.versions.side import Side, find_side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchains import TOOLCHAINS, Environment, ToolChain, ToolChainFailure
from tests.conversion.needs import needs_coreai
from tests.parity.team import lay_out_team
from tests.parity.tiny import converted, pictures, tiny

NAMED = {"spring": ToolChain("spring", ("onnx==1.17.0",))}
ENTRY = ModelEntry("tiny", "models.py:tiny", {"seed": 1}, ("onnx", "mlprogram"), ())
SUITE = Suite(Path("suite/parity.toml"), (ENTRY,))
ENVIRONMENT = Environment(ToolChain("old", ("onnx==1.17.0",)), Path(sys.executable), {"onnx": "1.17.0"}, ("odd",))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference(tiny(), load_images(pictures(), tiny().preprocessing))


class Answering:
    """Stands in for a session of a tool chain."""

    def __init__(self, answer: Any, packages: tuple[str, ...] = ("onnx==1.17.0",)) -> None:
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]
        self.environment = replace(ENVIRONMENT, toolchain=ToolChain("old", packages))
        self.remarks = ["odd"]

    def ask(self, verb: str, arguments: Mapping[str, Any], timeout: float) -> Any:
        self.asked.append((verb, arguments))
        return self.answer(arguments) if callable(self.answer) else self.answer


def tried(reference: Reference, route: str, entry: ModelEntry = ENTRY) -> SuiteRoute:
    return SuiteRoute(SUITE, entry, reference, route)


def bench(directory: Path, answer: Any, *packages: str) -> Bench:
    requested = packages or ("onnx==1.17.0",)
    chain = ToolChain("old", requested)
    return Bench(Side("old", chain), directory, 60, Answering(answer, requested))  # type: ignore[arg-type]


def test_a_side_is_installed_or_named_or_written_out() -> None:
    assert find_side(["installed"], NAMED) == Side("installed")
    assert find_side(["spring"], NAMED) == Side("spring", NAMED["spring"])
    assert find_side(["2020"], {}) == Side("2020", TOOLCHAINS["2020"])
    found = find_side(["onnxscript==0.5.6", "onnx<1.18"], {})
    assert found.name == "onnx<1.18 onnxscript==0.5.6"
    assert found.toolchain == ToolChain(found.name, ("onnxscript==0.5.6", "onnx<1.18"))


@pytest.mark.parametrize(
    ("requested", "told"),
    [
        (["spring", "onnx==1.0"], "spring and onnx==1.0: spring is a whole tool chain; give it alone"),
        (["onnx==1.0", "installed"], "installed is a whole tool chain; give it alone"),
        (["onnx"], r"onnx: neither PACKAGE==VERSION nor a tool chain \(tool chains: 2020, spring, installed\)"),
    ],
)
def test_what_is_no_side_is_told(requested: list[str], told: str) -> None:
    with pytest.raises(ParityError, match=told):
        find_side(requested, NAMED)


def test_a_runtime_alone_converts_nothing() -> None:
    runtime = find_side(["OnnxRuntime==1.22.0"], {})
    both = find_side(["onnxruntime==1.22.0", "onnx==1.17.0"], {})

    assert runtime.runs("onnxruntime")
    assert not runtime.runs("onnx-reference")
    assert not runtime.converts
    assert both.converts
    assert both.runs("onnxruntime")
    # Core AI's package runs programs, and writes what coreai-torch makes.
    core = find_side(["coreai-core==1.0.0b2"], {})
    assert core.runs("coreai")
    assert core.converts
    assert not Side("installed").converts
    assert not Side("installed").runs("onnxruntime")


def test_the_factory_is_called_in_the_tool_chain_as_the_suite_says(tmp_path: Path, reference: Reference) -> None:
    failure = ToolChainFailure("convert", ("no",))
    there = bench(tmp_path, failure)

    assert there.convert(tried(reference, "onnx")) == Conversion(failure=failure)
    ((verb, arguments),) = there.session.asked  # type: ignore[union-attr]
    assert verb == "convert"
    assert arguments["source"] == {
        "function": "parity.versions.toolchain_side:make_classifier",
        "arguments": {
            "factory": "models.py:tiny",
            "arguments": {"seed": 1},
            "name": "tiny",
            "directory": str(Path("suite").absolute()),
        },
    }


def test_installed_converts_here_and_a_failure_is_a_result(tmp_path: Path, reference: Reference) -> None:
    here = Bench(Side("installed"), tmp_path, 60)
    impossible = replace(ENTRY, dynamic="batch", bounds=[1, 2])

    made = here.convert(tried(reference, "onnx"))
    failed = here.convert(tried(reference, "onnx-coreml", impossible))

    assert made.artifact is not None
    assert made.artifact.path.is_file()
    assert failed.failure is not None
    assert "the batch cannot stay open" in str(failed.failure)


def test_what_could_not_be_built_makes_nothing(tmp_path: Path, reference: Reference) -> None:
    failure = ToolChainFailure("install", ("disk full",))
    side = Side("old", ToolChain("old", ()))

    broken = Bench(side, tmp_path, 60, failure=failure).convert(tried(reference, "onnx"))
    skipped = Bench(side, tmp_path, 60, skipped="no Python 3.7 here").convert(tried(reference, "onnx"))

    assert broken == Conversion(failure=failure)
    assert skipped == Conversion(skipped="no Python 3.7 here")
    here = Bench(Side("installed"), tmp_path, 60)
    untried = here.judge(tried(reference, "onnx"), broken, "onnxruntime")
    assert (untried.subject.verdict, untried.subject.reason) == ("skipped", "install: disk full")
    assert (untried.answers, untried.state) == (None, "untried")
    passed_over = here.judge(tried(reference, "onnx"), skipped, "onnxruntime")
    assert (passed_over.subject.verdict, passed_over.subject.reason) == ("skipped", "no Python 3.7 here")
    assert (passed_over.answers, passed_over.state) == (None, "skipped")


def test_a_route_that_a_chain_lacks_is_skipped(tmp_path: Path, reference: Reference) -> None:
    old = Bench(Side("2020", TOOLCHAINS["2020"]), tmp_path, 60, Answering(None))  # type: ignore[arg-type]

    assert "there conversions start from ONNX" in old.convert(tried(reference, "mlprogram")).skipped


def in_this_process(arguments: Mapping[str, Any]) -> Any:
    """Predict as the worker would, through JSON."""
    import importlib
    import json

    module, _, function = arguments["function"].partition(":")
    answer = getattr(importlib.import_module(module), function)(**arguments["arguments"])
    return json.loads(json.dumps(answer))


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram"])
def test_predictions_of_a_runtime_in_a_tool_chain_lose_nothing(
    tmp_path: Path, reference: Reference, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = runtime_for(ROUTES[route])
    monkeypatch.setattr(side_module, "runtimes", lambda: {"onnxruntime": backend})
    there = bench(tmp_path, in_this_process, "onnxruntime==1.22.0")
    here = Bench(Side("installed"), tmp_path, 60)
    made = Conversion(converted(route))

    outcome = there.judge(tried(reference, route), made, backend)
    expected = here.judge(tried(reference, route), made, backend)

    answers, answers_here = outcome.answers, expected.answers
    assert outcome.subject == expected.subject
    assert outcome.state == expected.state == "right"
    assert answers is not None
    assert answers_here is not None
    np.testing.assert_array_equal(answers.probabilities, answers_here.probabilities)
    assert (answers.labels, answers.top1) == (answers_here.labels, answers_here.top1)
    assert there.session.asked  # type: ignore[union-attr]


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if tmp_path.parent not in Path(path).parents])
    for name in ("tools", "scaling", "models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("PYTHONPATH", "")  # it is set for the commands of a tool chain
    return read_suite(lay_out_team(tmp_path) / "parity.toml")


@pytest.mark.parametrize("route", ["ship", "by-command"])
def test_a_route_of_ones_own_converts_in_the_tool_chain(
    route: str, tmp_path: Path, reference: Reference, team: Suite
) -> None:
    there = bench(tmp_path / "kept", in_this_process)
    here = Bench(Side("installed"), tmp_path / "kept", 60)
    own = SuiteRoute(team, team.models[0], reference, route)

    conversion = there.convert(own)

    assert conversion.failure is None
    assert conversion.artifact is not None
    assert (conversion.artifact.route, conversion.artifact.output) == (route, "probabilities")
    assert there.session.asked[-1][1]["arguments"] == {  # type: ignore[union-attr]
        "suite": str(tmp_path / "parity.toml"),
        "model": "tiny",
        "route": route,
        "directory": str(tmp_path / "kept"),
    }
    assert here.convert(own).artifact == conversion.artifact
    assert there.judge(own, conversion, runtime_for(own.recipe)).subject.verdict == "pass"


def test_a_finished_file_is_converted_by_nobody(tmp_path: Path, reference: Reference) -> None:
    path = converted("onnx-torchscript").path
    entry = replace(ENTRY, converters={"tiny.onnx": finished_route("tiny.onnx", path)})
    finished = SuiteRoute(SUITE, entry, reference, "tiny.onnx")

    assert "tiny.onnx is a finished file" in bench(tmp_path, in_this_process).convert(finished).skipped
    # Where the runtime alone is another, it is what runs.
    alone = bench(tmp_path, in_this_process, "onnxruntime==1.22.0").convert(finished)
    assert alone.artifact is not None
    assert (alone.artifact.path, alone.artifact.route) == (path, "tiny.onnx")


@needs_coreai
def test_a_finished_file_of_core_ai_is_run_by_another_core_ai(tmp_path: Path, reference: Reference) -> None:
    path = converted("coreai").path
    entry = replace(ENTRY, converters={"tiny.aimodel": finished_route("tiny.aimodel", path)})
    finished = SuiteRoute(SUITE, entry, reference, "tiny.aimodel")

    alone = bench(tmp_path, in_this_process, "coreai-core==1.0.0b2").convert(finished)
    assert alone.artifact is not None
    assert alone.artifact.path == path
    other_torch = bench(tmp_path, in_this_process, "torch==2.8.0").convert(finished)
    assert "tiny.aimodel is a finished file" in other_torch.skipped


def test_numbers_that_are_none_cross_too(tmp_path: Path, reference: Reference) -> None:
    answer = {"probabilities": [["nan", "inf"] + ["0x0p+0"] * 6] * 6, "labels": None, "top1": None}
    there = bench(tmp_path, answer, "onnxruntime==1.22.0")

    outcome = there.judge(
        tried(reference, "onnx-torchscript"), Conversion(converted("onnx-torchscript")), "onnxruntime"
    )

    assert (outcome.subject.verdict, outcome.state) == ("fail", "wrong")
    assert outcome.subject.reason == "6 error of 6 image(s)"
    assert outcome.subject.guilty_hop == ""  # the installed runtime, which is right, is not to be asked


@pytest.mark.parametrize(
    ("failure", "verdict", "state"),
    [
        (ToolChainFailure("run", ("killed by SIGSEGV",), died=True), "error", "crashed"),
        (ToolChainFailure("run", ("no opset 99",)), "error", "refused"),
        (ToolChainFailure("load", ("cannot import name 'onnx'",)), "skipped", "untried"),
        (ToolChainFailure("start", ("no python",)), "skipped", "untried"),
    ],
)
def test_a_runtime_that_breaks_is_a_result(
    tmp_path: Path, reference: Reference, failure: ToolChainFailure, verdict: str, state: str
) -> None:
    there = bench(tmp_path, failure, "onnxruntime==1.22.0")

    outcome = there.judge(tried(reference, "onnx"), Conversion(converted("onnx-torchscript")), "onnxruntime")

    assert (outcome.subject.verdict, outcome.answers, outcome.state) == (verdict, None, state)
    assert outcome.subject.reason == str(failure)


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (ToolChainFailure("resolve", ("no such release",)), "untried"),
        (ToolChainFailure("install", ("disk full",)), "untried"),
        (ToolChainFailure("check", ("numpy has gone",)), "untried"),
        (ToolChainFailure("load", ("protobuf of another time",), died=True), "untried"),
        (ToolChainFailure("convert", ("no such operation",)), "refused"),
        (ToolChainFailure("convert", ("killed by SIGSEGV",), died=True), "crashed"),
        (ToolChainFailure("open", ("no model",)), "nonsense"),
    ],
)
def test_how_a_conversion_failed_is_a_state(
    tmp_path: Path, reference: Reference, failure: ToolChainFailure, state: str
) -> None:
    here = Bench(Side("installed"), tmp_path, 60)

    assert here.judge(tried(reference, "onnx"), Conversion(failure=failure), "onnxruntime").state == state


def test_a_file_that_the_same_runtime_does_not_take_is_nonsense(tmp_path: Path, reference: Reference) -> None:
    (tmp_path / "tiny.onnx").write_bytes(b"nonsense")
    artifact = replace(converted("onnx-torchscript"), path=tmp_path / "tiny.onnx")
    here = Bench(Side("installed"), tmp_path, 60)

    assert here.judge(tried(reference, "onnx"), Conversion(artifact), "onnxruntime").state == "nonsense"


def test_versions_and_remarks_are_the_tool_chains(tmp_path: Path) -> None:
    assert bench(tmp_path, None).versions == {"onnx": "1.17.0"}
    assert bench(tmp_path, None).remarks == ("old: odd",)
    here = Bench(Side("installed"), tmp_path, 60)
    assert "torch" in here.versions
    assert here.remarks == ()


def test_opening_says_what_stands_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side("old", ToolChain("old", (), "3.7"))
    failure = ToolChainFailure("resolve", ("none",))
    monkeypatch.setattr(module, "why_not", lambda chain: "no Python 3.7 here")
    with opened(side, tmp_path, 60) as found:
        assert found.skipped == "no Python 3.7 here"

    monkeypatch.setattr(module, "why_not", lambda chain: None)
    monkeypatch.setattr(module, "prepare", lambda chain, directory: failure)
    with opened(side, tmp_path, 60) as found:
        assert found.failure == failure

    monkeypatch.setattr(
        module, "prepare", lambda chain, directory: replace(ENVIRONMENT, packages={"at": str(directory)})
    )
    with opened(side, tmp_path, 60) as found:
        assert found.versions == {"at": str(tmp_path / "toolchains")}

    with opened(Side("installed"), tmp_path, 60) as found:
        assert found.session is None
