"""What Apple's tests take for granted: packages that a file imports and few of its tests use, and asyncio's tests.

A pytest plugin beside conformance_plugin.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import re
import sys
from types import ModuleType
from typing import NoReturn

import pytest

# Heavy ones, for a handful of tests: LoRA's adapters, and the data of linear regressors.
HEAVY = ("peft", "pandas")


def stand_in() -> None:
    """Let Apple's tests be imported where packages are missing that they name."""
    for name in HEAVY:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = _StandIn(name)


class _StandIn(ModuleType):
    """Stand for a package that is not installed: whatever of it is called skips the test."""

    def __getattr__(self, attribute: str) -> type:
        if attribute.startswith("__"):
            raise AttributeError(attribute)

        def skip(*values: object, **options: object) -> NoReturn:
            pytest.skip(f"{self.__name__} is not installed")

        # A class, for others ask whether a value is one of the package's.
        return type(attribute, (), {"__new__": skip})


def pytest_configure(config: pytest.Config) -> None:
    """Stand in before any test is imported."""
    stand_in()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Take addresses out of names: every worker has others, and pytest-xdist wants the same tests in all."""
    item._nodeid = re.sub(r" at 0x[0-9a-f]+", "", item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine to its end."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True
