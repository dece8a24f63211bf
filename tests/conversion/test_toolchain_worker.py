"""The script that runs inside a tool chain, which may be as old as Python 3.7."""

from __future__ import annotations

import ast
import importlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conversion import toolchain_worker
from conversion.errors import ConversionError
from conversion.routes import ROUTES, convert_by
from conversion.toolchain_worker import VERBS, _extend, raised_while_importing, versions
from parity.versions.toolchain_environment import WORKER
from tests.parity.tiny import tiny


def quiet(message: dict[str, Any]) -> None:
    """Hear nothing."""


def test_python_3_7_can_read_it() -> None:
    ast.parse(WORKER.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(WORKER.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_versions_are_those_that_an_import_would_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in ("first/Ml_Dtypes-1.0.dist-info", "second/ml_dtypes-2.0.dist-info", "second/b-3.1+cpu.dist-info"):
        (tmp_path / entry).mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / name) for name in ("first", "second", "absent")])

    assert versions(quiet) == {"ml-dtypes": "1.0", "b": "3.1+cpu"}


def test_what_is_installed_here_comes_before_what_the_caller_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    standard = str(Path(json.__file__).parent.parent)
    layer = str(Path(sys.prefix) / "lib" / "layer")
    monkeypatch.setattr(sys, "path", [standard, layer, "/running/site-packages"])

    _extend(["/project", standard, "/running/site-packages", "/project"])

    assert sys.path == [standard, layer, "/project", "/running/site-packages"]


def test_a_python_without_an_environment_keeps_its_packages_behind_the_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standard = Path(json.__file__).parent.parent
    monkeypatch.setattr(
        sys, "path", [str(standard / "site-packages"), str(standard / "lib-dynload"), str(standard)]
    )
    monkeypatch.setattr(sys, "prefix", "/environment")

    _extend([])

    assert sys.path == [str(standard / "lib-dynload"), str(standard), str(standard / "site-packages")]


def test_a_classifier_is_made_once_for_all_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(toolchain_worker, "_loaded", {})
    monkeypatch.setattr(toolchain_worker, "_called", lambda **source: made.append(source) or len(made))
    monkeypatch.setattr("conversion.convert", lambda *given, **axes: _Artifact(given))
    monkeypatch.setattr("conversion.toolchain_aliases.install_aliases", lambda: iter(["stands in"]))
    heard: list[dict[str, Any]] = []
    source = {"function": "models:tiny", "arguments": {}}

    first = VERBS["convert"](heard.append, source, "onnx", "/out", {})
    VERBS["convert"](heard.append, source, "mlprogram", "/out", {})
    VERBS["convert"](heard.append, {**source, "arguments": {"seed": 1}}, "onnx", "/out", {})

    assert len(made) == 2
    assert first == {"path": "(1, 'onnx', '/out')", "weights": "digest", "remark": ""}
    assert heard[:3] == [{"stage": "load"}, {"remark": "stands in"}, {"stage": "convert"}]


class _Artifact:
    def __init__(self, given: tuple[Any, ...]) -> None:
        self.path = given
        self.provenance = self
        self.weights = "digest"
        self.remark = ""


def test_an_onnx_file_goes_through_onnx_coreml_and_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        @staticmethod
        def convert(path: str, **options: Any) -> Any:
            return type("Model", (), {"get_spec": lambda self: (path, options)})()

    saved = io.StringIO()
    utils = type("Utils", (), {"save_spec": staticmethod(lambda spec, out: print(spec, out, file=saved))})
    monkeypatch.setitem(sys.modules, "onnx_coreml", Module)  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "coremltools", type("coremltools", (), {"utils": utils}))  # type: ignore[misc]

    VERBS["onnx_coreml"](quiet, "a.onnx", "b.mlmodel", {"mode": "classifier"})

    assert saved.getvalue() == "('a.onnx', {'mode': 'classifier'}) b.mlmodel\n"


def test_an_import_that_fails_inside_a_conversion_is_seen_through_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parted_converter.py").write_text("import json\njson.no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)

    def importing(*given: Any) -> None:
        importlib.import_module("parted_converter")

    def refusing(*given: Any) -> None:
        raise RuntimeError("no such operation")

    assert raised_while_importing(_error_of(importing, tmp_path))
    assert not raised_while_importing(_error_of(refusing, tmp_path))


def _error_of(write: Any, directory: Path) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        convert_by(replace(ROUTES["onnx"], name=write.__name__, write=write), tiny(), directory)
    return caught.value
