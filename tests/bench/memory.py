"""Memory of the evaluator: at most twice the model's weights plus its largest activations.

    resnet50 --convert--> each format --a process of its own--> weights, activations, peak

Weights are counted as float32, the type that the evaluator computes in, whatever the file stores them as. The
largest activations are the most that one operation reads and writes. The peak is that of reading the file and
predicting four times, over what the process had before it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
SHAPE = (1, 3, 224, 224)
FACTOR = 2.0
# Of the system: memory that is freed but not given back, pages of libraries that the first prediction touches.
SLACK = 16 << 20


def memory() -> bool:
    """Measure every format, print a line for each, and say whether all are within the bound."""
    fine = True
    with tempfile.TemporaryDirectory() as directory:
        weights = save_models(Path(directory))
        print(f"peak memory of the evaluator, resnet50, weights of {weights / 1e6:.0f} MB as float32")
        for path in sorted(Path(directory).iterdir()):
            found = measure_apart(path)
            bound = FACTOR * weights + found["activations"] + SLACK
            fine = fine and found["peak"] <= bound
            file, activations, peak = (n / 1e6 for n in (size_of(path), found["activations"], found["peak"]))
            print(
                f"  {path.name:24} file {file:6.1f} MB  activations {activations:5.1f} MB  peak {peak:6.1f} MB, "
                f"{found['peak'] / bound:4.2f} of what is allowed"
            )
    return fine


def save_models(directory: Path) -> int:
    """Convert an untrained resnet50 to each format, and return the bytes of its weights as float32."""
    import torch

    from conversion.guards.quiet import chatter_to, import_coremltools
    from conversion.guards.torchvision_guard import torchvision

    ct = import_coremltools()
    module = torchvision().models.resnet50(weights=None).eval()
    traced = torch.jit.trace(module, torch.zeros(SHAPE))
    formats: dict[str, dict[str, Any]] = {
        "mlprogram-fp32.mlpackage": {"compute_precision": ct.precision.FLOAT32},
        "mlprogram-fp16.mlpackage": {"compute_precision": ct.precision.FLOAT16},
        "neuralnetwork.mlmodel": {"convert_to": "neuralnetwork"},
    }
    for name, options in formats.items():
        with chatter_to():
            inputs = [ct.TensorType("x", shape=SHAPE)]
            ct.convert(traced, inputs=inputs, skip_model_load=True, **options).save(str(directory / name))
    return sum(4 * parameter.numel() for parameter in module.parameters())


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files of a directory."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def measure_apart(path: Path) -> dict[str, int]:
    """Measure one model in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, str(path)], env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(path: Path) -> dict[str, int]:
    """Return the bytes of the peak and of the largest activations; to be called once in a process."""
    import torch

    from conversion.guards.quiet import import_coremltools
    from parity.coreml import Evaluator, registry

    import_coremltools()
    registry.operations()
    registry.layers()
    # The first convolution loads libraries, which are no model's memory.
    for channels in (8, 16):
        torch.nn.functional.conv2d(torch.zeros(1, channels, 16, 16), torch.zeros(8, channels, 3, 3)).half().float()
    x = {"x": np.zeros(SHAPE, np.float32)}
    before = most_memory()
    evaluator = Evaluator(path)
    for _ in range(4):
        evaluator.predict(x)
    peak = most_memory() - before
    plan = evaluator._runnable.plan
    sizes = {name: 4 * value.size for name, value in evaluator.trace(x).items()}
    touched = [
        sum(sizes.get(name, 0) for name in (*n.inputs, *(v.name for v in n.outputs))) for n in plan.graph.nodes
    ]
    return {"peak": peak, "activations": max(touched)}


def most_memory() -> int:
    """Return the most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; its rusage counts what the parent had before the child became another program
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measure(Path(sys.argv[1]))))
    else:
        sys.exit(not memory())
