"""A reference that is the noisy side: PyTorch in a lower precision than it seems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.backends.reference import Reference
from parity.core.noise import REFERENCE
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
    settings = ", ".join(_shortened()) or "an autocast inside the module, say"
    yield Suspect(
        "p-tf32-reference",
        f"The PyTorch reference is the noisy side: in fp64 it answers otherwise, by {apart:.2g} ({settings}); "
        "rerun it on the CPU in full fp32.",
        Repair(
            reference=in_fp64,
            evidence="PyTorch in fp64 gives the same answers",
            fix='torch.set_float32_matmul_precision("highest")',
        ),
        seen=True,
    )


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
