"""Faults in the learnt numbers: of another layer, not loaded, folded wrongly, permuted, quantised, rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from parity.audit.folding import find_folds, refold
from parity.audit.mutant import Mutant, Original, converters, none, spread
from parity.formats.editing import Edit, Editable
from parity.formats.graph import Operation, bias_of

FAULTS = (
    "wt-initializer-collision",
    "wt-not-loaded",
    "wt-bn-fold",
    "wt-permuted",
    "p-weight-quant",
    "p-fp16-drift",
)
_REMEDIES = ("unsure", "colour", "detailed")

Change = Callable[[np.ndarray], np.ndarray]


def mutants(original: Original) -> Iterator[Mutant]:
    """Change the weights of a few operations, or of all."""
    if not original.kernels:
        for fault in FAULTS:
            yield from none(fault, "no operation has learnt weights")
        return
    yield from converters(_all(original))


def _all(original: Original) -> Iterator[Mutant]:
    yield from _collisions(original)
    for word, (operation, place) in spread(original.kernels):
        description = f"random numbers of the same spread in `{operation.name}`"
        yield _changed("wt-not-loaded", description, word, operation, place, _random)
    yield from _swapped_statistics(original)
    # Rows of the last are the classes, and a fault of the labels.
    for word, (operation, place) in spread(original.kernels[:-1]):
        description = f"outputs rolled by one in `{operation.name}`"
        yield _changed("wt-permuted", description, word, operation, place, lambda array: np.roll(array, 1, axis=0))
    for bits in (8, 6, 4):
        edit = _everywhere(original, _quantised(bits), kernels=True)
        yield Mutant("p-weight-quant", f"all kernels in {bits} bits", f"{bits} bits", _REMEDIES, edit=edit)
    if original.artifact.precision == "fp16":
        yield from none("p-fp16-drift", "the route computes in fp16 anyway")
    else:
        edit = _everywhere(original, lambda array: array.astype(np.float16).astype(np.float32), kernels=False)
        yield Mutant("p-fp16-drift", "all weights rounded to fp16", remedies=_REMEDIES, edit=edit)


def _changed(fault: str, description: str, word: str, operation: Operation, place: str, change: Change) -> Mutant:
    array = change(operation.weights[place])
    return Mutant(fault, description, word, _REMEDIES, edit=_setting(operation.name, place, array))


def _setting(operation: str, place: str, array: np.ndarray) -> Edit:
    return lambda model: model.set_weight(operation, place, array)


def _collisions(original: Original) -> Iterator[Mutant]:
    """Give a convolution the bias of the next one that has as many outputs."""
    consumers = original.graph.consumers()
    listed = [
        (operation, *added)
        for operation, place in original.kernels
        if "conv" in operation.plain_type
        and (added := bias_of(operation, place, consumers, operation.weights[place].shape[0]))
    ]
    pairs = []
    for index, (operation, adder, place) in enumerate(listed):
        for other, its_adder, its_place in listed[index + 1 :]:
            array = its_adder.weights[its_place]
            if array.shape == adder.weights[place].shape:
                pairs.append((operation, adder, place, other, array))
                break
    if not pairs:
        yield from none("wt-initializer-collision", "no two convolutions have biases of one size")
    for word, (operation, adder, place, other, array) in spread(pairs):
        description = f"`{operation.name}` with the bias of `{other.name}`"
        edit = _setting(adder.name, place, array)
        yield Mutant("wt-initializer-collision", description, word, _REMEDIES, edit=edit)


def _swapped_statistics(original: Original) -> Iterator[Mutant]:
    fault, description = "wt-bn-fold", "batch norm's mean and variance exchanged in `{}`"
    norms = [o for o in original.graph.operations if o.plain_type in ("batchnorm", "batchnormalization")]
    for word, norm in spread(norms):
        names = ("mean", "variance") if "mean" in norm.weights else ("input[3]", "input[4]")
        if set(names) <= set(norm.weights):
            edit = _exchange(norm, names)
            yield Mutant(fault, description.format(norm.name), word, _REMEDIES, edit=edit)
    folds = list(find_folds(original.reference.classifier.module, original.graph))
    if not norms and not folds:
        yield from none(fault, "the file has no batch norm, folded or not")
    for word, fold in spread(folds):
        edit = refold([fold.swapped()])
        yield Mutant(
            fault, f"{description.format(fold.operation)}, folded", f"folded, {word}", _REMEDIES, edit=edit
        )


def _exchange(norm: Operation, names: tuple[str, str]) -> Edit:
    mean, variance = (norm.weights[name] for name in names)

    def edit(model: Editable) -> None:
        model.set_weight(norm.name, names[0], variance)
        model.set_weight(norm.name, names[1], np.abs(mean))

    return edit


def _everywhere(original: Original, change: Change, *, kernels: bool) -> Edit:
    """Change all kernels, or all that was learnt."""
    places = original.kernels
    if not kernels:
        learnt = dict.fromkeys(operation.name for operation, _ in places)
        places = [(o, p) for o in original.graph.operations if o.name in learnt for p in o.weights]

    def edit(model: Editable) -> None:
        for operation, place in places:
            model.set_weight(operation.name, place, change(operation.weights[place]))

    return edit


def _random(array: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(array.size)
    return (random.normal(size=array.shape) * (array.std() or 0.1)).astype(np.float32)


def _quantised(bits: int) -> Change:
    def change(array: np.ndarray) -> np.ndarray:
        step = float(np.abs(array).max()) / (2 ** (bits - 1) - 1) or 1.0
        return np.asarray(np.round(array / step) * step, np.float32)

    return change
