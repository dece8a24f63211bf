from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conversion import torchvision_guard

REPOSITORY = Path(__file__).parents[2]


def run(script: str) -> str:
    """Run a script in a fresh interpreter: an operator, once declared, stays for the life of a process."""
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_a_plain_resnet18_can_be_built_and_run_in_a_fresh_process() -> None:
    script = """
import torch
from conversion.torchvision_guard import torchvision
module = torchvision().models.resnet18().eval()
with torch.inference_mode():
    print(tuple(module(torch.zeros(1, 3, 64, 64)).shape), torchvision() is torchvision())
"""
    assert run(script) == "(1, 1000) True"


def test_a_plain_import_that_failed_before_does_no_harm() -> None:
    script = """
try:
    import torchvision.models
except RuntimeError:
    pass
from conversion.torchvision_guard import torchvision as guarded
print(guarded().models.resnet18.__name__)
"""
    assert run(script) == "resnet18"


@pytest.mark.parametrize(
    "first", ["import torchvision", "from torchvision.models import resnet18", "import wrapped"]
)
def test_after_conversion_a_plain_import_passes(first: str, tmp_path: Path) -> None:
    (tmp_path / "wrapped").mkdir()
    (tmp_path / "wrapped" / "__init__.py").write_text("from torchvision import models\n", encoding="utf-8")

    script = f"import sys; sys.path.append({str(tmp_path)!r})\nimport conversion\n{first}\nprint('passes')"
    assert run(script) == "passes"


def test_watching_loads_no_torch_and_stands_once() -> None:
    script = """
import sys
from conversion.torchvision_guard import _Watch, watch
watch()
print("torch" in sys.modules, sum(isinstance(finder, _Watch) for finder in sys.meta_path))
"""
    assert run(script) == "False 1"


def test_without_torchvision_its_absence_is_what_is_told() -> None:
    script = """
import importlib.machinery
import sys
import conversion

plain = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *more: None if name == "torchvision" else plain(name, *more)
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f)]
try:
    import torchvision
except ModuleNotFoundError as error:
    print(error, "torch" in sys.modules)
"""
    assert run(script) == "No module named 'torchvision' False"


@pytest.mark.parametrize("loads", [True, False])
def test_operators_are_declared_only_where_the_extension_cannot_load(loads: bool) -> None:
    script = f"""
import importlib
import torch
from conversion import torchvision_guard

def load_library(path):
    if not {loads}:
        raise OSError(path)

torch.ops.load_library = load_library
importlib.import_module = lambda name: name
before = [hasattr(torch.ops.torchvision, name) for name in ("nms", "qnms")]
name = torchvision_guard.torchvision()
after = [hasattr(torch.ops.torchvision, name) for name in ("nms", "qnms")]
print(name, before, after, len(torchvision_guard._declared))
"""
    declared = [not loads, not loads]
    assert run(script) == f"torchvision [False, False] {declared} {int(not loads)}"


def test_a_second_call_declares_nothing_more() -> None:
    torchvision_guard.torchvision()
    declared = list(torchvision_guard._declared)
    torchvision_guard.torchvision()
    assert torchvision_guard._declared == declared


def find_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    spec = SimpleNamespace(submodule_search_locations=[str(folder)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)


def test_the_extension_is_looked_for_beside_torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried: list[str] = []
    monkeypatch.setattr(torch.ops, "load_library", tried.append)
    find_in(monkeypatch, tmp_path)
    (tmp_path / "_C.so").touch()
    assert torchvision_guard.extension_loads()
    assert tried == [str(tmp_path / "_C.so")]


def test_an_extension_that_is_no_library_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_in(monkeypatch, tmp_path)
    (tmp_path / "_C.so").write_bytes(b"not a library")
    assert not torchvision_guard.extension_loads()


def test_a_torchvision_without_an_extension_does_not_load_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_in(monkeypatch, tmp_path)
    assert not torchvision_guard.extension_loads()
