"""What is paid before the first answer: a program of 100 MB is loaded, and a suite runs whose models are converted.

Each is a process of its own, and the quickest of some counts: a start is delayed by others, never hastened. The
peer of loading is ONNX Runtime's session on the same network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "fixtures" / "parity.toml"
NETWORK = "resnet50"
STARTS = 3
# Seconds that each may take.
LOADING, RUNNING = 1.0, 8.0


def starting() -> bool:
    """Print what loading and a warm run of the fixtures' suite take, and say whether both are within their aims."""
    files = {route: convert(route) for route in ("onnx", "mlprogram-fp32", "mlprogram")}
    seconds = {route: min(apart(route, path) for _ in range(STARTS)) for route, path in files.items()}
    print(f"loading {NETWORK}, 102 MB of weights as float32, quickest of {STARTS}; evaluator's aim < {LOADING:g} s")
    for route, taken in seconds.items():
        print(f"  {route:16} {taken:5.2f} s  {taken / seconds['onnx']:5.2f} x ONNX Runtime's session")
    run()  # converts what is not there yet
    taken = min(run() for _ in range(STARTS))
    print(f"parity run on the fixtures' suite, warm, quickest of {STARTS}: {taken:.1f} s, aim <= {RUNNING:g}")
    return max(seconds["mlprogram"], seconds["mlprogram-fp32"]) < LOADING and taken <= RUNNING


def convert(route: str) -> Path:
    """Convert the network, unless that was done before."""
    from conversion import convert as converted
    from conversion.sources.torchvision_models import torchvision_classifier

    return converted(torchvision_classifier(NETWORK), route, ROOT / ".parity").path


def apart(route: str, path: Path) -> float:
    """Load a file in a process of its own, which has imported everything before."""
    command = [sys.executable, __file__, route, str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds: float = json.loads(done.stdout.splitlines()[-1])
    return seconds


def load(route: str, path: str) -> float:
    """Return the seconds of loading a file in this process."""
    import onnxruntime

    from conversion.guards.quiet import import_coremltools
    from parity.coreml import Evaluator, registry

    import_coremltools()
    registry.operations()
    start = time.perf_counter()
    if route == "onnx":
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    else:
        Evaluator(path)
    return time.perf_counter() - start


def run() -> float:
    """Return the seconds of a run of the fixtures' suite."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "parity", "run", str(SUITE), "--artifacts", str(ROOT / ".parity")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(load(sys.argv[1], sys.argv[2])))
    else:
        sys.exit(not starting())
