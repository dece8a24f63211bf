"""A runtime of another version that is wrong: its own process is asked why, and its own version is accused."""

from __future__ import annotations

import re
import shutil
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from parity.core.results import Diagnosis
from parity.suite.suite import read_suite
from parity.versions import upgrade as module
from parity.versions.bench import Bench, Outcome
from parity.versions.side import Side, find_side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchains import Environment, Session, ToolChain, ToolChainFailure
from parity.versions.upgrade import Upgrade, upgrade
from tests.parity import tiny
from tests.parity.tiny import save_pictures

# The installed runtime under another version, which gives the classes in another order: `HASTE` says when.
RUNTIME = """
import importlib, sys

beside = __file__.rpartition("/onnxruntime/")[0]
del sys.modules["onnxruntime"]
kept = list(sys.path)
sys.path[:] = [path for path in kept if path != beside]
importlib.invalidate_caches()
real = importlib.import_module("onnxruntime")
sys.path[:] = kept
sound = real.InferenceSession
LEVELS = real.GraphOptimizationLevel

class InferenceSession:
    def __init__(self, model, options=None, **given):
        self.session = sound(model, options, **given)
        self.names = [value.name for value in self.session.get_outputs()]
        level = options.graph_optimization_level
        self.hasty = HASTE

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run(self, names, feeds):
        found = self.session.run(names, feeds)
        if not self.hasty:
            return found
        return [one[:, ::-1] if name == self.names[0] and one.ndim == 2 else one for name, one in zip(names, found)]

real.InferenceSession = InferenceSession
sys.modules["onnxruntime"] = real
"""
SUITE = """
images = ["photos/*.png"]
[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]
"""
OLD, NEW = find_side(["onnxruntime==8.0"], {}), find_side(["onnxruntime==9.0"], {})


def environment(home: Path, version: str, haste: str) -> Environment:
    """Make an environment over the running one whose onnxruntime says that it is another."""
    venv.create(home, symlinks=True)
    packages = next(home.glob("lib/python*/site-packages"))
    (packages / "onnxruntime").mkdir()
    (packages / "onnxruntime/__init__.py").write_text(RUNTIME.replace("HASTE", haste))
    (packages / f"onnxruntime-{version}.dist-info").mkdir()
    (packages / f"onnxruntime-{version}.dist-info/METADATA").write_text(
        f"Metadata-Version: 2.1\nName: onnxruntime\nVersion: {version}\n"
    )
    chain = ToolChain(f"onnxruntime=={version}", (f"onnxruntime=={version}",))
    return Environment(chain, home / "bin/python", {"onnxruntime": version})


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    shutil.copy(tiny.__file__, tmp_path / "models.py")
    save_pictures(tmp_path / "photos")
    (tmp_path / "parity.toml").write_text(SUITE)
    return tmp_path / "parity.toml"


def upgraded(suite_file: Path, monkeypatch: pytest.MonkeyPatch, sides: Sequence[Side], *hastes: str) -> Upgrade:
    """Compare two sides, each with a runtime of its own where it is not the installed one."""
    with_haste = {side.name: haste for side, haste in zip(sides, hastes, strict=True)}

    @contextmanager
    def opened(side: Side, directory: Path, timeout: float) -> Iterator[Bench]:
        if side.toolchain is None:
            yield Bench(side, directory, timeout)
            return
        version = side.name.partition("==")[2]
        built = environment(directory / version, version, with_haste[side.name])
        with Session(built) as session:
            yield Bench(side, directory, timeout, session)

    monkeypatch.setattr(module, "opened", opened)
    return upgrade(read_suite(suite_file), *sides, artifacts=suite_file.parent / "artifacts", timeout=120)


def versions_in(diagnoses: Sequence[Diagnosis]) -> set[str]:
    """List the versions of ONNX Runtime that are named."""
    text = " ".join(f"{d.message} {d.fix}" for d in diagnoses)
    return set(re.findall(r"(?:ONNX Runtime |onnxruntime[ =]+)([0-9.]+[0-9])", text))


