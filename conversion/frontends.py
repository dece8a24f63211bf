"""A PyTorch module -> what ct.convert reads: a trace of TorchScript, or a program of torch.export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from conversion.deployed import without_mha_fastpath
from conversion.errors import ConversionError
from conversion.respellings import for_coreml

if TYPE_CHECKING:
    from conversion.shapes import OpenAxes

Frontend = Literal["trace", "export"]
FRONTENDS: tuple[Frontend, ...] = get_args(Frontend)

# What is spelled anew may need it again, but not for ever.
_SPELLINGS = 4
# coremltools converts programs of torch.export from this major version on.
_EXPORT_SINCE = 8


def traced(module: Any, example: Any, opened: OpenAxes) -> Any:
    """Trace a module with TorchScript."""
    import torch

    open_trace = bool(_open_axes(opened))
    with without_mha_fastpath(), torch.no_grad(), for_coreml(open_trace):
        return torch.jit.trace(module, example, check_trace=False)


def exported(ct: Any, module: Any, example: Any, opened: OpenAxes) -> Any:
    """Export a module with torch.export, in the ATen operations that coremltools reads.

    The example of an open batch must hold two images: of one, torch.export would take the batch for the constant 1.
    """
    import torch

    if int(ct.__version__.split(".")[0]) < _EXPORT_SINCE:
        raise ConversionError(
            f'coremltools {ct.__version__} cannot convert what torch.export gives (frontend = "export"); versions '
            f"from {_EXPORT_SINCE} on can"
        )
    dynamic = torch.export.Dim.DYNAMIC
    axes = dict.fromkeys(_open_axes(opened), dynamic)
    with without_mha_fastpath(), torch.no_grad():
        with for_coreml():
            program = torch.export.export(module, (example,), dynamic_shapes=(axes,) if axes else None)
        return _spelled(ct, program.run_decompositions(_decompositions()))


def tell_lost(ct: Any, program: Any, model: Any) -> str:
    """Say what coremltools lost of a program of torch.export without a word; empty where nothing is known of it.

    coremltools 9.0 reads the setting of GELU where a trace has it, and a program of torch.export has it elsewhere.
    model: what ct.convert made of it.
    """
    import torch

    nodes = [node for node in program.graph.nodes if node.target is torch.ops.aten.gelu.default]
    wanted = sum(node.kwargs.get("approximate") == "tanh" for node in nodes)
    kept = [operation.mode.val for operation in model._mil_program.functions["main"].find_ops(op_type="gelu")]
    lost = wanted - kept.count("TANH_APPROXIMATION")
    if lost <= 0:
        return ""
    return (
        f'coremltools {ct.__version__} made {lost} GELU of approximate="tanh" exact, which torch.export told it '
        '[g-gelu-variant]; torch.jit.trace (frontend = "trace") keeps the tanh'
    )


def _open_axes(opened: OpenAxes) -> tuple[int, ...]:
    if opened.batch:
        return (0,)
    return (2, 3) if opened.sizes or opened.height else ()


def _decompositions() -> Any:
    """Spell operations that coremltools cannot convert as others that do the same.

    torchvision's swin writes the one, swin and swin_v2 the other. All that is not listed stays as it is.
    """
    import torch

    return {
        torch.ops.aten.alias.default: lambda value: value,
        torch.ops.aten.zero.default: torch.zeros_like,
    }


def decomposes(operation: str) -> bool:
    """Say whether PyTorch spells an operation of ATen as others, so that coremltools need not know it."""
    import torch

    return any(
        target.namespace == "aten" and target.__name__.partition(".")[0] == operation
        for target in torch.export.default_decompositions()
    )


def _spelled(ct: Any, program: Any) -> Any:
    """Spell what coremltools cannot convert as PyTorch itself decomposes it.

    timm's convnextv2, crossvit and gcvit need it. What PyTorch does not decompose stays, and the conversion fails
    with its name.
    """
    import torch

    # Not in every version that is tested: without it coremltools is given what there is.
    converts = getattr(ct.converters.mil.frontend.torch, "is_torch_fx_node_supported", None)
    if converts is None:
        return program
    table = torch.export.default_decompositions()
    for _ in range(_SPELLINGS):
        calls = [node for node in program.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
        lacking = {node.target for node in calls if node.target in table and not converts(node)}
        if not lacking:
            break
        program = program.run_decompositions({target: table[target] for target in lacking})
    return program
