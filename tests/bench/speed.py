"""The evaluator's time for an image over ONNX Runtime's: six networks, 1 and 8 images at once, 1 and 2 threads.

    network --convert--> files --a process for each number of threads--> milliseconds --> ratios

The files are ONNX, ML Programs in fp32 and fp16, and NeuralNetworks, which take one image at a time and cannot hold
every network. They take turns, so that a slow minute slows all; a turn is several predictions, because the threads
of the one before still spin through the first. What counts is the median over the turns of each turn's median. The
evaluator is measured as it runs many predictions, compiled, and in brackets as it runs a few.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from conversion import Classifier

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "fixtures" / "images" / "photos"
NETWORKS = ("mobilenet_v2", "efficientnet_lite0", "resnet50", "mobilenet_v3_large", "convnext_tiny", "vit_b_16")
FIXTURES = ("efficientnet_lite0",)
PEER = "onnx"
BATCHES = (1, 8)
THREADS = (1, 2)
ROUNDS, WARM_UP = 7, 1
# A turn takes about so many milliseconds, and at least three predictions.
TURN = 60.0
# Ratios that the evaluator is to stay within.
AIMS = {"mlprogram-fp32": 1.5, "onnx-coreml": 1.5, "mlprogram": 2.0}
PLAIN = " plain"

Ratios = dict[str, dict[str, float]]


def speed(networks: tuple[str, ...] = NETWORKS, threads: tuple[int, ...] = THREADS, rounds: int = ROUNDS) -> bool:
    """Print the table, and say whether all ratios are within their aims."""
    from parity.core.environment import cpu

    measured = {count: apart(networks, count, rounds) for count in threads}
    print(f"evaluator over ONNX Runtime, time for an image, medians of {rounds} turns; {cpu()}")
    columns = [(batch, count) for batch in BATCHES for count in threads]
    heads = "".join(f"{f'batch {batch}, {count} thread(s)':>26}" for batch, count in columns)
    fine = True
    for route, aim in AIMS.items():
        print(f"  {f'{route}, aim <= {aim}':26}{heads}")
        for network in networks:
            cells = [measured[count][f"{network} {batch}"] for batch, count in columns]
            fine = fine and all(cell[route] / cell[PEER] <= aim for cell in cells if route in cell)
            print(f"  {network:26}" + "".join(f"{shown(cell, route):>26}" for cell in cells))
    return fine


def shown(cell: dict[str, float], route: str) -> str:
    """Show the ratio, that of plain steps in brackets, and the milliseconds; a line where there is no such file."""
    if route not in cell:
        return "-"
    ratio, plain = (cell[name] / cell[PEER] for name in (route, route + PLAIN))
    return f"{ratio:.2f} ({plain:.2f}) {cell[route]:.1f} ms"


def apart(networks: tuple[str, ...], threads: int, rounds: int) -> Ratios:
    """Measure in a process of its own, for libraries read the number of threads once."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--only", str(threads), "--rounds", str(rounds), *networks]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    measured: Ratios = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(networks: list[str], threads: int, rounds: int) -> Ratios:
    """Return milliseconds for an image: network and batch -> route -> milliseconds."""
    import torch

    torch.set_num_threads(threads)
    cells = [(network, batch) for network in networks for batch in BATCHES]
    return {f"{network} {batch}": turns(network, batch, threads, rounds) for network, batch in cells}


def turns(network: str, batch: int, threads: int, rounds: int) -> dict[str, float]:
    """Let the routes of a network take turns; PyTorch's own threads serve the evaluator."""
    runs = runners(network, batch, threads)
    taken: dict[str, list[float]] = {route: [] for route in runs}
    for run in runs.values():  # the first prediction lays weights out
        run()
    calls = {route: max(3, round(TURN / milliseconds(run))) for route, run in runs.items()}
    for _ in range(rounds):
        for route, run in runs.items():
            turn = [milliseconds(run) for _ in range(WARM_UP + calls[route])]
            taken[route].append(statistics.median(turn[WARM_UP:]) / batch)
    return {route: statistics.median(each) for route, each in taken.items()}


def runners(network: str, batch: int, threads: int) -> dict[str, Callable[[], object]]:
    """Return what predicts `batch` photos at once, by route; ONNX Runtime gets arrays, the evaluator makes them."""
    import onnxruntime

    from conversion import ConversionError, convert
    from parity.coreml import Evaluator

    classifier = load(network)
    images = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))[:batch]]
    height, width = classifier.preprocessing.size
    images = [image.resize((width, height)) for image in images]
    pixels = np.stack([np.asarray(image, np.float32).transpose(2, 0, 1) for image in images])
    image: Any = images[0] if batch == 1 else pixels
    runs: dict[str, Callable[[], object]] = {}
    for route in (PEER, *AIMS):
        try:
            path = convert(classifier, route, ROOT / ".parity", dynamic=None if batch == 1 else "batch").path
        except ConversionError:
            continue
        if route == PEER:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            # Its threads spin for long after a run, beside whoever has the next turn.
            options.add_session_config_entry("session.force_spinning_stop", "1")
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            runs[route] = partial(session.run, None, {"image": pixels})
        else:
            runs[route] = partial(Evaluator(path, compile_after=0).predict, {"image": image})
            runs[route + PLAIN] = partial(Evaluator(path, compile_after=None).predict, {"image": image})
    return runs


def load(network: str) -> Classifier:
    """Make a network: a fixture with its trained weights, or one of torchvision's."""
    from conversion.sources.torchvision_models import torchvision_classifier
    from parity.suite.models import load_classifier

    return (
        load_classifier(f"{ROOT}/fixtures/models.py:{network}")
        if network in FIXTURES
        else torchvision_classifier(network)
    )


def milliseconds(run: Callable[[], object]) -> float:
    """Return the milliseconds of one call."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Print the table, or measure for one number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.networks, options.only, options.rounds)))
        return
    sys.exit(not speed(tuple(options.networks), tuple(options.threads), options.rounds))


if __name__ == "__main__":
    main()
