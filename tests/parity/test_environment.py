"""Where a run took place, as results.json has it."""

from __future__ import annotations

import importlib.metadata
import platform

import pytest

from parity.environment import environment


def test_python_and_platform_are_the_interpreters_own() -> None:
    here = environment()

    assert here.python == platform.python_version()
    assert here.platform == platform.platform()


def test_versions_are_those_of_the_distributions() -> None:
    packages = environment().packages

    # Names as pip has them: the distribution of PIL is Pillow.
    for name in ("coreml-parity", "torch", "onnx", "onnxruntime", "coremltools", "numpy", "Pillow"):
        assert packages[name] == importlib.metadata.version(name)


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.environment.PACKAGES", ("numpy", "no-such-package"))

    assert list(environment().packages) == ["numpy"]
