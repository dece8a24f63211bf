"""What PyTorch computes, operation by operation: recorded once, then run again on any values.

The record is what locating a fault rests on: each operation can run on the artefact's own inputs, and whatever
is then different is that operation's own doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parity.core.errors import ParityError
from parity.core.refusals import refusals
from parity.diagnosis.types import WRAPPER

if TYPE_CHECKING:
    import torch

# Operations that converters often write as several: taken apart here too, so that their parts can be compared.
_TAKEN_APART = (
    "native_layer_norm",
    "native_group_norm",
    "gelu",
    "hardswish",
    "hardsigmoid",
    "silu",
    "_softmax",
    "_safe_softmax",
)
# Their results hold the numbers of their inputs, in another shape or order.
VIEWS = frozenset(
    (
        *(
            "view",
            "_unsafe_view",
            "reshape",
            "t",
            "transpose",
            "permute",
            "expand",
            "clone",
            "squeeze",
            "unsqueeze",
        ),
        *("slice", "select", "alias", "detach", "flatten", "contiguous", "lift_fresh", "_to_copy"),
        *("split", "split_with_sizes", "unbind", "chunk"),
    )
)


# Of their input these take the shape and the type alone: what they give is a constant.
_FILLED = frozenset(
    ("new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like")
)


@dataclass(frozen=True)
class Ref:
    """Stand for a value of the record among an operation's arguments."""

    value: int


@dataclass(frozen=True)
class Step:
    """Hold one operation that PyTorch ran.

    type: the aten operation's name, `convolution` say; whole: of what it is a part, or the same.
    module: the path of the module that ran it: empty for the classifier itself, WRAPPER for what conversion puts
    around it. inputs, outputs: numbers of values; an output that is no tensor is None. weights: names in the state
    dictionary of what it reads.
    """

    index: int
    type: str
    whole: str
    module: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    weights: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """Hold the operations in order; the value 0 is the image, [N, 3, H, W] of pixels 0..255."""

    steps: tuple[Step, ...]
    output: int
    producer: Mapping[int, int]


def run_step(
    step: Step, values: Mapping[int, torch.Tensor], prepare: Callable[[Any], Any] | None = None
) -> list[Any]:
    """Run one operation on values by number; prepare: applied to every tensor that goes in."""
    from torch.utils._pytree import tree_map

    def substituted(argument: Any) -> Any:
        value = values[argument.value] if isinstance(argument, Ref) else argument
        return prepare(value) if prepare else value

    def leaf(item: Any) -> bool:
        return isinstance(item, Ref)

    args, kwargs = (tree_map(substituted, what, is_leaf=leaf) for what in (step.args, dict(step.kwargs)))
    result = step.function(*args, **kwargs)
    return list(result) if isinstance(result, tuple | list) else [result]


