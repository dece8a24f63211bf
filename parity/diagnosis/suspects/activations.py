"""Activations that are another function than PyTorch's: undone by letting PyTorch use that one too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends.reference import Reference
from parity.core.refusals import refusals
from parity.diagnosis.activations import ACTIVATIONS, function_of
from parity.diagnosis.naming import group_of, read_from_outside
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.environment import with_answers
from parity.diagnosis.types import place
from parity.diagnosis.wholes import whole_of

if TYPE_CHECKING:
    import torch

    from parity.diagnosis.examination import Examination
    from parity.diagnosis.types import Located

_Function = Callable[[Any], Any]


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Find the function that each located activation is, and let PyTorch use it there, or everywhere."""
    by_function: dict[tuple[str, str], list[tuple[Located, _Function]]] = {}
    for one in examination.divergences:
        if (one.source in ACTIVATIONS or _is_activation(examination, one)) and (
            known := _function(examination, one)
        ):
            name, function = known
            by_function.setdefault((one.source, name), []).append((one, function))
    for (source, name), alike in by_function.items():
        first, function = alike[0]
        modules = frozenset(one.module for one, _ in alike)
        everywhere = _modules(examination, source, first.module)
        for chosen in [modules, *([everywhere] if len(modules) > 1 and everywhere > modules else [])]:
            more = f"; so are {len(chosen) - 1} more" if len(chosen) > 1 else ""
            yield Suspect(
                "g-gelu-variant" if source == "gelu" and name.startswith("gelu") else "g-activation",
                f"Activation {place(first.module, first.head)}, {source} in PyTorch, is {name} in the file "
                f"(`{first.operation}`, {first.type}){more}.",
                Repair(
                    reference=partial(_answered, source, function, chosen),
                    evidence="PyTorch with that function in its place gives the same answers",
                ),
                seen=True,
            )


def _is_activation(examination: Examination, one: Located) -> bool:
    """Say whether the module of an operation computes a function of each number, from several operations."""
    module = dict(examination.reference.model.module.named_modules()).get(one.module)
    if not one.module or module is None or any(True for _ in module.children()):
        return False
    return examination.failures.attempt(
        "what a module does to each number",
        lambda: examination.torch.is_of_each_number(one.module),
        lambda error: False,
    )


def _function(examination: Examination, one: Located) -> tuple[str, _Function] | None:
    """Find which function an operation, or the group that it is of, is on the worst image."""
    import torch

    alone = one.source in ACTIVATIONS
    if one.kind == "missing operation":
        # Of several operations that are missing nothing says that they were an activation.
        return ("left out", lambda x: x) if alone else None
    group = group_of(examination, one)
    # Of several operations one may be missing, and what the last gives is what the module should give.
    value = one.value if alone or not group else group[-1].outputs[0]
    values = examination.candidate.values(examination.pixels[examination.screen[0]])
    if values is None or value not in values:
        return None
    # What was located may be inside of the formula, and says nothing of the function by itself.
    whole = whole_of(examination, one) if alone else None
    result = torch.from_numpy(np.array(values[whole.result if whole else value], np.float32))
    read = _read(values, whole.read, result) if whole else read_from_outside(values, group, result)
    precision = examination.file.artifact.precision
    functions = (function_of(value.reshape(result.shape), result, precision) for value in read)
    return next((function for function in functions if function), None)


def _read(values: Mapping[str, np.ndarray], names: Sequence[str], like: torch.Tensor) -> Iterator[torch.Tensor]:
    """Give the values of these names that have as many numbers."""
    import torch

    chosen = (values[name] for name in names if values[name].size == like.numel())
    yield from (torch.from_numpy(np.array(array, np.float32)) for array in chosen)


def _modules(examination: Examination, source: str, path: str) -> frozenset[str]:
    """List the modules that run an activation; one of several operations is known by its module's class."""
    named = dict(examination.reference.model.module.named_modules())
    if source not in ACTIVATIONS:
        return frozenset(name for name, module in named.items() if type(module) is type(named[path]))
    program = examination.torch.program
    return frozenset(s.module for s in program.steps if s.whole == source) if program else frozenset()


def _answered(source: str, function: _Function, modules: frozenset[str], reference: Reference) -> Reference:
    """Let PyTorch answer with another function in the place of an operation of some modules, or of these."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from conversion.deployed import answer_singly, deployed_module
    from parity.diagnosis.source import module_paths, plain_name

    module = deployed_module(reference.model)
    path = [""]

    class Replacing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if plain_name(func) != source or path[-1] not in modules:
                return func(*args, **(kwargs or {}))
            result = function(args[0].clone())
            # What works in place is seen by all who hold the tensor.
            return args[0].copy_(result) if func._schema.is_mutable else result

    with ExitStack() as stack:
        stack.enter_context(refusals("PyTorch with another activation"))
        if source in ACTIVATIONS:
            stack.enter_context(module_paths(module, path))
            stack.enter_context(Replacing())  # type: ignore[no-untyped-call]
        else:
            parts = dict(reference.model.module.named_modules())
            for name in modules:
                handle = parts[name].register_forward_hook(lambda _part, args, _result: function(args[0]))
                stack.callback(handle.remove)
        return with_answers(reference, answer_singly(module, reference.images.pixels))
