"""Give an operation that was located the name of its fault, by what can be measured of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.core.noise import LEFT_OVER
from parity.diagnosis.settings import own_padding
from parity.formats.graph import bias_of

if TYPE_CHECKING:
    import torch

    from parity.diagnosis.examination import Examination
    from parity.diagnosis.source import Step
    from parity.diagnosis.types import Kind, Located
    from parity.formats.graph import Operation

_KINDS: Mapping[Kind, str] = {
    "non-finite": "p-fp16-overflow",
    "shape": "g-shape",
    "border only": "g-pad-border",
    "shift": "g-pad-asymmetric",
    "mirrored": "g-orientation",
    "channel permutation": "g-channel-order",
    "missing operation": "g-operation-missing",
    "extra operation": "g-operation-added",
    "saturation": "g-clip",
    "reordered": "g-channel-order",
    "rounded": "g-cast",
    "scale": "g-scale",
}
# PyTorch's operation, as a part of its name -> fault, where the kind says little, and the words one of which the
# operation of the file must have in its type: another operation there is another fault.
_SOURCES = (
    ("_aa", "g-resize-antialias-dropped", ("resize", "upsample")),
    ("upsample", "g-resize-mode", ("resize", "upsample")),
    ("adaptive_avg_pool", "g-adaptive-pool", ("pool", "mean")),
)
_PADS = ("pad", "padding", "constantpadnd")
# The range in which another epsilon is looked for.
_EPSILONS = np.logspace(-12, 0, 49)


def name_fault(examination: Examination, one: Located) -> tuple[str, str]:
    """Return the fault's name and a sentence for an operation that differs from PyTorch's."""
    message = f"{one.message[0].upper()}{one.message[1:]}."
    if one.kind in ("missing operation", "extra operation"):
        return _KINDS[one.kind], message
    for measure in (_padding, _epsilon, _bias, _cast):
        if named := measure(examination, one):
            return named
    types = f"{one.type} {' '.join(o.type for o in group_of(examination, one))}".lower()
    if "batch_norm" in one.source and any(word in types for word in ("reduce", "mvn")):
        return "mode-train-bn", message
    if "log_softmax" in one.source and one.kind == "non-finite":
        return "head-logsoftmax-inf", message
    fits = (f for part, f, words in _SOURCES if part in one.source and any(word in types for word in words))
    return next(fits, _KINDS.get(one.kind, "g-operation")), message


def group_of(examination: Examination, one: Located) -> list[Operation]:
    """List the artefact's operations that together do what PyTorch does in one."""
    graph = examination.file.graph
    return [o for o in graph.operations if o.name in {one.operation, *one.group}] if graph else []


def _steps(examination: Examination, one: Located) -> Iterator[Step]:
    program = examination.torch.program
    yield from (s for s in program.steps if s.module in {one.module, *one.sources}) if program else ()


def _padding(examination: Examination, one: Located) -> tuple[str, str] | None:
    """Compare zeros that are put around an image by an operation of their own with the convolution's in PyTorch."""
    group = group_of(examination, one)
    pads = [o for o in group if o.plain_type in _PADS]
    layers = [o for o in group if any(kind in o.type.lower() for kind in ("conv", "pool"))]
    step = next((s for s in _steps(examination, one) if s.type in ("convolution", "conv2d")), None)
    values = examination.candidate.values(examination.torch.probe)
    if not pads or step is None or values is None or examination.torch.program is None:
        return None
    sides = _sides(values, pads[0])
    own = own_padding(examination.file.artifact.format, layers[-1]) if layers else (0, 0, 0, 0)
    if sides is None or own is None:
        return None
    padding = tuple(a + b for a, b in zip(sides, own, strict=True))
    wanted = _wanted_padding(examination, step)
    if padding == wanted:
        return None
    shift = (padding[0] - wanted[0], padding[2] - wanted[2])
    moved = (
        "" if sum(padding) != sum(wanted) else f": what it reads is shifted by {shift[0]} down and {shift[1]} right"
    )
    module = step.module or layers[-1].name
    return "g-pad-asymmetric", (
        f"Convolution `{module}` is padded {padding} (top, bottom, left, right) instead of {wanted}, by "
        f"`{pads[0].name}`{moved}."
    )


def _wanted_padding(examination: Examination, step: Step) -> tuple[int, ...]:
    from parity.diagnosis.settings import pad_before

    numbers = [int(v) for v in step.args[4]]
    rows, columns = (numbers * 2)[:2]
    wanted = (rows, rows, columns, columns)
    if before := pad_before(step, examination):
        left, right, top, bottom = before
        wanted = (rows + top, rows + bottom, columns + left, columns + right)
    return wanted