def record(module: torch.nn.Module, image: torch.Tensor) -> Program:
    """Run a module once and record its operations; one that they cannot be run again for is a ParityError."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map

    from conversion.deployed import without_mha_fastpath

    state = module.state_dict(keep_vars=True)
    named = {id(tensor): name for name, tensor in state.items()}
    path = [WRAPPER]
    whole: list[str] = []
    numbers: dict[int, int] = {id(image): 0}
    alive: list[Any] = [image]  # an id is a tensor's own only as long as the tensor lives
    steps: list[Step] = []
    producer: dict[int, int] = {}
    apart = _decompositions()

    def note(function: Any, args: Any, kwargs: Any, result: Any) -> None:
        inputs: list[int] = []
        weights: list[str] = []

        def reference(argument: Any) -> Any:
            if not isinstance(argument, torch.Tensor):
                return argument
            if id(argument) in numbers:
                inputs.append(numbers[id(argument)])
                return Ref(numbers[id(argument)])
            if id(argument) in named:
                weights.append(named[id(argument)])
            return argument.detach()

        kept = tree_map(reference, args), tree_map(reference, kwargs)
        name = plain_name(function)
        if not inputs or name in _FILLED:
            alive.append(result)  # of weights alone: a constant like them
            for leaf in tree_leaves(result):
                # A weight that is only laid out otherwise is still that weight.
                if (
                    isinstance(leaf, torch.Tensor)
                    and weights
                    and name in VIEWS
                    and leaf.numel() == state[weights[0]].numel()
                ):
                    named[id(leaf)] = weights[0]
            return
        outputs: list[int | None] = []
        for leaf in result if isinstance(result, tuple | list) else [result]:
            if not isinstance(leaf, torch.Tensor):
                outputs.append(None)
                continue
            alive.append(leaf)
            numbers[id(leaf)] = len(producer) + 1
            producer[len(producer) + 1] = len(steps)
            outputs.append(len(producer))
        steps.append(
            Step(
                index=len(steps),
                type=name,
                whole=whole[-1] if whole else name,
                module=path[-1],
                function=_functional(function),
                args=kept[0],
                kwargs=kept[1],
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                weights=tuple(weights),
            )
        )

    class Recording(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in apart:
                whole.append(plain_name(func).removeprefix("native_").removeprefix("_").removeprefix("safe_"))
                with self:
                    result = apart[func](*args, **kwargs)
                whole.pop()
                if not func._schema.is_mutable:
                    return result
                # From here on the tensor that was written into is the value that was computed.
                args[0].copy_(result)
                alive.append(args[0])
                numbers[id(args[0])] = numbers[id(result)]
                return args[0]
            result = func(*args, **kwargs)
            # An operation that gives its argument back, dropout say, did nothing.
            if not any(result is argument for argument in args) or func._schema.is_mutable:
                note(func, args, kwargs, result)
            return result

    with torch.no_grad(), without_mha_fastpath(), module_paths(module, path), ExitStack() as stack:
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        stack.enter_context(Recording())  # type: ignore[no-untyped-call]
        stack.enter_context(refusals("the module"))
        answer = module(image)
    program = Program(_needed(steps, numbers[id(answer)]), numbers[id(answer)], producer)
    program = Program(program.steps, program.output, {o: s.index for s in program.steps for o in s.outputs if o})
    values = {0: image}
    with torch.no_grad():
        for step in program.steps:
            for number, value in zip(step.outputs, run_step(step, values), strict=True):
                if number is not None:
                    values[number] = value
    if not torch.allclose(values[program.output], answer, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ParityError("the module's operations, run again one by one, give another answer than the module")
    return program


def _needed(steps: list[Step], output: int) -> tuple[Step, ...]:
    from dataclasses import replace

    wanted, kept = {output}, list[Step]()
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            kept.append(step)
            wanted.update(step.inputs)
    return tuple(replace(step, index=index) for index, step in enumerate(reversed(kept)))


def plain_name(function: Any) -> str:
    """Name an operation as it is called where it does not work in place."""
    name = str(function._schema.name.split("::")[-1])
    return name[:-1] if name.endswith("_") else name


def _functional(function: Any) -> Callable[..., Any]:
    """Make a form of an operation that leaves its arguments alone, and takes them however they lie in memory."""
    import torch

    if plain_name(function) in ("view", "_unsafe_view", "_reshape_alias"):
        return lambda value, shape, *strides: value.reshape(shape)

    written = [
        index
        for index, argument in enumerate(function._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    if not written:
        return function  # type: ignore[no-any-return]

    def run(*args: Any, **kwargs: Any) -> Any:
        copies = [a.clone() if i in written and isinstance(a, torch.Tensor) else a for i, a in enumerate(args)]
        return function(*copies, **kwargs)

    return run


def _decompositions() -> Mapping[Any, Callable[..., Any]]:
    import torch
    from torch._decomp import get_decompositions

    packets: dict[str, Any] = {name: getattr(torch.ops.aten, name) for name in _TAKEN_APART}
    apart = dict(get_decompositions([packet.default for packet in packets.values()]))
    # What works in place is taken apart alike, and written back.
    in_place = {f"{name}_": packet for name, packet in packets.items() if hasattr(torch.ops.aten, f"{name}_")}
    return apart | {
        getattr(torch.ops.aten, name).default: apart[packet.default]
        for name, packet in in_place.items()
        if packet.default in apart
    }


@contextmanager
def module_paths(module: torch.nn.Module, path: list[str]) -> Iterator[None]:
    """Keep the path of the module that runs on top of `path`; hooks are there only as long as this lasts."""
    handles: list[Any] = []
    for name, part in module.named_modules():
        # The wrapper calls the classifier `module`; what users know are the paths inside it.
        known = name.removeprefix("module").removeprefix(".") if name else WRAPPER

        def enter(_part: Any, _args: Any, known: str = known) -> None:
            path.append(known)

        def leave(_part: Any, _args: Any, _result: Any) -> None:
            path.pop()

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
