"""A cases file that contradicts itself: refused in one line that names the line and both values.

What the numbers decide, the verdict of a case, is decided anew.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from parity.core.cases import judge_case_again
from parity.core.errors import ParityError
from parity.core.noise import SAVED_ROUNDING, SAVED_SUMS
from parity.core.results import Case
from parity.core.results_soundness import contradictions, own_trouble
from parity.core.variety import Bounds

if TYPE_CHECKING:
    from parity.metrics.classification.variety import ClassVariety
    from parity.stream.lines import Header, Line, PackedVariety

# A run that goes on starts as many as the header says, and the process ends where the system has no room for them.
_MOST_THREADS = 4096


def header_trouble(header: Header) -> Iterator[str]:
    """Say what cannot be true of a run, whatever its images."""
    for name, least in (("images", 1), ("batch", 1), ("threads", 1)):
        if getattr(header, name) < least:
            yield f"{name} is {getattr(header, name)}, and at least {least} is needed"
    if header.threads > _MOST_THREADS:
        yield f"threads is {header.threads}, and no machine has more than {_MOST_THREADS}"
    if not 1 <= header.shard.number <= header.shard.of:
        yield f"shard is {header.shard}, and there is no such shard"
    models = Counter(model.name for model in header.models)
    yield from (f"model {name} is there {count} times" for name, count in models.items() if count > 1)
    for model in header.models:
        for label, count in Counter(model.labels).items():
            if count > 1:
                yield f"model {model.name} has label {label!r} {count} times"
    if min((len(model.labels) for model in header.models), default=1) < 1:
        yield "a model has no labels"
    for model in header.models:
        size = model.preprocessing.get("size", (1, 1))
        if not all(isinstance(side, int) and side > 0 for side in size):
            yield f"the images of {model.name} have the size {size}"
    legs = Counter((leg.model, leg.route, leg.backend) for leg in header.legs)
    for (name, route, backend), count in legs.items():
        if count > 1:
            yield f"the leg {name} by {route} on {backend} is there {count} times"
        if name not in models:
            yield f"a leg is of model {name}, and the models are {', '.join(models) or 'none'}"
    for leg in header.legs:
        leg_name = f"{leg.model} by {leg.route} on {leg.backend}"
        if leg.verdict == "pass":
            yield f"{leg_name} is said to pass without a case"
        if leg.verdict is None and (leg.tolerance is None or not 0 < leg.tolerance < 1):
            yield f"the tolerance of {leg_name} is {leg.tolerance}, and a tolerance is between 0 and 1"
        if leg.measured_on < 0:
            yield f"the tolerance of {leg_name} was measured on {leg.measured_on} images"
        if leg.spots < 0:
            yield f"{leg_name} sees {leg.spots} images"


class LineCheck:
    """Hold the lines of a run against each other, batch by batch, and judge every case by its own numbers."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._labels = {
            model.name: {label: place for place, label in enumerate(model.labels)} for model in header.models
        }
        self._names = array("Q")  # eight bytes of each image's name, in the order of the lines

    def batch(self, path: Path, first: int, lines: Sequence[Line]) -> list[Line]:
        """Return the lines of a batch as they are judged now; first: the number of the first in the file, from 1.

        What cannot be true is a ParityError.
        """
        for number, trouble in _batch_trouble(self._header, self._labels, lines):
            raise ParityError(f"{path}:{first + number}: contradicts itself: {trouble}; run anew")
        for line in lines:
            name = line.image.encode("utf-8", "surrogatepass")
            self._names.append(int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little"))
        return [_judged(self._header, line) for line in lines]

    def end(self, path: Path) -> None:
        """Raise ParityError where two images have one name: one of them is counted twice."""
        names = np.frombuffer(self._names, np.uint64)
        order = np.argsort(names, kind="stable")
        repeated = np.flatnonzero(names[order][1:] == names[order][:-1])
        if len(repeated):
            places = [place for batch in self._header.batches for place in self._header.places(batch)]
            one, other = (places[order[repeated[0] + step]] for step in (0, 1))
            raise ParityError(
                f"{path}: images {one} and {other} have one name, and an image is counted once; run anew"
            )


def _judged(header: Header, line: Line) -> Line:
    if line.unreadable:
        return line
    tolerances = [header.running[number].tolerance for number in header.seeing(line.index)]
    cases = tuple(
        case if allowed is None else judge_case_again(case, allowed)
        for case, allowed in zip(line.cases, tolerances, strict=True)
    )
    return line if cases == line.cases else replace(line, cases=cases)


Labels = Mapping[str, Mapping[str, int]]


def _batch_trouble(header: Header, labels: Labels, lines: Sequence[Line]) -> Iterator[tuple[int, str]]:
    """Say what cannot be true of the lines of a batch: (which of them, what)."""
    for number, line in enumerate(lines):
        yield from ((number, trouble) for trouble in _line_trouble(header, labels, line))
        if number < len(lines) - 1 and (line.varieties or line.spots):
            yield number, f"{line.image} ends no batch, and has what the answers of one are like"
    last = len(lines) - 1
    readable = [line for line in lines if not line.unreadable]
    spotted = [line for line in readable if any(header.running[n].spots for n in header.seeing(line.index))]
    for what, packed, those in (("varieties", lines[-1].varieties, readable), ("spots", lines[-1].spots, spotted)):
        yield from ((last, f"{what} {trouble}") for trouble in _varieties_trouble(header, labels, those, packed))


def _line_trouble(header: Header, labels: Labels, line: Line) -> Iterator[str]:
    seeing = [] if line.unreadable else header.seeing(line.index)
    if len(line.cases) != len(seeing):
        yield f"{line.image} has {len(line.cases)} cases, and {len(seeing)} legs see it"
        return
    for number, case in zip(seeing, line.cases, strict=True):
        leg = header.running[number]
        leg_name = f"{leg.model} by {leg.route} on {leg.backend}"
        if case.image != line.image:
            yield f"{leg_name}: the image is {line.image} there, and {case.image} in its case"
        if case.truth not in (None, line.truth):
            yield f"{leg_name}: {line.image} shows {line.truth!r} there, and {case.truth!r} in its case"
        yield from (
            f"{leg_name}: label {name!r:.60} is none of its model's" for name in _strangers(case, labels[leg.model])
        )
        yield from (f"{leg_name}: {what}" for what in contradictions(case))
        own = own_trouble(case, leg.tolerance or 0.0, leg.measured_on)
        yield from (f"{leg_name}: {case.image}: {what}" for what in own)


def _strangers(case: Case, labels: Mapping[str, int]) -> Iterator[str]:
    """List the labels of a case that its model does not have; a file may name others itself, and says so."""
    # Where labels are judged apart an answer is a list of them, shortened.
    answers = [(case.reference, case.reference.probability is None), (case.candidate, bool(case.reason))]
    answers = [] if case.outputs else answers
    named = [answer.label for answer, excused in answers if not excused]
    named += [pair.label for pair in case.top]
    named += [case.worst_label] if case.worst_label is not None else []
    yield from (name for name in named if name not in labels)


def _varieties_trouble(
    header: Header, labels: Labels, lines: Sequence[Line], packed: Sequence[PackedVariety]
) -> Iterator[str]:
    """Hold what is said of a batch's answers against its cases; lines: of the images that it is said of."""
    from parity.stream.lines import unpack

    if packed and len(packed) != len(header.models):
        yield f"has {len(packed)} entries, and the models are {len(header.models)}"
        return
    for model, one in zip(header.models, packed, strict=False):
        whose, count = f"of {model.name}", len(model.labels)
        try:
            variety = unpack(one, model)
        except ValueError as error:
            yield f"{whose} cannot be read: {error}"
            continue
        if variety.images != len(lines):
            yield f"{whose} is of {variety.images} images, and the batch has {len(lines)}"
        cases = [case for line in lines for case in _first_case(header, line, model.name)]
        if isinstance(variety, Bounds):
            yield from (f"{whose} {what}" for what in _bounds_trouble(variety))
            yield from (f"{whose} {what}" for what in _worst_trouble(variety, labels[model.name], cases))
        elif not variety.classes or not all(0 <= place < count for place in variety.classes):
            yield f"{whose} has the classes {list(variety.classes)}, and there are {count}"
        else:
            yield from (f"{whose} {what}" for what in _bounds_trouble(variety))
            yield from (f"{whose} {what}" for what in _against_cases(variety, labels[model.name], cases))


def _first_case(header: Header, line: Line, model: str) -> list[Case]:
    """List the first case of an image that is of a model, where there is one; all have the same reference."""
    pairs = zip(header.seeing(line.index), line.cases, strict=True)
    return [case for number, case in pairs if header.running[number].model == model][:1]


def _bounds_trouble(variety: ClassVariety | Bounds) -> Iterator[str]:
    if (variety.low > variety.high).any():
        place = int((variety.low > variety.high).argmax())
        yield f"says that class {place} is at least {variety.low[place]:g} and at most {variety.high[place]:g}"
    if variety.low.min() < -SAVED_ROUNDING or variety.high.max() > 1 + SAVED_ROUNDING:
        yield f"says that answers are from {variety.low.min():g} to {variety.high.max():g}"


def _worst_trouble(variety: Bounds, places: Mapping[str, int], cases: Sequence[Case]) -> Iterator[str]:
    """Hold the bounds of labels that are judged apart against the one that a case names."""
    for case in cases:
        place = places.get(case.worst_label or "")
        if place is not None and case.worst_reference is not None:
            low, high = float(variety.low[place]), float(variety.high[place])
            if not low - SAVED_SUMS <= case.worst_reference <= high + SAVED_SUMS:
                named = f"{case.worst_label!r} is from {low:g} to {high:g}"
                yield f"says that {named}, and a case has {case.worst_reference:g}"


def _against_cases(variety: ClassVariety, places: Mapping[str, int], cases: Sequence[Case]) -> Iterator[str]:
    best = [places[case.reference.label] for case in cases if case.reference.label in places]
    if len(best) == variety.images and (classes := tuple(dict.fromkeys(best))[:2]) != variety.classes:
        yield f"has the classes {list(variety.classes)}, and its cases {list(classes)}"
    for pair in (
        pair for case in cases for pair in case.top if pair.reference is not None and pair.label in places
    ):
        low, high = (float(bound[places[pair.label]]) for bound in (variety.low, variety.high))
        assert pair.reference is not None
        if not low - SAVED_SUMS <= pair.reference <= high + SAVED_SUMS:
            yield f"says that {pair.label!r} is from {low:g} to {high:g}, and a case has {pair.reference:g}"
