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
    from parity.core.compare import assert_parity as assert_parity
    from parity.core.compare import compare as compare
    from parity.core.errors import ParityError as ParityError
    from parity.core.results import Run as Run
    from parity.core.tolerance import Tolerance as Tolerance
    from parity.pipeline import check as check

_HOMES = {
    "ParityError": "parity.core.errors",
    "Run": "parity.core.results",
    "Tolerance": "parity.core.tolerance",
    "assert_parity": "parity.core.compare",
    "check": "parity.pipeline",
    "compare": "parity.core.compare",
}
__all__ = ["ParityError", "Run", "Tolerance", "assert_parity", "check", "compare"]


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing parity/core/compare.py would put the module in the place of the function `compare`.
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
