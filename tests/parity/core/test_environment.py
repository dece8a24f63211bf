"""Where a run took place, as results.json has it."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from parity.core.environment import cpu, environment, operating_system


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
    monkeypatch.setattr("parity.core.environment.PACKAGES", ("numpy", "no-such-package"))

    assert list(environment().packages) == ["numpy"]


@pytest.mark.parametrize(
    ("system", "mac", "libc", "told"),
    [
        ("Linux", "", ("glibc", "2.36"), "Linux glibc 2.36 x86_64"),
        ("Darwin", "15.1", ("", ""), "macOS 15.1 x86_64"),
        ("Linux", "", ("", ""), "Linux 6.1.0 x86_64"),
    ],
)
def test_the_operating_system_is_named_without_its_build(
    system: str, mac: str, libc: tuple[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.mac_ver", lambda: (mac, ("", "", ""), ""))
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    monkeypatch.setattr("platform.release", lambda: "6.1.0")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    assert operating_system() == told


def test_the_processor_is_named_with_what_pytorch_uses_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: Acme 3000\nflags\t: avx2\n", encoding="utf-8")
    monkeypatch.setattr("parity.core.environment.CPU_INFO", listed)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    assert cpu() == "Acme 3000, AVX2"

    listed.unlink()
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert cpu() == "aarch64, AVX2"

    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: SimpleNamespace(stdout="Apple M4\n"))
    assert cpu() == "Apple M4, AVX2"
