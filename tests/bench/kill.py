"""kill -9 at random moments: a run that is started again must end as if nothing had happened.

    parity run --images --> killed, at a moment drawn anew --> started again --> killed --> ... --> its end

Of a tiny model over generated pictures; the moments lie anywhere between a start and what an uninterrupted run
takes, so some fall before the first batch, some into one, and some behind the last. Not a part of `make test`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "parity" / "tiny.py"
PICTURES, SIDE = 4_000, 300
SUITE = 'images = ["one.png"]\n[models.tiny]\nfactory = "tiny.py:tiny"\nroutes = ["onnx-torchscript"]\n'


def kill(kills: int, seed: int) -> bool:
    """Kill as often as asked, over as many runs as that takes, and say whether all ended with the same bytes."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        lay_out(place)
        started = time.perf_counter()
        whole = finish(place, "whole")
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        assert finish(place, "whole") == whole
        idle = time.perf_counter() - started  # of loading and judging alone
        print(f"uninterrupted {seconds:.1f} s, of which {idle:.1f} s are not for images", flush=True)
        left, runs = kills, 0
        while left:
            name, runs = f"run{runs}", runs + 1
            told = []
            while left and start_and_kill(place, name, moments.uniform(0.5 * idle, seconds)):
                left -= 1
                cases = place / f"{name}.cases.jsonl"
                told.append(f"{cases.stat().st_size / 1e6:.2f}" if cases.is_file() else "-")
            if finish(place, name) != whole:
                print(f"{name}: other bytes than without interruption, after {len(told)} kill(s)")
                return False
            print(f"{name}: killed {len(told)} time(s), at {', '.join(told)} MB: the same bytes", flush=True)
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


def start(place: Path, name: str) -> subprocess.Popen[bytes]:
    """Start a run that writes `name`.json."""
    command = [sys.executable, "-m", "parity.cli", "run", "--images", "pictures", "--json", f"{name}.json"]
    command += ["--workers", "1", "--backend", "onnxruntime"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def finish(place: Path, name: str) -> tuple[bytes, bytes]:
    """Run to the end, and return results and cases; names of files are in them, so all have the same."""
    code = start(place, name).wait()
    if code not in (0, 1):
        sys.exit(f"{name}: ended with exit code {code}")
    results = (place / f"{name}.json").read_bytes().replace(f"{name}.cases".encode(), b"cases")
    return results, (place / f"{name}.cases.jsonl").read_bytes()


def start_and_kill(place: Path, name: str, seconds: float) -> bool:
    """Start a run and kill it after some time; False where it had ended before."""
    process = start(place, name)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def main() -> None:
    """Kill as often as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(not kill(given.kills, given.seed))


if __name__ == "__main__":
    main()
