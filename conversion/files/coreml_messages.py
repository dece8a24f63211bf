"""The protobuf classes of Core ML's files, as coremltools ships them, without the rest of coremltools.

A file is read with nothing else; all of coremltools imports PyTorch, scikit-learn and transformers, which takes
seconds in each process.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_OWN, _NAME = "coremltools", f"{__name__}.proto"


def coreml_messages(module: str) -> ModuleType:
    """Import a module of coremltools' protobuf classes, Model_pb2 say; ImportError where it is not installed.

    Where coremltools is imported too, before or afterwards, its classes are the same: protobuf keeps one class for
    each description.
    """
    if _OWN in sys.modules:
        return importlib.import_module(f"{_OWN}.proto.{module}")
    if _NAME not in sys.modules:
        spec = importlib.util.find_spec(_OWN)
        if spec is None:
            raise ModuleNotFoundError(f"No module named '{_OWN}'", name=_OWN)
        package = ModuleType(_NAME)
        package.__path__ = [str(Path(place) / "proto") for place in spec.submodule_search_locations or ()]
        sys.modules[_NAME] = package
    return importlib.import_module(f"{_NAME}.{module}")
