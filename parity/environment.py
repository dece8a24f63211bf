"""Where a run takes place: versions and platform, for results.json and `parity doctor`."""

from __future__ import annotations

import platform
import sys

from conversion.provenance import package_versions
from parity.results import Environment

PACKAGES = (
    "coreml-parity",
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "onnx-coreml",
    "coremltools",
    "numpy",
    "Pillow",
)


def environment() -> Environment:
    """Describe this environment."""
    return Environment(
        python=".".join(str(part) for part in sys.version_info[:3]),
        platform=platform.platform(),
        packages=package_versions(PACKAGES),
    )
