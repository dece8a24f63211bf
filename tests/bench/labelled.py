"""What does the gate say of many labelled pictures? A small trained network, sound and with three small faults.

    digits --noise, moves, light--> 20,000 labelled pictures --parity run--> both verdicts, seconds, memory

The pictures, the trained weights and the results stay in --directory, where a second call goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import digits_net  # beside this file
import numpy as np
import torch

from parity.core.results import Subject, read_run

ROUTES = ("sound", "darker", "coarser", "biased")
SUITE = """images = ["pictures/0/*.png"]

[gate]
accuracy_loss = 0.002
threshold = 0.6

[models.digits]
factory = "digits_net.py:digits"
routes = {routes}
"""
CONVERTER = """
[converters.{route}]
convert = "digits_net.py:{route}"
suffix = ".mlpackage"
"""


def lay_out(directory: Path, count: int, trained_on: int, epochs: int) -> Path:
    """Write what a user has: a suite, a trained network and labelled pictures; what is there stays."""
    from sklearn.datasets import load_digits

    data = load_digits()
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(digits_net.__file__, directory / "digits_net.py")
    if not (directory / digits_net.WEIGHTS).exists():
        digits_net.train(data.images, data.target, directory / digits_net.WEIGHTS, trained_on, epochs)
    for number in range(count):
        place = number % len(data.images)
        path = directory / "pictures" / str(data.target[place]) / f"{number:05}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            digits_net.picture(np.asarray(data.images[place]), number).save(path)
    suite = directory / "parity.toml"
    text = SUITE.format(routes=list(ROUTES)) + "".join(CONVERTER.format(route=route) for route in ROUTES)
    suite.write_text(text, encoding="utf-8")
    return suite


def measured(suite: Path, route: str) -> tuple[Subject, float, float, float]:
    """Run one route in a process of its own: what came of it, and what it took.

    That is seconds, seconds of the processor, and MiB at most.
    """
    results = suite.with_name(f"{route}.json")
    command = [sys.executable, "-m", "parity", "run", str(suite), "--route", route, "--backend", "coreml-evaluator"]
    command += ["--images", str(suite.with_name("pictures")), "--workers", "0", "--no-explain", "--fresh"]
    command += ["--artifacts", str(suite.with_name(".parity")), "--json", str(results)]
    command += ["--html", str(results.with_suffix(".html"))]
    start = time.perf_counter()
    # The network is so small that more threads wait for each other.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        _, _, usage = os.wait4(process.pid, 0)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    seconds = time.perf_counter() - start
    return read_run(results).subjects[0], seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


def told(route: str, subject: Subject, seconds: float, processor: float, memory: float) -> str:
    """Write the line of a route."""
    gate, accuracy = subject.gate, subject.accuracy
    assert gate is not None
    assert gate.loss is not None
    assert gate.low is not None
    assert gate.high is not None
    assert accuracy is not None
    assert accuracy.selective is not None
    worst = accuracy.losing_classes[0] if accuracy.losing_classes else None
    lost = (
        f"{worst.label}: {100 * worst.loss:.2f} ({100 * worst.low:.2f} to {100 * worst.high:.2f})" if worst else "-"
    )
    crossing = accuracy.selective.fallen.count + accuracy.selective.risen.count
    return (
        f"{route:8} {subject.verdict:12} {subject.max_abs_diff or 0:8.4f} {gate.verdict:12} {100 * gate.loss:7.3f} "
        f"{100 * gate.low:7.3f} {100 * gate.high:7.3f} {100 * crossing / accuracy.images:8.3f} {seconds:7.0f} "
        f"{processor:9.0f} {memory:6.0f}  {lost}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path(".parity/labelled"))
    parser.add_argument("--count", type=int, default=20_000, help="Labelled pictures.")
    parser.add_argument("--trained-on", type=int, default=6_000, help="Pictures to train on, which are others.")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--route", choices=ROUTES, action="append", help="Only this one; repeatable.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    suite = lay_out(options.directory, options.count, options.trained_on, options.epochs)
    print("loss and its bounds are in points of accuracy, `crosses` is the share of images in %")
    print(
        f"{'route':8} {'parity':12} {'max |dp|':>8} {'gate':12} {'loss':>7} {'low':>7} {'high':>7} {'crosses':>8} "
        f"{'seconds':>7} {'processor':>9} {'MiB':>6}  class that loses most"
    )
    for route in options.route or ROUTES:
        print(told(route, *measured(suite, route)), flush=True)


if __name__ == "__main__":
    main()
