"""A streamed run against the bare loop that somebody would write by hand, on the same images; and its memory.

    photos --crops, resizes--> N JPEGs --> PyTorch, ONNX Runtime and the evaluator in fp16, by harness and by hand

The bare loop has the same workers, batches, preprocessing and runtimes, and compares nothing. The two take turns.
Both begin with the models converted and end with the last image; each is a process of its own. Memory is that of
all processes of a run together, pages that they share counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "fixtures" / "images" / "photos"
SUITE = ROOT / "fixtures" / "parity.toml"
MODEL, ROUTES, BACKENDS = "efficientnet_lite0", ("onnx", "mlprogram"), ("onnxruntime", "coreml-evaluator")
IMAGES, FEWER = 5_000, 1_000
BATCH, WORKERS = 32, 1
TURNS = 1  # each lasts minutes, over which slow moments are spread
FACTOR, SLACK = 1.15, 1.05
INTERVAL = 0.2


def stream(images: int = IMAGES, fewer: int = FEWER, turns: int = TURNS) -> bool:
    """Print speed and memory, and say whether both are within their bounds."""
    with tempfile.TemporaryDirectory() as scratch:
        many, few = Path(scratch) / "many", Path(scratch) / "few"
        write_photos(many, images)
        few.mkdir()
        for path in sorted(many.iterdir())[:fewer]:
            (few / path.name).hardlink_to(path)
        measured: dict[str, list[dict[str, float]]] = {"harness": [], "bare": []}
        apart("harness", few, Path(scratch))  # converts, and fills the caches of the system
        for _ in range(turns):
            for name, found in measured.items():
                found.append(apart(name, many, Path(scratch)))
        less = apart("harness", few, Path(scratch))
    seconds = {name: statistics.median(one["seconds"] for one in found) for name, found in measured.items()}
    peak = max(one["peak"] for one in measured["harness"])
    ratio, growth = seconds["harness"] / seconds["bare"], peak / less["peak"]
    by = " and ".join(BACKENDS)
    print(f"streaming {images} photos, {MODEL} by PyTorch, {by}, batch {BATCH}, {WORKERS} worker(s)")
    for name, taken in seconds.items():
        print(f"  {name:8} {taken:7.1f} s, {images / taken:6.1f} images/s")
    print(f"  harness over bare loop {ratio:.3f} x, aim <= {FACTOR}")
    print(
        f"  peak memory of all processes: {less['peak'] / 1e6:.0f} MB for {fewer} images, {peak / 1e6:.0f} MB for "
        f"{images}: {growth:.3f} x, aim <= {SLACK}"
    )
    return ratio <= FACTOR and growth <= SLACK


def write_photos(directory: Path, count: int) -> None:
    """Write crops of the fixtures' photos, each of its own size, as JPEG; the same at every call."""
    directory.mkdir()
    generator = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(min(photo.size) * generator.uniform(0.5, 1))
        left, top = (int(generator.integers(0, extent - side + 1)) for extent in photo.size)
        size = (int(generator.integers(300, 501)), int(generator.integers(300, 501)))
        crop = photo.crop((left, top, left + side, top + side)).resize(size)
        crop.save(directory / f"{index:06}.jpg", quality=90)


def apart(name: str, images: Path, scratch: Path) -> dict[str, float]:
    """Run one of the two in a process of its own; give its seconds, and the most bytes of all its processes."""
    command = [sys.executable, __file__, "--only", name, str(images), str(scratch)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        peaks = [0]
        watching = threading.Event()
        watcher = threading.Thread(target=watch, args=(process.pid, peaks, watching))
        watcher.start()
        told, _ = process.communicate()
        watching.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"{name} failed")
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found | {"peak": peaks[0]}


def watch(root: int, peaks: list[int], ended: threading.Event) -> None:
    """Note the most memory of a process and all below it, as long as it runs."""
    while not ended.wait(INTERVAL):
        peaks[0] = max(peaks[0], sum(memory_of(process) for process in below(root)))


def below(root: int) -> list[int]:
    """List a process and all that it started, and that they did."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        parents.setdefault(parent, []).append(int(status.parent.name))
    found = [root]
    for process in found:
        found += parents.get(process, [])
    return found


def memory_of(process: int) -> int:
    """Return the bytes of a process, a page that n processes share counted as an n-th."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def harness(images: Path, scratch: Path) -> float:
    """Run the harness, and return its seconds from the first file to results.json."""
    from parity.core.results import to_json
    from parity.stream.engines import stream
    from parity.stream.job import Job, cases_beside

    results = scratch / "results.json"
    job = Job(
        SUITE,
        images,
        (MODEL,),
        ROUTES,
        BACKENDS,
        batch=BATCH,
        workers=WORKERS,
        artifacts=ROOT / ".parity",
        cases=cases_beside(results),
        fresh=True,
    )
    start = time.perf_counter()
    found = stream(job)
    results.write_text(to_json(found.run), encoding="utf-8")
    return time.perf_counter() - start


def bare(images: Path, scratch: Path) -> float:
    """Run the loop that somebody would write by hand, and return its seconds."""
    import onnxruntime
    import torch
    from torch.utils.data import DataLoader

    from conversion import convert
    from conversion.deployed import deployed_module
    from parity.coreml import Evaluator
    from parity.suite.models import load_classifier

    start = time.perf_counter()
    classifier = load_classifier(f"{ROOT}/fixtures/models.py:{MODEL}")
    module = deployed_module(classifier)
    path, program = (convert(classifier, route, ROOT / ".parity").path for route in ROUTES)
    options = onnxruntime.SessionOptions()
    # Or its threads wait in busy loops for PyTorch's, which makes the loop take twice as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    evaluator = Evaluator(program, compile_after=0)
    loader: Any = DataLoader(Photos(sorted(images.iterdir())), batch_size=BATCH, num_workers=WORKERS)
    with torch.inference_mode():
        for pixels in loader:
            tensor = pixels.float()
            module(tensor)
            session.run(None, {name: tensor.numpy()})
            # The file takes an image at a time, as on the phone.
            for image in pixels.permute(0, 2, 3, 1).numpy():
                evaluator.predict({name: Image.fromarray(image)})
    return time.perf_counter() - start


class Photos:
    """Give photos as the model sees them, as torchvision's transforms make them: uint8 [3, H, W]."""

    def __init__(self, paths: list[Path]) -> None:
        from conversion.guards.torchvision_guard import torchvision
        from parity.suite.models import load_classifier

        steps = load_classifier(f"{ROOT}/fixtures/models.py:{MODEL}").preprocessing
        transforms = torchvision().transforms
        how = transforms.InterpolationMode(steps.interpolation)
        self.paths = paths
        self.transform = transforms.Compose(
            [transforms.Resize(steps.resize, how), transforms.CenterCrop(steps.size), transforms.PILToTensor()]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def main() -> None:
    """Measure, or run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--fewer", type=int, default=FEWER)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--only", nargs=3, metavar=("NAME", "IMAGES", "SCRATCH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        name, images, scratch = given.only
        print(json.dumps({"seconds": {"harness": harness, "bare": bare}[name](Path(images), Path(scratch))}))
        return
    sys.exit(not stream(given.images, given.fewer, given.turns))


if __name__ == "__main__":
    main()
