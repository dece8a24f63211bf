"""What Apple's tests take for granted: a file is imported without its heavy packages, and a coroutine is a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
AS_APPLES = """
import pytest
from a_heavy_package import Adapters

def double(x):
    return 2 * x

def test_without_it():
    assert not isinstance(3, Adapters)

def test_with_it():
    Adapters(rank=1)

@pytest.mark.parametrize("function", [double], ids=str)
def test_with_an_address_in_its_name(function):
    assert function(2) == 4

@pytest.fixture
def three():
    return 3

async def test_awaits(three):
    assert three == 3

async def test_awaits_and_fails(three):
    assert three == 4
"""
HEAVY = "import conformance_stand_ins\nconformance_stand_ins.HEAVY = ('a_heavy_package',)\n"


def test_the_others_of_a_file_run(tmp_path: Path) -> None:
    (tmp_path / "test_as_apples.py").write_text(AS_APPLES, encoding="utf-8")
    (tmp_path / "heavy.py").write_text(HEAVY, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "heavy", "-p", "conformance_stand_ins"]
    command += ["-rA", "-p", "no:cacheprovider", "-W", "ignore", str(tmp_path / "test_as_apples.py")]
    paths = os.pathsep.join((str(HERE), str(tmp_path)))

    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )

    assert "3 passed, 1 skipped" in done.stdout.replace("1 failed, ", "")
    assert "FAILED" in next(line for line in done.stdout.splitlines() if "test_awaits_and_fails - " in line)
    assert "[<function double>]" in done.stdout
    assert "a_heavy_package is not installed" in done.stdout
