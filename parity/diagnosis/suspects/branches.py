"""What Python decided while the model was traced: the file holds one branch of the code, whatever the image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from parity.backends.reference import Reference
from parity.core.refusals import EXPECTED, refusals
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.environment import with_answers

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Let PyTorch take each route through its code for all images, and see whether one is the file's."""
    from conversion.deployed import deployed_module, example_pixels, pixels_to_tensor

    module = deployed_module(examination.reference.model)
    tensors = [pixels_to_tensor(image[None]) for image in examination.pixels]
    example = example_pixels(examination.reference.model)
    routes = {_operations(module, image): image for image in (*tensors, example)}
    if len(routes) < 2:
        return
    for image in routes.values():
        frozen = _frozen(module, image)
        if frozen is None:
            continue
        same = sum(_operations(module, one) == _operations(module, image) for one in tensors)
        yield Suspect(
            "g-trace-constant",
            f"A Python branch was frozen while tracing: PyTorch takes {len(routes)} ways through its code, the "
            f"file one, right for {same} of {len(tensors)} image(s).",
            Repair(
                reference=partial(_answered, frozen),
                evidence="PyTorch held to that one way gives the same answers",
                fix="write the branch with torch.where or torch.cond",
            ),
        )


def _operations(module: Any, image: Any) -> str:
    """Name the operations that run for an image, in order."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    names: list[str] = []

    class Listing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # Numbers among the arguments may have been worked out from the image in Python.
            names.append(f"{func} {[a for a in args if _is_plain(a)]}")
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Listing():  # type: ignore[no-untyped-call]
        module(image)
    return "\n".join(names)


def _is_plain(argument: Any) -> bool:
    if isinstance(argument, list | tuple):
        return all(_is_plain(one) for one in argument)
    return isinstance(argument, int | float)


def _frozen(module: Any, image: Any) -> Any:
    import warnings

    import torch

    from conversion.deployed import without_mha_fastpath

    try:
        with warnings.catch_warnings(), torch.no_grad(), without_mha_fastpath(), refusals("tracing"):
            warnings.simplefilter("ignore")
            return torch.jit.trace(module, image, check_trace=False)
    except EXPECTED:  # what cannot be traced was not traced
        return None


def _answered(frozen: Any, reference: Reference) -> Reference:
    from conversion.deployed import answer_singly

    with refusals("PyTorch held to one way"):
        return with_answers(reference, answer_singly(frozen, reference.images.pixels))
