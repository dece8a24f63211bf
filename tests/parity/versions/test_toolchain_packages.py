"""What packages ask of each other, and what a tool chain keeps."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from conversion.errors import ConversionError
from parity.suite.toolchain import normal, requirement
from parity.versions import toolchain_packages
from parity.versions.toolchain_packages import installed, other_torch, unmet


def package(directory: Path, name: str, version: str, *requires: str) -> Distribution:
    """Write the metadata of a package."""
    home = directory / f"{name}-{version}.dist-info"
    home.mkdir(parents=True)
    wants = "".join(f"Requires-Dist: {text}\n" for text in requires)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wants}")
    return PathDistribution(home)


@pytest.fixture(autouse=True)
def some_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain_packages, "installed", lambda: {"torch": "2.13.0+cpu"})


def test_a_name_has_one_spelling() -> None:
    assert normal(" ONNX_coreml.x ") == "onnx-coreml-x"


@pytest.mark.parametrize("text", ["onnx=1.0", "onnx==", "==1.0", ""])
def test_what_is_no_requirement_is_told(text: str) -> None:
    with pytest.raises(ConversionError, match=r"is no requirement; give one as coremltools==8\.3\.0"):
        requirement(text)


@pytest.mark.parametrize(
    "wants", ["torch", "torch>=2.0", "torch==2.13.0", "numpy<1", "torch==1.0; extra == 'cuda'", "torch !!"]
)
def test_who_can_live_with_the_installed_torch_may(tmp_path: Path, wants: str) -> None:
    assert other_torch([package(tmp_path, "timm", "1.0", wants)]) is None


def test_who_asks_for_another_torch_is_named(tmp_path: Path) -> None:
    told = other_torch([package(tmp_path, "torchvision", "0.27.0", "numpy", "torch==2.12.0")])

    assert told is not None
    assert told.startswith(
        "torchvision 0.27.0 asks for torch==2.12.0, and a tool chain keeps the installed torch 2.13.0"
    )


def test_what_installed_packages_do_not_get_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        package(tmp_path, "onnxscript", "0.7.2", "onnx>=1.17", "numpy"),
        package(tmp_path, "onnxslim", "0.1", "onnx>=1.0"),
        package(tmp_path, "onnx", "1.23", "onnx>=9"),  # replaced itself, so it asks for nothing
    ]
    monkeypatch.setattr(toolchain_packages, "distributions", lambda: there)

    assert list(unmet({"onnx": "1.16.0"})) == ["onnxscript 0.7.2 asks for onnx>=1.17, not 1.16.0"]


def test_installed_has_what_pip_would_list() -> None:
    # Of torch with its build (2.13.0+cpu), where the wheel says it; the wheels of the index do not.
    assert installed()["torch"] == importlib.metadata.version("torch")
