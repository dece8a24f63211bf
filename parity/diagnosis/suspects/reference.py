"""A reference that is the noisy side: PyTorch in a lower precision than it seems, or rounding that grows in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.backends.reference import Reference
from parity.core.noise import FP32_FACTOR, REFERENCE
from parity.core.refusals import EXPECTED, refusals
from parity.core.tolerance import fp32_ways
from parity.diagnosis.repair import Repair, only
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.environment import with_answers
from parity.diagnosis.torch_side import TorchSide

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Let PyTorch answer in fp64, which neither TF32 nor bfloat16 shortens: a reference must say the same."""
    few = only(examination.reference, examination.screen)
    try:
        exact = in_fp64(few).prediction.probabilities
    except EXPECTED:  # the module insists on fp32
        return
    apart = TorchSide(few).apart(exact)
    if apart <= max(REFERENCE, examination.tolerance / 4):
        return
    repair = Repair(reference=in_fp64, evidence="PyTorch in fp64 gives the same answers")
    reasons = [*_shortened(), *_lower_precision(few)]
    if not reasons:
        message = (
            f"Rounding in fp32 moves PyTorch's own answers by {apart:.2g}, where {examination.tolerance:.2g} is "
            "allowed: the network magnifies it, and any other order of additions gives other answers; look for a "
            "difference of large numbers in it, or judge it by a tolerance of its own."
        )
        yield Suspect("p-fp32-drift", message, repair, seen=True)
        judged = examination.candidate.judgement.max_abs_diff
        if judged is not None and judged <= FP32_FACTOR * apart:
            # The file's own rounding is as large, which PyTorch in fp64 does not undo.
            yield Suspect("p-fp32-drift", message, seen=True)
        return
    yield Suspect(
        "p-tf32-reference",
        f"The PyTorch reference is the noisy side: in fp64 it answers otherwise, by {apart:.2g} "
        f"({', '.join(reasons)}); rerun it on the CPU in full fp32.",
        replace(repair, fix='torch.set_float32_matmul_precision("highest")'),
        seen=True,
    )


def _lower_precision(reference: Reference) -> Iterator[str]:
    """Say which types of less than fp32 PyTorch's own operations answer in: by an autocast inside, for one."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from conversion.deployed import answer_singly, deployed_module

    seen: dict[torch.dtype, str] = {}

    class Noting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for value in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(value, torch.Tensor) and value.dtype.is_floating_point and value.dtype.itemsize < 4:
                    seen.setdefault(value.dtype, func.overloadpacket.__name__)
            return result

    noting: Any = Noting()  # type: ignore[no-untyped-call]
    with refusals("PyTorch, operation by operation"), noting:
        answer_singly(deployed_module(reference.model), reference.images.pixels[:1])
    for dtype, operation in seen.items():
        yield f"its own {operation} answers in {str(dtype).removeprefix('torch.')}"


def in_fp64(reference: Reference) -> Reference:
    """Let a copy of the module answer in fp64."""
    from conversion.deployed import deployed_module

    exactly, *_ = fp32_ways(deployed_module(reference.model))
    with refusals("PyTorch in fp64"):
        return with_answers(reference, exactly(reference.images.pixels))


def _shortened() -> Iterator[str]:
    """List the settings of PyTorch that let fp32 be computed in less."""
    import torch

    try:
        matmul = torch.get_float32_matmul_precision()
    except RuntimeError:  # newer PyTorch refuses to name it once the settings below were used
        matmul = "highest"
    if matmul != "highest":
        yield f"torch.set_float32_matmul_precision is {matmul!r}"
    mkldnn = torch.backends.mkldnn
    for name, place in (("mkldnn.conv", "conv"), ("mkldnn.matmul", "matmul"), ("mkldnn", "")):
        precision = getattr(getattr(mkldnn, place, None) if place else mkldnn, "fp32_precision", "none")
        if precision in ("bf16", "tf32"):
            yield f"torch.backends.{name}.fp32_precision is {precision!r}"
