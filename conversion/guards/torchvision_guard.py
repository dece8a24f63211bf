"""Import torchvision, also beside a PyTorch that its C++ extension was not built for.

The registry's wheel of torchvision is built for CUDA. Beside a CPU torch its extension cannot load, which
torchvision itself forgives; but it then registers fake kernels for the operators `nms` and `qnms`, which only that
extension declares, and the import dies with "operator torchvision::nms does not exist". So does every import of
timm, and of what transformers has for images. A declaration without a kernel lets the import pass. No classifier
calls either operator; they are parts of object detectors, and there torchvision goes on refusing with an error of
its own.

The declaration must come after the extension, by whatever name it has in a release, has had its turn: an operator
that is declared twice ends the process. torchvision loads the extension first and then its modules of
registrations, so that is where this steps in.

`watch` sees to it that this is done whoever imports torchvision first, a user's file among them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# PyTorch forgets what a Library has declared as soon as the object is collected.
_declared: list[torch.library.Library] = []


class _Watch:
    """Stand at the head of sys.meta_path, find nothing, and look at what is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        before_import(name)


def watch() -> None:
    """Make every later `import torchvision` pass in this process, whoever writes it; a second call does nothing.

    It imports nothing: torch is loaded when torchvision is, which needs it anyway.
    """
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def torchvision() -> ModuleType:
    """Import torchvision; where its C++ extension cannot load, what its import asks for is declared."""
    watch()
    return importlib.import_module("torchvision")


def before_import(name: str) -> None:
    """Declare the operators that torchvision's modules of registrations ask for and its extension did not declare.

    name: of the module that is about to be imported; nothing is done for any other.
    """
    if name.startswith("torchvision._") and name.endswith("_registrations"):
        _declare_operators()


def _declare_operators() -> None:
    import torch

    missing = [name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
