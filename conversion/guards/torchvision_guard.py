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

One of torchvision's modules, of detectors, asks for a single function of PyTorch's compiler, and so imports all of
that, in more time than torchvision itself takes. While this module is executed, a function of the same name stands
in; called, it imports the compiler and asks the real one.

`watch` sees to it that this is done whoever imports torchvision first, a user's file among them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ASKING = "torchvision.ops.roi_align"
UTILITIES, FUNCTION = "torch._dynamo.utils", "is_compile_supported"
_COMPILER = {"torch._dynamo", UTILITIES}

# PyTorch forgets what a Library has declared as soon as the object is collected.
_declared: list[torch.library.Library] = []


class _Watch:
    """Stand at the head of sys.meta_path, and look at what is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        before_import(name)
        spec = PathFinder.find_spec(name, path) if name == ASKING and not _COMPILER & set(sys.modules) else None
        if spec is None or spec.loader is None:
            return None
        spec.loader = _WithoutCompiler(spec.loader)
        return spec


class _WithoutCompiler(Loader):
    """Execute a module with a stand-in for the compiler's utilities; with these where that is too little."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        stand_ins = {name: ModuleType(name) for name in _COMPILER}
        vars(stand_ins[UTILITIES])[FUNCTION] = _ask_compiler
        sys.modules.update(stand_ins)
        try:
            self._loader.exec_module(module)
            return
        except (ImportError, AttributeError):  # another release asks for more
            pass
        finally:
            for name in stand_ins:
                sys.modules.pop(name, None)
        self._loader.exec_module(module)


def _ask_compiler(*arguments: Any) -> Any:
    return getattr(importlib.import_module(UTILITIES), FUNCTION)(*arguments)


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
