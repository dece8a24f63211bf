"""Where a run takes place: versions and platform, for results.json and `parity doctor`."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

from conversion.provenance import package_versions
from parity.core.results import Environment

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
    "coreai-torch",
    "coreai-core",
    "numpy",
    "Pillow",
)

# Where Linux lists its processors.
CPU_INFO = Path("/proc/cpuinfo")


def environment() -> Environment:
    """Describe this environment."""
    return Environment(
        python=".".join(str(part) for part in sys.version_info[:3]),
        platform=platform.platform(),
        packages=package_versions(PACKAGES),
    )


def operating_system() -> str:
    """Name the system by what decides about numbers: no kernel's build, which differs on every other machine."""
    version = platform.mac_ver()[0] or " ".join(platform.libc_ver()).strip() or platform.release()
    name = "macOS" if platform.system() == "Darwin" else platform.system()
    return " ".join(f"{name} {version} {platform.machine()}".split())


def cpu() -> str:
    """Name the processor, and which of its instructions PyTorch uses: both decide about an answer's last bits."""
    import torch

    return f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_name() -> str:
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, text=True, capture_output=True, check=False).stdout.strip() or "Apple"
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    names = (
        value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == "model name"
    )
    return next(names, platform.processor() or platform.machine())
