"""kill -9 at random moments: a run that is started again must end as if nothing had happened.

    parity run --images --> killed, at a moment drawn anew --> started again --> killed --> ... --> its end

Of a tiny model over generated pictures. A moment is a size that the cases file reaches, so that it does not depend
on what else the machine does. Not a part of `make test`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # noqa: F401 - what a run imports, so that none of them has to
import torch  # noqa: F401
from PIL import Image

import conversion.routes  # noqa: F401
import parity.cli
import parity.stream.engines
from conversion.guards.torchvision_guard import torchvision

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "parity" / "tiny.py"
PICTURES, SIDE, BATCH = 800, 100, 8
# In one run, at most.
KILLS = 6
POLL = 1e-3
SUITE = 'images = ["one.png"]\n[models.tiny]\nfactory = "tiny.py:tiny"\nroutes = ["onnx-torchscript"]\n'


def kill(kills: int, seed: int) -> bool:
    """Kill as often as asked, over as many runs as that takes, and say whether all ended with the same bytes."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        torchvision()
        lay_out(place)
        whole = finish(place, "whole")
        size, left, runs = len(whole[1]), kills, 0
        while left:
            name, runs = f"run{runs}", runs + 1
            count = moments.randint(1, min(left, KILLS))
            targets = sorted(max(0.0, moments.uniform(-0.1, 1.0)) * size for _ in range(count))
            sizes = [found for target in targets if (found := start_and_kill(place, name, target)) is not None]
            left -= len(sizes)
            if finish(place, name) != whole:
                print(f"{name}: other bytes than without interruption, after {len(sizes)} kill(s)")
                return False
            told = ", ".join(f"{found / size:.0%}" for found in sizes)
            print(f"{name}: killed {len(sizes)} time(s), at {told}: the same bytes", flush=True)
    print(f"{kills} kills in {runs} runs: results and cases are those of an uninterrupted run")
    return True


def lay_out(place: Path) -> None:
    """Write a suite, its model, and pictures."""
    shutil.copy(TINY, place / "tiny.py")
    (place / "parity.toml").write_text(SUITE, encoding="utf-8")
    pictures = place / "pictures"
    pictures.mkdir()
    generator = np.random.default_rng(0)
    for number in range(PICTURES):
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE)).save(pictures / f"{number:05}.jpg")
    shutil.copy(pictures / "00000.jpg", place / "one.png")


def start(place: Path, name: str) -> Any:
    """Start a run that writes `name`.json, in a process that has its imports behind it."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(place, name))
    process.start()
    return process


def run(place: Path, name: str) -> None:
    """Run the command; its exit code ends the process."""
    os.chdir(place)
    for descriptor in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    options = ["--workers", "0", "--batch", str(BATCH), "--backend", "onnxruntime"]
    parity.cli.main(["run", "--images", "pictures", "--json", f"{name}.json", *options])


def finish(place: Path, name: str) -> tuple[bytes, bytes]:
    """Run to the end, and return results and cases; the first name the second, by a name that all have here."""
    process = start(place, name)
    process.join()
    if process.exitcode not in (0, 1):
        sys.exit(f"{name}: ended with exit code {process.exitcode}")
    results = (place / f"{name}.json").read_bytes().replace(f"{name}.cases".encode(), b"cases")
    return results, (place / f"{name}.cases.jsonl").read_bytes()


def start_and_kill(place: Path, name: str, target: float) -> int | None:
    """Start a run, kill it when its cases have this size, and return the size; None where it had ended before.

    Zero is the moment at which there is a file.
    """
    cases = place / f"{name}.cases.jsonl"
    process = start(place, name)
    while (cases.stat().st_size if cases.is_file() else -1) < target:
        if not process.is_alive():
            return None
        time.sleep(POLL)
    process.kill()
    process.join()
    return cases.stat().st_size


def main() -> None:
    """Kill as often as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(not kill(given.kills, given.seed))


if __name__ == "__main__":
    main()
