"""`make bench`: milliseconds per image of every backend, and what the harness adds to them, in one run.

Everything is a ratio to PyTorch eager in the same process, because absolute figures differ from machine to machine
and from minute to minute. Two threads, batch 1, medians; the backends take turns, so that a slow minute slows all,
and a turn is several predictions, because the threads of the backend before still spin through the first.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from memory import memory
from PIL import Image
from speed import speed
from starting import starting

from conversion import Artifact, Classifier, convert
from conversion.sources.torchvision_models import torchvision_classifier
from parity import check
from parity.backends import Predict, find_backend
from parity.backends.pytorch import load_reference
from parity.suite.images import load_images
from parity.suite.models import load_classifier

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "fixtures" / "images" / "photos"
THREADS = 2
ROUNDS, WARM_UP, PER_ROUND = 6, 2, 6
IMAGES = 200
STARTS = 15
SLOW = "onnx-reference (onnx)"
# The slow reference is left out of the harness's overhead: beside it any overhead vanishes.
BACKEND_OF = {"onnx": "onnxruntime", "mlprogram": "coreml-evaluator", "neuralnetwork": "coreml-evaluator"}
ROUTES = ("onnx", "mlprogram-fp32", "mlprogram", "onnx-coreml")


def main() -> int:
    """Measure all, and end with 1 where something is beyond its aim."""
    torch.set_num_threads(THREADS)
    for classifier in (
        torchvision_classifier("mobilenet_v2"),
        torchvision_classifier("resnet50"),
        load_classifier(f"{ROOT}/fixtures/models.py:efficientnet_lite0"),
    ):
        artifacts = {route: convert(classifier, route, ROOT / ".parity") for route in ROUTES}
        predicts = load_backends(classifier, artifacts)
        backends(classifier, artifacts, predicts)
    overhead(classifier, artifacts, predicts)
    idle_plugin()
    within = [starting(), memory(), speed()]
    return int(not all(within))


def backends(classifier: Classifier, artifacts: dict[str, Artifact], predicts: dict[str, Predict]) -> None:
    """Print the milliseconds per image of every backend, as ratios to PyTorch and to the slow reference."""
    pixels = load_images(PHOTOS, classifier.preprocessing).pixels[:1]
    every = {**predicts, SLOW: find_backend("onnx-reference").load(artifacts["onnx"])}
    per_image = measure({name: lambda predict=predict: predict(pixels) for name, predict in every.items()})
    eager, slow = per_image["pytorch"], per_image[SLOW]
    print(f"{classifier.name}, batch 1, {THREADS} threads, median of {ROUNDS * PER_ROUND}")
    for name, milliseconds in per_image.items():
        ratios = f"{milliseconds / eager:7.2f} x pytorch   1/{slow / milliseconds:.0f} of onnx-reference"
        print(f"  {name:34} {milliseconds:9.1f} ms/image  {ratios}")


def load_backends(classifier: Classifier, artifacts: dict[str, Artifact]) -> dict[str, Predict]:
    """Load PyTorch and each artefact's fast backend."""
    loaded = {"pytorch": load_reference(classifier)}
    for route, artifact in artifacts.items():
        backend = BACKEND_OF[artifact.format]
        loaded[f"{backend} ({route})"] = find_backend(backend).load(artifact)
    return loaded


def measure(runners: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median milliseconds of each call; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            if name == SLOW:
                if not times[name]:  # a second or more for an image: once is enough
                    times[name].append(timed(run))
                continue
            taken = [timed(run) for _ in range(WARM_UP + PER_ROUND)]
            times[name] += taken[WARM_UP:]
    return {name: statistics.median(taken) for name, taken in times.items()}


def timed(run: Callable[[], object]) -> float:
    """Return the milliseconds of one call."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def overhead(classifier: Classifier, artifacts: dict[str, Artifact], predicts: dict[str, Predict]) -> None:
    """Print the wall time of `check` on many images over the bare inference times of what it runs, on the same."""
    backends = sorted(set(BACKEND_OF.values()))
    bare = wall = 0.0
    with tempfile.TemporaryDirectory() as directory:
        write_crops(Path(directory))
        pixels = load_images(directory, classifier.preprocessing).pixels
        for _ in range(2):  # in turns, so that a slow minute slows both
            bare += sum(timed(lambda predict=predict: predict(pixels)) for predict in predicts.values()) / 1e3
            wall += timed(lambda: check(classifier, list(artifacts.values()), directory, backends)) / 1e3
    print(f"check on {IMAGES} images, PyTorch and {len(artifacts)} artefacts, twice: {wall:.1f} s")
    print(f"  bare inference {bare:.1f} s, overhead {wall / bare:.2f} x")


def idle_plugin() -> None:
    """Print what the pytest plugin costs a run that does not use it: with it and without it, in turns."""
    taken: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "test_nothing.py").write_text("def test_nothing(): pass\n", encoding="utf-8")
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        for turn in range(1 + STARTS):
            for name, options in (("with", []), ("without", ["-p", "no:parity.plugin"])):
                start = partial(subprocess.run, [*pytest, *options], cwd=directory, check=True, capture_output=True)
                milliseconds = timed(start)
                if turn:  # the first compiles what was not yet
                    taken[name].append(milliseconds)
    # The quickest of each: a start is delayed by others, never hastened.
    loaded, bare = min(taken["with"]), min(taken["without"])
    print(f"pytest that does not use the plugin, quickest of {STARTS} starts: {loaded:.0f} ms")
    print(f"  without the plugin {bare:.0f} ms, {loaded / bare:.3f} x: its share {loaded - bare:.0f} ms, aim < 20")


def write_crops(directory: Path) -> None:
    """Write crops of the fixture photos, as JPEG, all different."""
    generator = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    for index in range(IMAGES):
        photo = photos[index % len(photos)]
        side = min(photo.size) * 3 // 4
        left, top = (int(generator.integers(0, extent - side + 1)) for extent in photo.size)
        photo.crop((left, top, left + side, top + side)).save(directory / f"{index:03}.jpg", quality=90)


if __name__ == "__main__":
    sys.exit(main())
