"""What a module answers -> the one tensor that counts: of a dict, a tuple or an object, by name or by place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from conversion.errors import ConversionError

# What libraries call the answer of a classifier beside others: transformers' ModelOutput, segmentation's dicts.
LOGITS = "logits"


def pick(answer: Any, output: str | int | None = None) -> Any:
    """Return the tensor that counts of what a module answers.

    output: a key of a dict, an attribute of an object, or a place in a tuple. None: the answer itself where it is a
    tensor, `logits` where there is one, else the only tensor there is.
    Raises ConversionError, which lists what there is.
    """
    import torch

    if isinstance(answer, torch.Tensor):
        if output is None:
            return answer
        raise ConversionError(f"output is {output!r}, but the module answers one tensor: leave output out")
    parts = _parts(answer)
    tensors = {name: part for name, part in parts.items() if isinstance(part, torch.Tensor)}
    if output is None:
        if LOGITS in tensors:
            return tensors[LOGITS]
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        raise ConversionError(
            f"the module answers {_told(answer, tensors)}: name the one that counts by output={_example(tensors)}"
        )
    # -1 is the last of a tuple.
    place = output + len(parts) if isinstance(output, int) and output < 0 else output
    if place not in tensors:
        near = difflib.get_close_matches(str(output), list(map(str, tensors)), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConversionError(f"output is {output!r}, but the module answers {_told(answer, tensors)}{hint}")
    return tensors[place]


def _parts(answer: Any) -> dict[str | int, Any]:
    if isinstance(answer, Mapping):
        return dict(answer)
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        return {**dict(zip(answer._fields, answer, strict=True)), **dict(enumerate(answer))}
    if isinstance(answer, tuple | list):
        return dict(enumerate(answer))
    return dict(getattr(answer, "__dict__", {}))


def _told(answer: Any, tensors: Mapping[str | int, Any]) -> str:
    kind = type(answer).__name__
    if not tensors:
        return f"a {kind}, in which there is no tensor"
    return f"a {kind} of {', '.join(f'{name!r} {list(part.shape)}' for name, part in tensors.items())}"


def _example(tensors: Mapping[str | int, Any]) -> str:
    return repr(next(iter(tensors), 0))
