"""Say whether a converted image classifier is still the model that it was converted from.

Classifier + images --convert--> Artifact --Backend.predict--> Prediction --compare--> Comparison
    --> Run --> results.json --> terminal / exit code
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.compare import assert_parity as assert_parity
    from parity.compare import compare as compare
    from parity.errors import ParityError as ParityError
    from parity.pipeline import check as check
    from parity.results import Run as Run
    from parity.tolerance import Tolerance as Tolerance

_HOMES = {
    "ParityError": "parity.errors",
    "Run": "parity.results",
    "Tolerance": "parity.tolerance",
    "assert_parity": "parity.compare",
    "check": "parity.pipeline",
    "compare": "parity.compare",
}
__all__ = ["ParityError", "Run", "Tolerance", "assert_parity", "check", "compare"]


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing parity/compare.py would put the module in the place of the function `compare`.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    # Resolved when asked for, so that `parity --help` and an idle pytest plugin load next to nothing.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
