"""Are large sets judged as small ones are? A trained network, sound and with ten small faults, on many pictures.

    photos --crops, mirrors, brightness, noise--> pictures --PyTorch, evaluator--> verdict at each number of them
    fault --grown until 100 pictures catch it--> its size --> verdict on more pictures

Sound, the fp16 ML Program must pass at every number. A fault of about the smallest size that 100 pictures catch
must be caught by more of them too. Printed is a line for each: the verdict, the largest |dp|, how many pictures are
beyond the tolerance, have an allowance of their own and are excused by it, and the seconds that judging took.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from conversion import Classifier, convert
from parity.backends import find_backend
from parity.backends.pytorch import load_reference
from parity.backends.reference import Reference
from parity.core.results import Prediction, Subject
from parity.judging import judge_prediction
from parity.suite.images import ImageSet
from parity.suite.models import load_classifier

ROOT = Path(__file__).parents[2]
# The trained networks, and what their pictures are made of.
MODELS = {"efficientnet_lite0": "photos/*.jpg", "mobilenet_v2_digits": "digits/*.png"}
SEED = 17
FEW, SIZES = 100, (100, 1_000, 5_000)
# A fault is to move the worst of the few by so many times what is allowed: just enough to be caught.
JUST, STEPS, ATTEMPTS, GROWTH = 1.2, 3, 6, 1.25

Change = Callable[[Any, float], None]


@dataclass(frozen=True)
class Fault:
    """Change the network by a size, or what it is told of its pixels; start: a size to begin with."""

    name: str
    start: float
    module: Change | None = None
    preprocessing: Callable[[float], Mapping[str, tuple[float, ...]]] | None = None
    pixels: Callable[[np.ndarray, float], np.ndarray] | None = None


def pictures(model: str, size: tuple[int, int], count: int) -> np.ndarray:
    """Make varied pictures of the fixtures' images, each the same however many there are: uint8 [N, H, W, 3]."""
    paths = sorted((ROOT / "fixtures" / "images").glob(MODELS[model]))
    photos = [Image.open(path).convert("RGB") for path in paths]
    return np.stack([picture(photos[index % len(photos)], size, index) for index in range(count)])


def picture(photo: Image.Image, size: tuple[int, int], index: int) -> np.ndarray:
    random = np.random.default_rng((SEED, index))
    side = int(min(photo.size) * random.uniform(0.15, 1))
    left, top = (int(random.integers(0, extent - side + 1)) for extent in photo.size)
    crop = photo.crop((left, top, left + side, top + side)).resize(size[::-1], Image.Resampling.BICUBIC)
    mirrored = np.asarray(crop, np.float64)[:, :: 1 if random.random() < 0.5 else -1]
    noise = random.normal(0, random.choice([0, 0, 8, 20]), mirrored.shape)
    return np.clip(np.rint(mirrored * random.uniform(0.5, 1.4) + noise), 0, 255).astype(np.uint8)


def scaled(layer: str) -> Change:
    def change(module: Any, size: float) -> None:
        module.get_submodule(layer).weight.mul_(1 + size)

    return change


def quantised(layer: str) -> Change:
    """Put a share of the error of 4 bits for each channel into a layer."""

    def change(module: Any, size: float) -> None:
        weight = module.get_submodule(layer).weight
        step = weight.abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, *[1] * (weight.dim() - 1)) / 7
        weight.add_(size * ((weight / step).round() * step - weight))

    return change


def epsilon(layer: str) -> Change:
    def change(module: Any, size: float) -> None:
        module.get_submodule(layer).eps += size

    return change


def shifted(layer: str, field: str) -> Change:
    """Move each channel by chance, by so much on the whole."""

    def change(module: Any, size: float) -> None:
        values = getattr(module.get_submodule(layer), field)
        values.add_(size * torch.randn(values.shape, generator=torch.Generator().manual_seed(SEED)))

    return change


