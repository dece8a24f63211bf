"""Today's torch asks for parts of its converters by names that older ones lack."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from conversion.toolchain_aliases import install_aliases

PACKAGE = "elderly_script.apis"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let torch ask for an interface of a package that has two others."""
    home = tmp_path.joinpath(*PACKAGE.split("."))
    home.mkdir(parents=True)
    for name in ("__init__", "torch_2_9", "torch_2_10"):
        (home / f"{name}.py").write_text(f"name = {name!r}\n")
    (home.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    lazy = SimpleNamespace(_name=f"{PACKAGE}.torch_2_11")
    monkeypatch.setattr("torch.onnx._internal._lazy_import.onnxscript_apis", lazy)
    yield home
    for name in [name for name in sys.modules if name.startswith("elderly_script")]:
        del sys.modules[name]


def test_the_newest_that_is_there_stands_in_and_is_told(home: Path) -> None:
    (remark,) = install_aliases()

    assert remark == "onnxscript has no interface torch_2_11, which this torch asks for; its torch_2_10 stands in"
    assert importlib.import_module(f"{PACKAGE}.torch_2_11").name == "torch_2_10"


def test_what_is_there_stays(home: Path) -> None:
    (home / "torch_2_11.py").write_text("name = 'own'\n")

    assert list(install_aliases()) == []
    assert importlib.import_module(f"{PACKAGE}.torch_2_11").name == "own"


def test_a_package_without_any_is_left_to_torch(home: Path) -> None:
    for name in ("torch_2_9", "torch_2_10"):
        (home / f"{name}.py").unlink()

    assert list(install_aliases()) == []


def test_the_installed_pair_needs_none() -> None:
    assert list(install_aliases()) == []


def test_a_torch_without_such_a_name_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.onnx._internal._lazy_import.onnxscript_apis")

    assert list(install_aliases()) == []
