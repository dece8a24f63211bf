"""What to add to a suite so that it catches a mutant: tried on the mutant before it is said, where that can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import floor, log10

import numpy as np
from PIL import ImageOps

from conversion.classifier import Preprocessing
from conversion.images import to_pixels
from conversion.routes import ROUTES
from conversion.task import PROBABILITIES
from parity.audit.bench import Bench, Broken, MutantRun, attempted
from parity.audit.findings import Advice
from parity.audit.probes import KINDS
from parity.audit.shapes import other_size
from parity.backends import find_backend
from parity.backends.pytorch import load_reference
from parity.core.compare import compare
from parity.core.noise import CLEARLY, FP32
from parity.core.results import FAILING_CASES, Prediction
from parity.core.tolerance import Tolerance


def advise(run: MutantRun, answers: Prediction, on_probes: Prediction | Broken, moved: float) -> Iterator[Advice]:
    """Say what would catch a mutant, the best first.

    answers, on_probes: the mutant's, to the suite's images and to the probes; moved: the largest |dp| between the
    mutant and the artefact, on both.
    """
    advices = [*_images(run, on_probes), *_settings(run), *_tolerance(run, answers), *_fp32(run, moved)]
    if advices:
        yield from advices
    elif hints := [KINDS[kind] for kind in run.mutant.remedies if kind in KINDS]:
        text = f"{hints[0]}; the synthetic ones that were tried do not show it within this tolerance"
        yield Advice(run.mutant.remedies[0], text, verified=False)


def _images(run: MutantRun, on_probes: Prediction | Broken) -> Iterator[Advice]:
    """Find the kind of probe that shows it: of those that fit the fault first, else of any."""
    bench, hinted = run.bench, run.mutant.remedies
    reference, clean = bench.on_probes
    names = bench.probes.names
    if isinstance(on_probes, Broken):
        return
    good, bad = (bench.judge(reference, one, names) for one in (clean, on_probes))
    shown: dict[str, float] = {}
    for index, kind in enumerate(names):
        if not good.cases or good.cases[index].verdict in FAILING_CASES:
            continue  # the artefact itself is apart there: no place to look for a fault
        case = bad.cases[index] if bad.cases else None
        apart = 1.0 if case is None or case.max_abs_diff is None else case.max_abs_diff
        if (case is None or case.verdict in FAILING_CASES) and apart > CLEARLY * bench.tolerance.probability:
            shown[kind] = max(shown.get(kind, 0.0), apart)
    # Of labels that are judged apart each has its numbers on every image, and no image is of one class.
    of_one_class = bench.original.reference.prediction.measured[0].kind == PROBABILITIES
    if "classes" in hinted and of_one_class:
        yield _classes(run, shown)
        return
    chosen = next((kind for kind in (*hinted, *KINDS) if kind in shown), None)
    if chosen:
        text = f"add {KINDS[chosen]}: a synthetic one moves by {shown[chosen]:.1e}"
        yield Advice(chosen, text, verified=True)


def _classes(run: MutantRun, shown: dict[str, float]) -> Advice:
    """Advise images of the classes that are exchanged: those that the suite shows least."""
    prediction = run.bench.original.reference.prediction
    classes = prediction.probabilities.shape[1]
    seen = len(set(prediction.probabilities.argmax(axis=1).tolist()))
    text = (
        f"add images of more classes: {len(prediction.probabilities)} image(s) show {seen} of {classes}, and two "
        f"labels exchanged are seen on an image of one of the two; {classes - 1} classes show every exchange"
    )
    return Advice("classes", text, verified=bool(shown))


def _settings(run: MutantRun) -> Iterator[Advice]:
    """Try another batch, or another size of the images."""
    if "batch" in run.mutant.remedies and run.artifact is not None and _batch_shows(run):
        text = "run a second batch size: `parity check MODEL ARTIFACT --images ... --batch 2` fails"
        yield Advice("batch", text, verified=True)
    size = other_size(run.bench.original) if "size" in run.mutant.remedies else None
    if size and _size_shows(run, size):
        text = (
            "run another size of the images: "
            f"`parity check MODEL ARTIFACT --images ... --size {size[0]}x{size[1]}` fails"
        )
        yield Advice("size", text, verified=True)


def _batch_shows(run: MutantRun) -> bool:
    bench = run.bench
    reference = bench.original.reference
    names, pixels = reference.images.names[:2], reference.images.pixels[:2]
    expected = reference.prediction.of(slice(2))
    good = attempted(lambda: find_backend(bench.backend).load(bench.original.artifact, 2)(pixels))
    bad = attempted(lambda: run.load(2)(pixels))
    return _tells(bench, expected, good, bad, names)


def _size_shows(run: MutantRun, size: tuple[int, int]) -> bool:
    bench = run.bench
    own: Preprocessing = bench.original.reference.classifier.preprocessing
    other = replace(own, size=size, resize=size)
    pixels = np.stack([to_pixels(ImageOps.exif_transpose(picture), other) for picture in bench.sample.pictures])
    expected = attempted(partial(load_reference(bench.original.reference.classifier), pixels))
    if isinstance(expected, Broken):
        return False
    good, bad = attempted(lambda: bench.predict(pixels)), attempted(lambda: run.load(1)(pixels))
    return _tells(bench, expected, good, bad, bench.sample.names)


def _tells(
    bench: Bench,
    expected: Prediction,
    good: Prediction | Broken,
    bad: Prediction | Broken,
    names: tuple[str, ...],
) -> bool:
    if isinstance(good, Broken) or bench.judge(expected, good, names).verdict == "fail":
        return False
    return isinstance(bad, Broken) or bench.judge(expected, bad, names).verdict == "fail"


def _tolerance(run: MutantRun, answers: Prediction) -> Iterator[Advice]:
    """Find a number between what the artefact needs and what the mutant would."""
    bench = run.bench
    reference, names = bench.original.reference.prediction, bench.sample.names
    both = (compare(reference, one, bench.tolerance, names) for one in (bench.clean, answers))
    needed, moved = (comparison.max_abs_diff for comparison in both)
    if needed is None or moved is None:
        return
    # Below what rounding alone does on another machine, a tolerance fails what is sound.
    lowest = max(needed, bench.noise)
    number = rounded(np.sqrt(lowest * moved))
    if not lowest < number < min(moved, bench.tolerance.probability):
        return
    tighter = Tolerance(number)
    good, bad = (compare(reference, one, tighter, names) for one in (bench.clean, answers))
    if good.verdict != "fail" and bad.verdict == "fail":
        text = f"tighten the tolerance to {number:.1e}: it moves by {moved:.1e}, the artefact by {needed:.1e}"
        yield Advice("tolerance", text, verified=True, tolerance=number)


def _fp32(run: MutantRun, moved: float) -> Iterator[Advice]:
    """Name the route that computes in fp32, where the same fault would stand out of less noise."""
    artifact = run.bench.original.artifact
    # In reverse, so that the first route of each kind stays.
    by_kind = {(route.format, route.precision): route for route in reversed(list(ROUTES.values()))}
    beside = by_kind.get((artifact.format, "fp32"))
    if artifact.precision != "fp16" or not run.mutant.converter or not beside or not np.isfinite(moved):
        return
    allowed = FP32[artifact.format][0]
    if moved > 2 * allowed:
        text = f"run the route {beside.name} beside it: {allowed:.0e} is allowed there, it moves by {moved:.1e}"
        yield Advice("route", text, verified=False)


def rounded(number: float) -> float:
    """Round to two digits."""
    return float(round(number, 1 - floor(log10(number)))) if number > 0 else 0.0