def test_the_runtime_that_is_accused_is_the_one_that_answered(
    suite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = upgraded(suite_file, monkeypatch, (OLD, NEW), "False", "level.value")

    (leg,) = found.legs
    assert (leg.before, leg.after, leg.verdict) == ("right", "wrong", "worse")
    assert leg.new.guilty_hop == "onnx unoptimised -> onnx optimised"
    proven, *causes = leg.new.diagnoses
    assert re.fullmatch(
        r"onnxruntime 9\.0 answers this file wrongly, by up to [0-9.]+; "
        r"onnxruntime 8\.0 answers the same file as PyTorch does\.",
        proven.message,
    )
    assert (proven.fault, proven.confirmed, proven.fix) == (
        "v-runtime-regression",
        True,
        "pip install onnxruntime==8.0",
    )
    # With its own runtime the search finds what that one does, and undoes it.
    (haste,) = (cause for cause in causes if cause.confirmed)
    assert haste.message.startswith("ONNX Runtime 9.0 answers otherwise once it has optimised the graph")
    assert versions_in(leg.new.diagnoses) == {"8.0", "9.0"}
    assert "recorded" not in " ".join(d.message for d in leg.new.diagnoses)


def test_a_runtime_that_cannot_be_imported_was_not_tried(suite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "RUNTIME", "import json; json.no_such_name")

    found = upgraded(suite_file, monkeypatch, (Side("installed"), NEW), "", "")

    (leg,) = found.legs
    assert (leg.after, leg.verdict) == ("untried", "untried")
    assert leg.reason.startswith("load: AttributeError: ")
    assert found.exit_code == 3


class Broken(Bench):
    """A side whose process gives wrong answers and then says no more."""

    def _ask_parity(self, *given: object) -> ToolChainFailure:
        return ToolChainFailure("run", ("the process was killed by SIGSEGV",), died=True)


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        (("onnxruntime==9.0",), "run: the process was killed by SIGSEGV"),
        (("onnxruntime==9.0", "torch==2.12.0"), "its torch is not the reference's"),
    ],
)
def test_where_the_runtime_cannot_be_asked_no_other_is_accused(
    suite_file: Path, packages: tuple[str, ...], told: str
) -> None:
    from parity.entries import load_entry
    from parity.judging import judge_with_prediction
    from tests.parity.tiny import converted, shifted

    suite = read_suite(suite_file)
    reference = load_entry(suite, suite.models[0])
    artifact = converted("onnx-torchscript", shifted)
    subject, answers = judge_with_prediction(reference, artifact, "onnxruntime")
    assert subject.verdict == "fail"
    side = find_side(packages, {})
    assert side.toolchain is not None
    session = Session(Environment(side.toolchain, Path(sys.executable), {"onnxruntime": "9.0"}))

    outcome = Outcome(replace(subject, guilty_hop=""), answers, "wrong")
    bench = Broken(side, suite_file.parent, 60, session)
    explained = bench.explain(SuiteRoute(suite, suite.models[0], reference, "onnx-torchscript"), artifact, outcome)

    assert (explained.diagnoses, explained.guilty_hop) == ((), "")
    assert explained.unexplained == f"the cause cannot be looked for with the packages of this side: {told}"


def test_a_converter_over_another_onnx_is_explained_with_that_onnx(tmp_path: Path) -> None:
    from tests.parity.tiny import converted

    chain = ToolChain("onnx==1.17.0", ("onnx==1.17.0",))
    session = Session(Environment(chain, Path(sys.executable), {"onnx": "1.17.0"}))
    bench = Bench(Side(chain.name, chain), tmp_path, 60, session)

    assert bench._reads_otherwise(converted("onnx-torchscript"))
    assert not bench._reads_otherwise(replace(converted("onnx-torchscript"), format="mlprogram"))
    assert not replace(bench, session=None)._reads_otherwise(converted("onnx-torchscript"))
