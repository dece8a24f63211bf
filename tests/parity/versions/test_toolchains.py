"""Conversions in a tool chain: the classifier is made again in there, and what comes out is looked at here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from conversion import Artifact, convert
from conversion.neuralnetwork import onnx_to_neuralnetwork
from conversion.provenance import weights_hash
from parity.versions.toolchains import (
    TOOLCHAINS,
    Environment,
    Session,
    Source,
    ToolChain,
    ToolChainFailure,
    convert_in,
    lacks_route,
)
from tests.conversion import classifiers
from tests.conversion.classifiers import answers, photos, tiny

HERE = Environment(ToolChain("here", ()), Path(sys.executable), {})
OLD = Environment(
    ToolChain("old", ("onnx-coreml==1.3",), "3.7"), Path(sys.executable), {"onnx": "1.6.0", "numpy": "1.21.6"}
)
SOURCE = Source("models:net", {})


class Answering:
    """Stands in for a session; answer: takes the verb and its arguments."""

    def __init__(self, environment: Environment, answer: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self.environment, self.answer = environment, answer

    def ask(self, verb: str, arguments: Mapping[str, Any], timeout: float) -> Any:
        return self.answer(verb, arguments)


def session(answer: Callable[[str, Mapping[str, Any]], Any], environment: Environment = HERE) -> Any:
    return Answering(environment, answer)


def test_the_chain_of_2020_has_the_versions_of_2020() -> None:
    chain = TOOLCHAINS["2020"]

    assert chain.python == "3.7"
    assert set(chain.packages) == {"onnx-coreml==1.3", "coremltools==3.4", "onnx==1.6.0", "protobuf<3.21"}


def test_all_that_decides_a_conversion_crosses_as_json(tmp_path: Path) -> None:
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def answer(verb: str, arguments: Mapping[str, Any]) -> ToolChainFailure:
        asked.append((verb, arguments))
        return ToolChainFailure("convert", ("no",))

    source = Source("models:net", {"seed": 3})
    found = convert_in(
        session(answer), tiny(), source, "onnx", tmp_path, dynamic="batch", bounds=[1, 8], timeout=60
    )

    assert found == ToolChainFailure("convert", ("no",))
    assert asked == [
        (
            "convert",
            {
                "source": {"function": "models:net", "arguments": {"seed": 3}},
                "route": "onnx",
                "directory": str(tmp_path),
                "axes": {"dynamic": "batch", "bounds": [1, 8], "sizes": None},
            },
        )
    ]


def test_an_artefact_made_elsewhere_is_opened_here(converted: Callable[[str], Artifact], tmp_path: Path) -> None:
    there = converted("onnx")
    answer = {"path": str(there.path), "weights": weights_hash(tiny()), "remark": ""}

    assert convert_in(session(lambda *_: answer), tiny(), SOURCE, "onnx", tmp_path) == there


def test_a_factory_that_gives_other_weights_is_found_out(
    converted: Callable[[str], Artifact], tmp_path: Path
) -> None:
    answer = {"path": str(converted("onnx").path), "weights": weights_hash(tiny(seed=1)), "remark": ""}

    found = convert_in(session(lambda *_: answer), tiny(), SOURCE, "onnx", tmp_path)

    assert isinstance(found, ToolChainFailure)
    assert found.stage == "load"
    assert "tiny: the factory gives other weights every time it is called (seed it" in str(found)


def test_nonsense_is_a_result(tmp_path: Path) -> None:
    nonsense = tmp_path / "tiny.onnx"
    nonsense.write_bytes(b"\x00nonsense")
    answer = {"path": str(nonsense), "weights": weights_hash(tiny()), "remark": ""}

    found = convert_in(session(lambda *_: answer), tiny(), SOURCE, "onnx", tmp_path)

    assert isinstance(found, ToolChainFailure)
    assert found.stage == "open"
    assert f"{nonsense}: not an ONNX model" in str(found)


@pytest.mark.parametrize("route", ["onnx", "mlprogram"])
def test_a_chain_without_torch_converts_from_onnx_alone(tmp_path: Path, route: str) -> None:
    told = "the tool chain old has Python 3.7 and no torch; there conversions start from ONNX (onnx-coreml)"

    assert lacks_route(OLD.toolchain, route) == told
    assert lacks_route(OLD.toolchain, "onnx-coreml") is None
    assert lacks_route(HERE.toolchain, route) is None
    found = convert_in(session(lambda *_: None, OLD), tiny(), SOURCE, route, tmp_path)
    assert found == ToolChainFailure("convert", (told,))


def test_a_chain_without_torch_gets_an_onnx_file_and_is_named_in_the_result(tmp_path: Path) -> None:
    def answer(verb: str, arguments: Mapping[str, Any]) -> None:
        from conversion.guards.quiet import import_coremltools

        assert verb == "onnx_coreml"
        made = onnx_to_neuralnetwork(Path(arguments["onnx"]), **arguments["options"])
        import_coremltools().utils.save_spec(made.get_spec(), arguments["out"])

    found = convert_in(session(answer, OLD), tiny(), SOURCE, "onnx-coreml", tmp_path)

    assert isinstance(found, Artifact)
    assert found.provenance is not None
    assert found.provenance.packages["onnx"] == "1.6.0"
    assert found.provenance.packages["torch"]  # which wrote the ONNX file, here
    assert found.provenance.options["python"] == "3.7"
    today = convert(tiny(), "onnx-coreml", tmp_path)
    assert found.path != today.path
    assert (answers(found, photos(2)) == answers(today, photos(2))).all()


@pytest.mark.parametrize(
    "failure", [ToolChainFailure("convert", ("Segmentation fault",)), ToolChainFailure("start", ("no python",))]
)
def test_what_breaks_in_there_comes_back_as_it_is(tmp_path: Path, failure: ToolChainFailure) -> None:
    assert convert_in(session(lambda *_: failure, OLD), tiny(), SOURCE, "onnx-coreml", tmp_path) == failure


def test_what_breaks_here_on_the_way_is_a_result_too(tmp_path: Path) -> None:
    found = convert_in(
        session(lambda *_: None, OLD), tiny(), SOURCE, "onnx-coreml", tmp_path, dynamic="batch", bounds=[1, 2]
    )

    assert isinstance(found, ToolChainFailure)
    assert "the batch cannot stay open" in str(found)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Open a session in this very interpreter: a tool chain that has nothing else."""
    home = tmp_path_factory.mktemp("modules")
    # By a name of its own: more than one installed package brings a `tests`.
    shutil.copy(classifiers.__file__, home / "classifiers_of_this_test.py")
    with pytest.MonkeyPatch.context() as patch, Session(HERE) as opened:
        patch.syspath_prepend(home)
        yield opened


def test_a_real_process_converts_what_this_one_would(
    real: Session, converted: Callable[[str], Artifact], tmp_path: Path
) -> None:
    source = Source("classifiers_of_this_test:tiny", {"seed": 0})
    found = convert_in(real, tiny(), source, "onnx-torchscript", tmp_path)

    assert isinstance(found, Artifact)
    assert found.path.is_relative_to(tmp_path)
    assert found.provenance == converted("onnx-torchscript").provenance


def test_a_real_process_says_why_it_cannot(real: Session, tmp_path: Path) -> None:
    found = convert_in(real, tiny(), Source("classifiers_of_this_test:tini", {}), "onnx", tmp_path)

    assert isinstance(found, ToolChainFailure)
    assert found.stage == "load"
    assert "has no attribute 'tini'" in str(found)