def _sides(values: Mapping[str, np.ndarray], pad: Operation) -> tuple[int, int, int, int] | None:
    """Measure what an operation puts around an image: where in its result what it read stands again."""
    read = next((values[name] for name in pad.inputs if name in values), None)
    result = values.get(pad.outputs[0])
    if read is None or result is None or read.ndim < 3 or result.ndim != read.ndim:
        return None
    height, width = read.shape[-2:]
    more, wider = result.shape[-2] - height, result.shape[-1] - width
    if more < 0 or wider < 0:
        return None
    for top in range(more + 1):
        for left in range(wider + 1):
            if np.array_equal(result[..., top : top + height, left : left + width], read):
                return top, more - top, left, wider - left
    return None


def _epsilon(examination: Examination, one: Located) -> tuple[str, str] | None:
    """Look for an epsilon with which PyTorch's normalisation gives what the artefact's does."""
    if "norm" not in one.source:
        return None
    named = dict(examination.reference.model.module.named_modules())
    module = next((named[s.module] for s in _steps(examination, one) if hasattr(named.get(s.module), "eps")), None)
    values = examination.candidate.values(examination.pixels[examination.screen[0]])
    if module is None or values is None or one.value not in values:
        return None
    import torch

    from parity.diagnosis.align import stand_in

    own = float(module.eps)
    result = torch.from_numpy(np.array(values[one.value], np.float32))
    group = group_of(examination, one)
    with torch.inference_mode():
        # Written out, it is scaled and shifted by operations of their own.
        for norm, read in product((copy.deepcopy(module), _bare(module)), read_from_outside(values, group, result)):
            expected = _with_epsilon(norm, read, own)
            value = None if expected is None else stand_in(result, expected)
            if expected is None or value is None or value.shape != expected.shape:
                continue
            apart = float((value - expected).square().mean())
            rest = [
                float("inf")
                if (v := _with_epsilon(norm, read, float(e))) is None
                else float((value - v).square().mean())
                for e in _EPSILONS
            ]
            best = int(np.argmin(rest))
            if rest[best] <= LEFT_OVER * apart:
                module_path = one.module or one.operation
                message = f"`{module_path}` has an epsilon of about {_EPSILONS[best]:.1g} instead of {own:.4g}"
                return "g-norm-eps", f"{message}: {one.message}."
    return None


def _bias(examination: Examination, one: Located) -> tuple[str, str] | None:
    """Look for a bias that PyTorch adds and the artefact has in no place."""
    group, graph = group_of(examination, one), examination.file.graph
    if len(group) != 1 or graph is None:
        return None
    operation, shapes = group[0], examination.torch.weight_shapes
    consumers = graph.consumers()
    for step in _steps(examination, one):
        lost = [name for name in step.weights if len(shapes.get(name, (0, 0))) == 1]
        own = [place for place, array in operation.weights.items() if array.ndim > 1]
        if step.type not in ("convolution", "addmm") or len(lost) != 1 or not own:
            continue
        if bias_of(operation, own[0], consumers, shapes[lost[0]][0]):
            return None
        sentence = f"{operation.type} `{operation.name}` has no bias, which is the same as one of zeros"
        return "wt-zeroed", f"{sentence}: {one.message}."
    return None


def _cast(examination: Examination, one: Located) -> tuple[str, str] | None:
    """Look at a cast that gives other numbers than PyTorch's: to another type, which goes round elsewhere."""
    import torch

    program = examination.torch.program
    if "cast" not in one.type.lower() or program is None:
        return None
    types = [value for step in program.steps for value in step.kwargs.values() if isinstance(value, torch.dtype)]
    whole = dict.fromkeys(str(t).removeprefix("torch.") for t in types if not t.is_floating_point)
    theirs = f"; PyTorch casts to {' and '.join(whole)} in this network" if whole else ""
    return "g-cast", f"{one.message[0].upper()}{one.message[1:]}{theirs}."


def _bare(module: torch.nn.Module) -> Any:
    """Copy a normalisation without what it multiplies with and adds in the end."""
    norm: Any = copy.deepcopy(module)
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        if getattr(norm, name, None) is not None:
            getattr(norm, name).data.fill_(value)
    return norm


def _with_epsilon(norm: Any, read: torch.Tensor, epsilon: float) -> torch.Tensor | None:
    norm.eps = epsilon
    try:
        normalised: torch.Tensor = norm(read)
    except RuntimeError:  # the value is laid out otherwise than PyTorch's
        return None
    return normalised


def read_from_outside(
    values: Mapping[str, np.ndarray], group: Sequence[Operation], result: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Give the values of the same size that a group of operations reads from outside."""
    import torch

    own = {name for operation in group for name in operation.outputs}
    names = dict.fromkeys(name for operation in group for name in operation.inputs if name not in own)
    for name in names:
        if name in values and values[name].size == result.numel() and values[name].dtype.kind == "f":
            yield torch.from_numpy(np.array(values[name], np.float32))
