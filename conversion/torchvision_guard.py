"""Import torchvision, also beside a PyTorch that its C++ extension was not built for.

The registry's wheel of torchvision is built for CUDA. Beside a CPU torch its extension cannot load, which
torchvision itself forgives; but it then registers fake kernels for the operators `nms` and `qnms`, which only that
extension declares, and the import dies with "operator torchvision::nms does not exist". So does every import of
timm, and of what transformers has for images. A declaration without a kernel lets the import pass. No classifier
calls either operator; they are parts of object detectors, and there torchvision goes on refusing with an error of
its own.

`watch` sees to it that this is done before whoever imports torchvision first, a user's file among them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# PyTorch forgets what a Library has declared as soon as the object is collected.
_declared: list[torch.library.Library] = []
_preparing = False


class _Watch:
    """Stand at the head of sys.meta_path, find nothing, and declare the operators before torchvision is loaded."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torchvision":
            prepare()


def watch() -> None:
    """Make every later `import torchvision` pass in this process, whoever writes it; a second call does nothing.

    It imports nothing: torch is loaded when torchvision is, which needs it anyway.
    """
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def torchvision() -> ModuleType:
    """Import torchvision; where its C++ extension cannot load, declare first what its import asks for."""
    prepare()
    return importlib.import_module("torchvision")


def prepare() -> None:
    """Declare what the import of torchvision asks for, where it is installed and its extension cannot load."""
    global _preparing
    if _preparing:  # what looks for the extension asks where torchvision is, and so comes by here again
        return
    _preparing = True
    try:
        if importlib.util.find_spec("torchvision") and not extension_loads():
            _declare_operators()
    finally:
        _preparing = False


def extension_loads() -> bool:
    """Try to load torchvision's C++ extension, without importing torchvision."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for suffix in EXTENSION_SUFFIXES:
            extension = Path(folder) / f"_C{suffix}"
            if extension.is_file():
                return _loads(torch, extension)
    return False


def _loads(torch: ModuleType, extension: Path) -> bool:
    try:
        torch.ops.load_library(str(extension))
    except OSError:
        return False
    return True


def _declare_operators() -> None:
    import torch

    missing = [name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
