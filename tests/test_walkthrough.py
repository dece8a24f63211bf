"""The README's walk-through as a new user does it: install into a new environment, pytest, break, pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.documents import ROOT, block, paint_photos


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the project into a new environment that has its dependencies, but not the working copy."""
    home = tmp_path_factory.mktemp("environment")
    source = home / "source"
    source.mkdir()
    for name in ("conversion", "parity"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    python = home / "venv" / "bin" / "python"
    library = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # A line in a .pth file brings the packages, but not the .pth files beside them, of which one is this project's.
    Path(library, "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", source], check=True, capture_output=True, text=True)
    return python


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("colours.py", "to_coreml.py", "parity.toml"):
        (tmp_path / name).write_text(block("README.md", f"# {name}"), encoding="utf-8")
    paint_photos(tmp_path / "photos")
    return tmp_path


def run_pytest(python: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Neither this pytest's variables, nor those by which pytest knows CI, where its summary repeats whole failures.
    foreign = ("PYTEST", "PYTHON", "CI", "BUILD_NUMBER")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run(
        [python, "-m", "pytest", *arguments], cwd=place, env=inherited, text=True, capture_output=True, check=False
    )


def test_a_user_installs_runs_breaks_and_sees(python: Path, place: Path) -> None:
    module = place / "colours.py"
    where = subprocess.run(
        [python, "-c", "import parity; print(parity.__file__)"],
        cwd=place,
        text=True,
        capture_output=True,
        check=True,
    )
    assert ROOT not in Path(where.stdout.strip()).parents

    passed = run_pytest(python, place)

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "12 passed, 4 skipped" in passed.stdout.splitlines()[-1]

    before = "brightness = 1.0\n"
    assert before in module.read_text(encoding="utf-8")
    after = "brightness = 1.0 if image.mean() > 0 else -1.0\n"
    module.write_text(module.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    failed = run_pytest(python, place)

    assert failed.returncode == 1, failed.stdout + failed.stderr
    for told in (
        "colours by ship on coreml-evaluator: fail",
        "image lawn.png (flip): PyTorch 'red' at 0.49",
        "guilty hop: torch -> mlprogram",
        "look further: parity run parity.toml --model colours --route ship --backend coreml-evaluator",
    ):
        assert told in failed.stdout
    assert "Traceback" not in failed.stdout
    # What README shows is what a user sees.
    for line in block("README.md", "$ pytest  # the broken one").splitlines()[1:]:
        assert line.strip() in failed.stdout
    assert "5 failed, 7 passed, 4 skipped" in failed.stdout.splitlines()[-1]
