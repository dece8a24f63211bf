"""Record what a module computes, operation by operation, whatever it writes in place.

    module, image --dispatch mode--> Recorder --what the answer needs--> Program

An operation that writes into a tensor is recorded as one that gives a new value; all tensors that share the memory
are read from that value from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from parity.core.errors import ParityError
from parity.core.refusals import refusals
from parity.diagnosis.functional_forms import (
    copying,
    decompositions,
    functional,
    places_of,
    scattering,
    slicing,
    written_arguments,
)
from parity.diagnosis.source import VIEWS, Program, Ref, Step, module_paths, plain_name, run_program
from parity.diagnosis.types import WRAPPER

if TYPE_CHECKING:
    import torch

# Of their input these take the shape and the type alone: what they give is a constant, as what is drawn by lot is.
_FILLED = frozenset(
    (
        *("new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like"),
        *("fill", "zero"),
    )
)


@dataclass
class _Recorder:
    """Hold what was recorded so far.

    numbers: id of a tensor -> number of the value that it holds. named: id -> name of the weight that it is.
    sharing: id of a storage -> the tensors in it. They are kept alive, for an id is a tensor's own only so long.
    whole: the operations that are being taken apart. path: the modules that are running.
    """

    state: Mapping[str, torch.Tensor]
    path: list[str]
    whole: list[str] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    named: dict[int, str] = field(default_factory=dict)
    sharing: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    values: int = 0
    constants: dict[str, torch.Tensor] = field(default_factory=dict)

    @cached_property
    def weight_storages(self) -> frozenset[int]:
        """The memory of the weights, which no operation of a forward pass writes into."""
        return frozenset(tensor.untyped_storage()._cdata for tensor in self.state.values())

    def hold(self, tensor: torch.Tensor) -> None:
        """Keep a tensor, and know it by its memory."""
        tensors = self.sharing.setdefault(tensor.untyped_storage()._cdata, [])
        if not any(known is tensor for known in tensors):
            tensors.append(tensor)

    def number(self, tensor: torch.Tensor) -> int:
        """Give a tensor the number of a new value."""
        self.hold(tensor)
        self.values += 1
        self.numbers[id(tensor)] = self.values
        return self.values

    def note(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Note an operation that ran; of constants alone it makes a constant."""
        import torch
        from torch.utils._pytree import tree_leaves

        name = plain_name(function)
        written = list(written_arguments(function, args, result))
        drawn = torch.Tag.nondeterministic_seeded in function.tags and not name.endswith("dropout")
        if name == "copy":  # what was there before is lost: its shape stays
            function, args, kwargs = copying(args[0]), args[1:2], {}
        else:
            function = functional(function)
        leaves = tree_leaves(result)
        reads = self._reads(args, kwargs)
        if not reads.inputs or name in _FILLED or drawn:
            for leaf in leaves:
                if isinstance(leaf, torch.Tensor):
                    self._constant(leaf, name, reads.weights)
        else:
            outputs = [self.number(leaf) if isinstance(leaf, torch.Tensor) else None for leaf in leaves]
            self._step(name, function, reads, outputs)
        for tensor in written:
            self.written(tensor)

    def written(self, target: torch.Tensor) -> None:
        """Let all that share the memory of a tensor that was written into be read from its new value."""
        others = [t for t in self.sharing[target.untyped_storage()._cdata] if t is not target]
        alike = [t for t in others if t.dtype == target.dtype]
        for one in [t for t in alike if places_of(t) == places_of(target)]:
            self._same(one, target)
        alike = [t for t in alike if places_of(t) != places_of(target)]
        if not alike:
            return
        root = max([target, *alike], key=lambda tensor: tensor.numel())
        if root is not target:
            kept = _argument(self, root), _argument(self, target)
            if not any(isinstance(one, Ref) for one in kept):
                return
            self._step("slice_scatter", scattering(root, target), _Reads.of(kept), [self.number(root)])
        if id(root) not in self.numbers:
            return
        for tensor in alike:
            if tensor is not root:
                self._step(
                    "slice", slicing(root, tensor), _Reads.of((_argument(self, root),)), [self.number(tensor)]
                )

    def _same(self, one: torch.Tensor, target: torch.Tensor) -> None:
        if id(target) in self.numbers:
            self.numbers[id(one)] = self.numbers[id(target)]
        else:
            self.numbers.pop(id(one), None)

    def _step(self, name: str, function: Callable[..., Any], reads: _Reads, outputs: list[int | None]) -> None:
        self.steps.append(
            Step(
                index=len(self.steps),
                type=name,
                whole=self.whole[-1] if self.whole else name,
                module=self.path[-1],
                function=function,
                args=reads.args,
                kwargs=reads.kwargs,
                inputs=reads.inputs,
                outputs=tuple(outputs),
                weights=reads.weights,
            )
        )

    def _reads(self, args: Any, kwargs: Any) -> _Reads:
        from torch.utils._pytree import tree_leaves, tree_map

        kept = tree_map(lambda item: _argument(self, item), (tuple(args), dict(kwargs)))
        leaves = tree_leaves((tuple(args), dict(kwargs)))
        weights = tuple(self.named[id(leaf)] for leaf in leaves if id(leaf) in self.named)
        return replace(_Reads.of(*kept), weights=weights)

    def _constant(self, leaf: torch.Tensor, name: str, weights: tuple[str, ...]) -> None:
        """Keep what comes of constants alone, and know it by the weight that it comes from."""
        self.hold(leaf)
        self.numbers.pop(id(leaf), None)
        if not weights:
            return
        weight = self.constants.get(weights[0], self.state.get(weights[0]))
        # A weight that is only laid out otherwise is still that weight.
        if name in VIEWS and weight is not None and leaf.numel() == weight.numel():
            self.named[id(leaf)] = weights[0]
        elif leaf.is_floating_point() and leaf.numel() > 1:
            known = f"{weights[0]} ({name} {len(self.constants) + 1})"
            self.named[id(leaf)], self.constants[known] = known, leaf.detach().clone()


