"""The packages that only some sources need."""

from __future__ import annotations

import importlib
from types import ModuleType

from conversion.errors import ConversionError


def import_extra(package: str) -> ModuleType:
    """Import a package that comes with the extra of its name; a missing one is a ConversionError."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        part = "" if error.name == package else f" (its {error.name} is missing)"
        raise ConversionError(
            f"models of {package} need the package {package}{part}: pip install 'coreml-parity[{package}]'"
        ) from error
