"""Core ML on any system: `Evaluator` runs a Core ML file, `patch_coremltools` puts it behind MLModel.predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.coreml.evaluator import Evaluator as Evaluator
    from parity.coreml.proxy import patch_coremltools as patch_coremltools

__all__ = ["Evaluator", "patch_coremltools"]


def __getattr__(name: str) -> Any:
    # Resolved when asked for: both need torch, and `import parity` must stay instant.
    if name == "Evaluator":
        from parity.coreml.evaluator import Evaluator

        return Evaluator
    if name == "patch_coremltools":
        from parity.coreml.proxy import patch_coremltools

        return patch_coremltools
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
