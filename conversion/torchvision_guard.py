"""Import torchvision, also beside a PyTorch that its C++ extension was not built for."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# PyTorch forgets what a Library has declared as soon as the object is collected.
_declared: list[torch.library.Library] = []


def torchvision() -> ModuleType:
    """Import torchvision; where its C++ extension cannot load, declare first what its import asks for."""
    # The registry's wheel of torchvision is built for CUDA. Beside a CPU torch its extension cannot load, which
    # torchvision itself forgives; but it then registers fake kernels for the operators `nms` and `qnms`, which
    # only that extension declares, and the import dies with "operator torchvision::nms does not exist".
    # A declaration without a kernel lets the import pass. No classifier calls either operator; they are parts of
    # object detectors, and there torchvision goes on refusing with an error of its own.
    if not extension_loads():
        _declare_operators()
    return importlib.import_module("torchvision")


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
