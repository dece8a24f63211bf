"""What PyTorch computes, operation by operation, so that each can run again on any values.

This is what locating a fault rests on: each operation can run on the artefact's own inputs, and whatever is then
different is that operation's own doing. parity/diagnosis/recording.py makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parity.diagnosis.types import WRAPPER

if TYPE_CHECKING:
    import torch

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
    dictionary of what it reads, or among the program's constants.
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
    """Hold the operations in order; the value 0 is the image, [N, 3, H, W] of pixels 0..255.

    producer: value -> the index of the step that gives it. constants: what the module works out from its weights
    alone, a slice of one, say, by names that the steps read them by.
    """

    steps: tuple[Step, ...]
    output: int
    producer: Mapping[int, int]
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict)


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


def run_program(program: Program, image: torch.Tensor) -> torch.Tensor:
    """Run all operations, one by one, on an image [N, 3, H, W] of pixels 0..255."""
    import torch

    values = {0: image}
    with torch.no_grad():
        for step in program.steps:
            for number, value in zip(step.outputs, run_step(step, values), strict=True):
                if number is not None:
                    values[number] = value
    return values[program.output]


def plain_name(function: Any) -> str:
    """Name an operation as it is called where it does not work in place."""
    name = str(function._schema.name.split("::")[-1])
    return name[:-1] if name.endswith("_") else name


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