@dataclass(frozen=True)
class _Reads:
    """Hold what an operation reads: arguments with references in them, and the values and weights among these."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[int, ...]
    weights: tuple[str, ...] = ()

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> _Reads:
        """List the values that arguments refer to."""
        from torch.utils._pytree import tree_leaves

        leaves = tree_leaves((args, kwargs or {}), is_leaf=lambda item: isinstance(item, Ref))
        return cls(args, kwargs or {}, tuple(leaf.value for leaf in leaves if isinstance(leaf, Ref)))


def _argument(recorder: _Recorder, item: Any) -> Any:
    """Refer to a value by its number; a constant is kept as it is now, for it may be written into later."""
    import torch

    if not isinstance(item, torch.Tensor):
        return item
    if id(item) in recorder.numbers:
        return Ref(recorder.numbers[id(item)])
    is_weight = item.untyped_storage()._cdata in recorder.weight_storages
    return item.detach() if is_weight else item.detach().clone()


def record(module: torch.nn.Module, image: torch.Tensor) -> Program:
    """Run a module once and record its operations.

    Raises ParityError where they cannot be run again one by one.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from conversion.deployed import without_mha_fastpath

    state = module.state_dict(keep_vars=True)
    recorder = _Recorder(state, [WRAPPER], named={id(tensor): name for name, tensor in state.items()})
    # What the module writes into its input must not reach the caller's.
    own = image.clone()
    recorder.hold(own)
    recorder.numbers[id(own)] = 0
    apart = decompositions()

    class Recording(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in apart:
                recorder.whole.append(
                    plain_name(func).removeprefix("native_").removeprefix("_").removeprefix("safe_")
                )
                with self:
                    result = apart[func](*args, **kwargs)
                recorder.whole.pop()
                if not func._schema.is_mutable:
                    return result
                # From here on the tensor that was written into is the value that was computed.
                args[0].copy_(result)
                recorder.hold(args[0])
                recorder._same(args[0], result)
                recorder.written(args[0])
                return args[0]
            result = func(*args, **kwargs)
            # An operation that gives its argument back, dropout say, did nothing.
            if not any(result is argument for argument in args) or func._schema.is_mutable:
                recorder.note(func, args, kwargs, result)
            return result

    with torch.no_grad(), without_mha_fastpath(), module_paths(module, recorder.path), ExitStack() as stack:
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        stack.enter_context(Recording())  # type: ignore[no-untyped-call]
        stack.enter_context(refusals("the module"))
        answer = module(own)
    if id(answer) not in recorder.numbers:
        raise ParityError("the module's answer does not hang on the image by operations that can be recorded")
    output = recorder.numbers[id(answer)]
    steps = _needed(recorder.steps, output)
    producer = {number: step.index for step in steps for number in step.outputs if number}
    program = Program(steps, output, producer, recorder.constants)
    _check(program, image, answer)
    return program


def _check(program: Program, image: torch.Tensor, answer: torch.Tensor) -> None:
    """Run the operations again, one by one: they must give the module's answer."""
    import torch

    if not torch.allclose(run_program(program, image), answer, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ParityError("the module's operations, run again one by one, give another answer than the module")


def _needed(steps: list[Step], output: int) -> tuple[Step, ...]:
    wanted, kept = {output}, list[Step]()
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            kept.append(step)
            wanted.update(step.inputs)
    return tuple(replace(step, index=index) for index, step in enumerate(reversed(kept)))
