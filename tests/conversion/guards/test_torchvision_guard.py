from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conversion.guards import torchvision_guard

REPOSITORY = Path(__file__).parents[3]


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
from conversion.guards.torchvision_guard import torchvision
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
from conversion.guards.torchvision_guard import torchvision as guarded
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
from conversion.guards.torchvision_guard import _Watch, watch
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


PACKAGE = {
    "__init__.py": "from . import extension\nfrom torchvision import _meta_registrations\n",
    # A release's own extension declares its operators when it is loaded, whatever its file is called.
    "extension.py": """
import torch
if {loads}:
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
""",
    "_meta_registrations.py": """
import torch
torch.library.register_fake("torchvision::nms", lambda dets, scores, iou_threshold: dets)
torch.library.register_fake("torchvision::qnms", lambda dets, scores, iou_threshold: dets)
""",
}


def package(directory: Path, loads: bool) -> str:
    """Write a package that is imported as torchvision is; return what imports it, and prints what was declared."""
    for name, text in PACKAGE.items():
        path = directory / "torchvision" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(loads=loads), encoding="utf-8")
    return f"""
import sys
sys.path.insert(0, {str(directory)!r})
from conversion.guards import torchvision_guard
import torchvision
import torch
print(torchvision.__path__ == [{str(directory / "torchvision")!r}], len(torchvision_guard._declared))
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
"""


@pytest.mark.parametrize("loads", [True, False])
def test_operators_are_declared_only_where_the_extension_did_not_declare_them(loads: bool, tmp_path: Path) -> None:
    assert run(package(tmp_path, loads)).splitlines() == [f"True {int(not loads)}", "True True"]


def test_without_the_guard_such_an_import_dies(tmp_path: Path) -> None:
    script = package(tmp_path, loads=False).replace("from conversion.guards import torchvision_guard", "")
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 1
    assert "operator torchvision::nms does not exist" in answer.stderr


def test_torchvision_does_not_load_the_compiler_of_torch_until_it_asks_for_it() -> None:
    script = """
import sys
import conversion
import torchvision
asking = sys.modules["torchvision.ops.roi_align"]
print("torch._dynamo" in sys.modules, "torch._dynamo.utils" in sys.modules)
answer = asking.is_compile_supported("cpu")
import torch
import torch._dynamo.utils as utilities
print(answer == utilities.is_compile_supported("cpu"), len(vars(utilities)) > 100, bool(torch._dynamo.__file__))
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
"""
    assert run(script).splitlines() == ["False False", "True True True", "2.0"]


def test_a_compiler_that_is_loaded_already_is_the_one_that_is_asked() -> None:
    script = """
import sys
import torch._dynamo.utils
import conversion
import torchvision
print(sys.modules["torchvision.ops.roi_align"].is_compile_supported is torch._dynamo.utils.is_compile_supported)
"""
    assert run(script) == "True"


@pytest.mark.parametrize(
    ("asks", "loads"),
    [
        ("from torch._dynamo.utils import is_compile_supported", False),
        ("from torch._dynamo.utils import is_compile_supported, counters", True),
        ("import torch._dynamo\ntorch._dynamo.reset()", True),
        ("from missing import something", False),
    ],
    ids=["as now", "another function", "the compiler itself", "a package that is not there"],
)
def test_a_release_that_asks_for_more_gets_the_compiler_itself(asks: str, loads: bool, tmp_path: Path) -> None:
    (tmp_path / "torchvision" / "ops").mkdir(parents=True)
    (tmp_path / "torchvision" / "__init__.py").touch()
    (tmp_path / "torchvision" / "ops" / "__init__.py").touch()
    (tmp_path / "torchvision" / "ops" / "roi_align.py").write_text(f"{asks}\n", encoding="utf-8")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import conversion
try:
    import torchvision.ops.roi_align
except ModuleNotFoundError as error:
    print(error)
print(getattr(sys.modules.get("torch._dynamo"), "__file__", None) is not None)
"""
    expected = ["No module named 'missing'"] if "missing" in asks else []
    assert run(script).splitlines() == [*expected, str(loads)]


def test_a_second_call_declares_nothing_more() -> None:
    torchvision_guard.torchvision()
    declared = list(torchvision_guard._declared)
    torchvision_guard.torchvision()
    assert torchvision_guard._declared == declared


@pytest.mark.parametrize("name", ["torchvision", "torchvision.models", "timm._registrations", "torch"])
def test_other_imports_declare_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_guard, "_declare_operators", lambda: pytest.fail("declared"))

    torchvision_guard.before_import(name)
