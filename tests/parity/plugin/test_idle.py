"""The plugin beside tests that do not use it: nothing is loaded, nothing is in the way. `make bench` times it."""

from __future__ import annotations

import sys

import pytest

HEAVY = (
    *("coremltools", "conversion", "hypothesis", "jinja2", "numpy", "onnx", "onnxruntime", "parity.testing", "PIL"),
    *("pydantic", "rich", "torch", "torchvision"),
)
CONFTEST = f"""
import sys

def pytest_unconfigure():
    names = sorted(name for name in {HEAVY!r} if name in sys.modules)
    print("loaded:", *names, "parity.plugin" * ("parity.plugin" in sys.modules))
"""


def loaded(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    """Run pytest in a process of its own and list what it has loaded at its end.

    Without hypothesis' own plugin, which loads hypothesis for every run.
    """
    pytester.makeconftest(CONFTEST)
    without = [option for name in ("cacheprovider", "hypothesispytest") for option in ("-p", f"no:{name}")]
    result = pytester.run(sys.executable, "-m", "pytest", *without, *arguments)
    (line,) = (line for line in result.outlines if line.startswith("loaded:"))
    assert result.ret == 0
    return line.split()[1:]


def test_a_run_that_does_not_use_it_loads_nothing_but_its_hooks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): pass")
    pytester.makepyprojecttoml("")

    assert loaded(pytester) == ["parity.plugin"]


def test_what_is_loaded_is_found(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import numpy\ndef test_a(parity): pass")

    assert {"numpy", "parity.testing", "parity.plugin"} <= set(loaded(pytester))


def test_without_the_plugin_nothing_of_it_is_there(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): pass")

    assert loaded(pytester, "-p", "no:parity.plugin") == []


def test_naming_it_beside_its_entry_point_does_not_collide(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): pass")

    assert loaded(pytester, "-p", "parity.plugin", "--strict-markers", "-W", "error") == ["parity.plugin"]


def test_its_options_are_listed(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--help")

    for option in ("json=FILE", "tolerance-scale=FACTOR", "artifacts=DIR", "update-baselines", "reason=TEXT"):
        result.stdout.fnmatch_lines([f"  --parity-{option}*"])
