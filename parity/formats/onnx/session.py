"""ONNX Runtime's session: the one place in which it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# A node's values are those of the file only where nothing is rewritten.
UNOPTIMISED = "ORT_DISABLE_ALL"


def open_session(
    model: str | bytes,
    level: str = "ORT_ENABLE_ALL",
    config: Mapping[str, str] | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
) -> Any:
    """Open a file by its path, or a serialized model.

    level: how far the graph is optimised; a name in onnxruntime.GraphOptimizationLevel. config: entries of the
    session's configuration.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions; the log would say them again
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model, options, providers=list(providers))
