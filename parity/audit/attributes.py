"""Faults in the settings of operations: epsilon, padding, pooling, GELU, dilation, slopes and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from parity.audit.folding import find_folds, refold
from parity.audit.mutant import Mutant, Original, converters, none, spread
from parity.formats import find_format
from parity.formats.editing import Edit, Editable, settings
from parity.formats.graph import Operation

FAULTS = (
    "g-norm-eps",
    "g-pad-asymmetric",
    "g-pool-ceil-shape",
    "g-avgpool-include-pad",
    "g-gelu-variant",
    "g-resize-antialias-dropped",
    "g-attribute",
)
_REMEDIES = ("unsure", "detailed", "colour")
# Of NeuralNetwork.proto: where a layer has its padding, by its type.
_BORDERS = {
    "convolution": "convolution.valid.paddingAmounts.borderAmounts",
    "pooling": "pooling.valid.paddingAmounts.borderAmounts",
    "padding": "padding.paddingAmounts.borderAmounts",
}
_SIDES = ("[0].startEdgeSize", "[0].endEdgeSize", "[1].startEdgeSize", "[1].endEdgeSize")
_MAX = 0  # NeuralNetwork.proto: PoolingLayerParams.PoolingType
_AVERAGE = 1

Settings = Mapping[str, Any]
# Gives the settings of the mutant, and tells them; None where an operation has no such fault.
Change = Callable[[Operation], tuple[Settings, str] | None]


def mutants(original: Original) -> Iterator[Mutant]:
    """Change a setting of a few operations of each kind."""
    yield from converters(_all(original))


def _all(original: Original) -> Iterator[Mutant]:
    yield from _eps(original)
    operations = original.behind
    yield from _each("g-pad-asymmetric", "padding", operations, _moved_padding, "no operation pads on two sides")
    yield from _each("g-pool-ceil-shape", "ceil mode", operations, _ceil, "no pool has a ceil mode to change")
    yield from _each(
        "g-avgpool-include-pad",
        "padding counted",
        operations,
        _include,
        "no average pool counts padding or not",
    )
    yield from _gelus(original)
    yield from _each(
        "g-resize-antialias-dropped", "antialias", operations, _antialias, "no resize inside is antialiased"
    )
    yield from _each(
        "g-attribute", "dilation", operations, _dilation, "no convolution alone can be dilated at the same shape"
    )
    yield from _each("g-attribute", "slope", operations, _slope, "no activation has a slope among its settings")
    yield from _each("g-attribute", "limit", operations, _limit, "no operation limits its values from above")


def _each(fault: str, what: str, operations: Sequence[Operation], change: Change, absent: str) -> Iterator[Mutant]:
    """Change the first, the middle and the last of the operations that can be changed so."""
    able = [(operation, *changed) for operation in operations if (changed := change(operation))]
    if not able:
        yield from none(fault, absent)
    for word, (operation, changes, description) in spread(able):
        edit = settings({operation.name: changes})
        yield Mutant(fault, f"{description} in `{operation.name}`", f"{what}, {word}", _REMEDIES, edit=edit)


def _eps(original: Original) -> Iterator[Mutant]:
    """Write another epsilon into all norms, or fold with another."""
    own_names = find_format(original.graph.format).settings
    norms: dict[str, tuple[str, float]] = {}
    for operation in original.graph.operations:
        kind = operation.plain_type
        if "norm" in kind and operation.weights and kind not in ("l2norm", "lpnormalization"):
            name = own_names.epsilon_name(operation)
            norms[operation.name] = name, float(operation.attributes.get(name, 1e-5))
    folds = list(find_folds(original.reference.classifier.module, original.graph))
    if not norms and not folds:
        yield from none("g-norm-eps", "the file has no norm, folded or not")
        return
    own = next(iter(norms.values()))[1] if norms else folds[0].eps
    for eps in (1e-3 if own < 5e-4 else 1e-5, 0.0):
        edits = [
            settings({operation: {name: eps} for operation, (name, _) in norms.items()}),
            refold([replace(fold, eps=eps) for fold in folds]),
        ]
        description = (
            f"epsilon {eps:g} in the place of {own:g} in {len(norms)} norm(s) and {len(folds)} folded ones"
        )
        yield Mutant("g-norm-eps", description, f"epsilon {eps:g}", _REMEDIES, edit=partial(_one_by_one, edits))


def _one_by_one(edits: Sequence[Edit], model: Editable) -> None:
    for edit in edits:
        edit(model)


def _moved_padding(operation: Operation) -> tuple[Settings, str] | None:
    sides = _padding(operation)
    if sides is None or not any(sides):
        return None
    top, bottom, left, right = sides
    if top == bottom and left == right:
        moved = tuple(n for size in (top, left) for n in ((size - 1, size + 1) if size else (0, 0)))
    else:
        moved = (bottom, top, right, left)
    description = f"padded {list(moved)} (top, bottom, left, right) in the place of {list(sides)}"
    return _padded(operation, moved), description


def _padding(operation: Operation) -> tuple[int, ...] | None:
    """Read how an operation pads: top, bottom, left, right; None where it does not, or by another rule."""
    kind, attributes = operation.plain_type, operation.attributes
    if operation.type in ("Conv", "MaxPool", "AveragePool") and "pads" in attributes:
        pads = _numbers(attributes["pads"])
        return (pads[0], pads[2], pads[1], pads[3]) if len(pads) == 4 else None
    if kind in ("conv", "maxpool", "avgpool") and attributes.get("pad_type") == "custom":
        pads = _numbers(attributes.get("pad", "[]"))
        return tuple(pads) if len(pads) == 4 else None
    if operation.type == "pad" and (name := _pad_name(operation)):
        pads = _numbers(attributes[name])
        return tuple(pads[-4:]) if len(pads) >= 4 and not any(pads[:-4]) else None
    if kind in _BORDERS and any(name.startswith(_BORDERS[kind]) for name in attributes):
        return tuple(int(attributes.get(f"{_BORDERS[kind]}{side}", "0")) for side in _SIDES)
    return None


def _padded(operation: Operation, sides: Sequence[int]) -> Settings:
    top, bottom, left, right = sides
    if operation.type in ("Conv", "MaxPool", "AveragePool"):
        return {"pads": [top, left, bottom, right]}
    if operation.plain_type in _BORDERS:
        start = _BORDERS[operation.plain_type]
        return {f"{start}{side}": size for side, size in zip(_SIDES, sides, strict=True)}
    name = _pad_name(operation)
    before = _numbers(operation.attributes[name])[:-4]
    return {name: [*before, *sides]}


def _pad_name(operation: Operation) -> str:
    """Name the setting of a `pad`: of ML Programs, or of Core AI; empty where it has none."""
    return next((name for name in ("pad", "padding") if name in operation.attributes), "")


def _ceil(operation: Operation) -> tuple[Settings, str] | None:
    kind, attributes = operation.plain_type, operation.attributes
    if operation.type in ("MaxPool", "AveragePool"):
        now = 1 - int(attributes.get("ceil_mode", "0"))
        return {"ceil_mode": now}, f"ceil_mode {now}"
    if kind in ("maxpool", "avgpool"):
        on = attributes.get("ceil_mode", "False") != "True"
        # With equal padding by a rule, Core ML knows no ceil mode.
        return None if attributes.get("pad_type", "").startswith("same") else ({"ceil_mode": on}, f"ceil_mode {on}")
    return None


def _include(operation: Operation) -> tuple[Settings, str] | None:
    kind, attributes = operation.plain_type, operation.attributes
    if not any(_padding(operation) or ()):
        return None
    if operation.type == "AveragePool":
        now = 1 - int(attributes.get("count_include_pad", "0"))
        return {"count_include_pad": now}, f"count_include_pad {now}"
    if kind == "avgpool":
        on = attributes.get("exclude_padding_from_average", "False") != "True"
        return {"exclude_padding_from_average": on}, f"exclude_padding_from_average {on}"
    if kind == "pooling" and int(attributes.get("pooling.type", str(_MAX))) == _AVERAGE:
        on = attributes.get("pooling.avgPoolExcludePadding", "False") != "True"
        return {"pooling.avgPoolExcludePadding": on}, f"avgPoolExcludePadding {on}"
    return None


def _gelus(original: Original) -> Iterator[Mutant]:
    """Exchange the two GELUs; ONNX often has one as what it is made of, around an Erf."""
    fault = "g-gelu-variant"
    spelt_out = [o for o in original.behind if o.type == "Erf"]
    if not spelt_out:
        yield from _each(fault, "GELU", original.behind, _gelu, "no operation is a GELU")
    for word, operation in spread(spelt_out):
        description = f"tanh's approximation in the place of erf in `{operation.name}`"
        edit = partial(_approximate, operation=operation.name)
        yield Mutant(fault, description, f"GELU, {word}", _REMEDIES, edit=edit)


def _approximate(model: Editable, operation: str) -> None:
    """Put the tanh of the approximate GELU in the place of an Erf, which ONNX alone has."""
    from parity.formats.onnx.erf import approximate_erf

    approximate_erf(model.content, operation)


def _gelu(operation: Operation) -> tuple[Settings, str] | None:
    attributes = operation.attributes
    if operation.type == "Gelu" or "approximate" in attributes:
        now = "none" if attributes.get("approximate", "none") == "tanh" else "tanh"
        return {"approximate": now}, f"GELU's approximation {now}"
    if operation.type == "gelu" and any(name.startswith("gelu") for name in attributes):
        on = 0 if attributes.get("gelu.mode", "0") != "0" else 1
        return {"gelu.mode": on}, f"GELU's mode {on}"
    if operation.type == "gelu":
        now = "EXACT" if attributes.get("mode", "EXACT") == "TANH_APPROXIMATION" else "TANH_APPROXIMATION"
        return {"mode": now}, f"GELU's mode {now}"
    return None


def _antialias(operation: Operation) -> tuple[Settings, str] | None:
    if operation.type == "Resize" and operation.attributes.get("antialias") == "1":
        return {"antialias": 0}, "antialias 0"
    return None


def _dilation(operation: Operation) -> tuple[Settings, str] | None:
    """Double the dilation and the padding of a convolution 3x3 that keeps the size."""
    kind, attributes = operation.plain_type, operation.attributes
    prefix, dilations = {
        "conv": ("", "dilations"),
        "convolution": ("convolution.", "convolution.dilationFactor"),
    }.get(kind, ("", ""))
    stride = "convolution.stride" if prefix else "strides"
    kernel = next((array.shape[2:] for array in operation.weights.values() if array.ndim == 4), ())
    if not dilations or kernel != (3, 3) or _numbers(attributes.get(stride, "[1, 1]")) != [1, 1]:
        return None
    if _numbers(attributes.get(dilations, "[1, 1]")) != [1, 1] or _padding(operation) != (1, 1, 1, 1):
        return None
    return {dilations: [2, 2], **_padded(operation, (2, 2, 2, 2))}, "dilation 2"


def _slope(operation: Operation) -> tuple[Settings, str] | None:
    kind, attributes = operation.plain_type, operation.attributes
    name = "alpha"
    if kind == "activation":
        name = next((n for n in ("activation.leakyReLU.alpha", "activation.ELU.alpha") if n in attributes), "")
    elif kind not in ("leakyrelu", "elu"):
        return None
    if not name:
        return None
    now = 2 * float(attributes.get(name, "0.01" if kind == "leakyrelu" else "1.0")) or 0.1
    return {name: now}, f"alpha {now:g}"


def _limit(operation: Operation) -> tuple[Settings, str] | None:
    """Take the upper limit away, as of a ReLU6 that became a ReLU."""
    attributes, description = operation.attributes, "no upper limit"
    if operation.type == "clip" and float(attributes.get("beta", "inf")) < 1e3:
        return {"beta": 1e4}, description
    if operation.type == "Clip" and "max" in attributes:
        return {"max": 1e4}, description
    if operation.type == "Clip" and "input[2]" in operation.weights:
        return {"input[2]": np.float32(1e4)}, description
    if operation.type == "minimum" and operation.weights.get("input[1]", np.zeros(2)).size == 1:
        return {"input[1]": np.float32(1e4)}, description
    return None


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.strip("[]()").split(",") if part.strip()]