def blurred(pixels: np.ndarray, size: float) -> np.ndarray:
    """Mix pictures with what a box of three by three makes of them, as another filter of a resize would."""
    wide = np.pad(pixels.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    _, height, width, _ = pixels.shape
    box = sum(wide[:, y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9
    return np.clip(np.rint(pixels + size * (box - pixels)), 0, 255).astype(np.uint8)


def faults(classifier: Classifier) -> Iterator[Fault]:
    """List ten faults of a trained network: in its first, a middle and its last layers, and around them."""
    named = dict(classifier.module.named_modules())
    convolutions = [name for name, layer in named.items() if isinstance(layer, torch.nn.Conv2d)]
    norms = [name for name, layer in named.items() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    (*_, head) = (name for name, layer in named.items() if isinstance(layer, torch.nn.Linear))
    mean, std = classifier.preprocessing.mean, classifier.preprocessing.std
    yield Fault("first convolution scaled", 0.02, scaled(convolutions[0]))
    yield Fault("std off", 0.02, preprocessing=lambda size: {"std": tuple(s * (1 + size) for s in std)})
    yield Fault("head scaled", 0.05, scaled(head))
    yield Fault("epsilon of the first norm off", 1e-3, epsilon(norms[0]))
    yield Fault("bias of the head off", 0.1, shifted(head, "bias"))
    yield Fault("another filter of the resize", 0.1, pixels=blurred)
    yield Fault("4 bits in a middle layer", 0.1, quantised(convolutions[len(convolutions) // 2]))
    yield Fault("mean off", 0.01, preprocessing=lambda size: {"mean": tuple(m + size for m in mean)})
    yield Fault("a middle convolution scaled", 0.02, scaled(convolutions[len(convolutions) // 2]))
    yield Fault("running mean of the last norm off", 0.05, shifted(norms[-1], "running_mean"))


def with_fault(classifier: Classifier, fault: Fault, size: float) -> Classifier:
    """Return the classifier that the converter is handed by mistake."""
    module = copy.deepcopy(classifier.module)
    if fault.module:
        with torch.no_grad():
            fault.module(module, size)
    changed = dict(fault.preprocessing(size)) if fault.preprocessing else {}
    return replace(
        classifier,
        module=module,
        preprocessing=replace(classifier.preprocessing, **changed),  # type: ignore[arg-type]
    )


def shown(fault: Fault, size: float, pixels: np.ndarray) -> np.ndarray:
    """Return what the file is shown in the place of pictures."""
    return fault.pixels(pixels, size) if fault.pixels else pixels


@dataclass(frozen=True)
class Bench:
    """Hold the classifier and all pictures; answered: PyTorch's answers to them, references: by their number."""

    classifier: Classifier
    pixels: np.ndarray
    answered: Prediction
    references: dict[int, Reference]

    def reference(self, count: int) -> Reference:
        """Return the reference of so many pictures; what rounding costs is measured once for each number."""
        if count not in self.references:
            images = ImageSet(tuple(f"{index:05}" for index in range(count)), self.pixels[:count])
            self.references[count] = Reference(self.classifier, images, self.answered.of(slice(count)))
        return self.references[count]


class Candidate:
    """Hold an ML Program in fp16 with its answers so far; each picture is shown to it once."""

    def __init__(self, bench: Bench, classifier: Classifier, feed: Callable[[np.ndarray], np.ndarray]) -> None:
        self.bench, self.feed = bench, feed
        self.directory = tempfile.TemporaryDirectory()
        self.artifact = convert(classifier, "mlprogram", Path(self.directory.name))
        self.predict = find_backend("coreml-evaluator").load(self.artifact)
        self.answers: Prediction | None = None

    def judged(self, name: str, count: int) -> Subject:
        """Judge the answers to so many pictures, and print what came of it."""
        there = 0 if self.answers is None else len(self.answers.probabilities)
        if count > there:
            more = self.predict(self.feed(self.bench.pixels[there:count]))
            both = [one for one in (self.answers, more) if one is not None]
            joined = np.concatenate([one.probabilities for one in both])
            top1 = tuple(label for one in both for label in one.top1 or ())
            self.answers = replace(more, probabilities=joined, outputs={}, top1=top1 or None)
        assert self.answers is not None
        answers = replace(
            self.answers,
            probabilities=self.answers.probabilities[:count],
            outputs={},
            top1=self.answers.top1 and self.answers.top1[:count],
        )
        start = time.perf_counter()
        reference = self.bench.reference(count)
        subject = judge_prediction(reference, self.artifact, "coreml-evaluator", answers)
        seconds = time.perf_counter() - start
        beyond = sum((case.max_abs_diff or 0.0) > (subject.tolerance or 1.0) for case in subject.cases)
        own = sum(case.own_allowed is not None for case in subject.cases)
        print(
            f"  {name:36} {count:6,} {subject.verdict:13} {subject.max_abs_diff or 0.0:8.4f} "
            f"{subject.tolerance or 0.0:8.4f} {beyond:7} {own:7} {subject.excused:8} {seconds:7.1f}  "
            f"{subject.reason}",
            flush=True,
        )
        return subject


def smallest(bench: Bench, fault: Fault, sound: np.ndarray, allowed: float) -> float:
    """Find about how large a fault moves the worst of a few pictures just beyond what is allowed.

    The fault is answered for by PyTorch, and what the sound file is off is added: no file is made for a try.
    """
    expected, size = bench.answered.probabilities[:FEW], fault.start
    for _ in range(STEPS):
        pixels = shown(fault, size, bench.pixels[:FEW])
        answers = load_reference(with_fault(bench.classifier, fault, size), 2)(pixels).probabilities
        farthest = float(np.abs(answers - expected + sound).max())
        size *= float(np.clip(JUST * allowed / farthest, 0.1, 10))
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="Pictures for the sound file.")
    parser.add_argument("--faulty", type=int, default=SIZES[-1], help="Pictures for those with a fault.")
    parser.add_argument("--model", choices=MODELS, default=next(iter(MODELS)), help="The trained network.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classifier = load_classifier(f"{ROOT}/fixtures/models.py:{options.model}")
    pixels = pictures(options.model, classifier.preprocessing.size, options.largest)
    bench = Bench(classifier, pixels, load_reference(classifier, 2)(pixels), {})
    print(f"{classifier.name} by mlprogram (fp16) on coreml-evaluator")
    print(
        f"  {'fault':36} {'images':>6} {'verdict':13} {'max |dp|':>8} {'allowed':>8} {'beyond':>7} {'again':>7} "
        f"{'excused':>8} {'seconds':>7}"
    )
    sound = Candidate(bench, classifier, lambda pixels: pixels)
    wrong = [count for count in sizes(options.largest) if sound.judged("none", count).verdict != "pass"]
    assert sound.answers is not None
    off = sound.answers.probabilities[:FEW] - bench.answered.probabilities[:FEW]
    *_, widest = bench.reference(FEW).tolerances(sound.artifact)
    for fault in faults(classifier):
        size = smallest(bench, fault, off, widest.probability)
        for _ in range(ATTEMPTS):
            candidate = Candidate(bench, with_fault(classifier, fault, size), partial(shown, fault, size))
            name = f"{fault.name} by {size:.2g}"
            if candidate.judged(name, FEW).verdict == "fail":
                larger = [count for count in sizes(options.faulty) if count > FEW]
                wrong += [count for count in larger if candidate.judged(name, count).verdict != "fail"]
                break
            size *= GROWTH
        else:
            wrong.append(FEW)
    sys.exit(bool(wrong))


def sizes(largest: int) -> list[int]:
    return [count for count in SIZES if count <= largest]


if __name__ == "__main__":
    main()
