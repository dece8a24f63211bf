"""The module as the reference takes it: on the CPU, in fp32, uncompiled, each weight a plain tensor.

What people have at hand is often none of that: it lies on a GPU, in half precision, inside torch.compile or
DataParallel, or computes its weights from others. Where the same network can be had without, a copy of it is taken
and a remark says so; the module itself stays as it is. Quantised layers have no such copy.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from conversion.errors import ConversionError

if TYPE_CHECKING:
    import torch

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
# Copies that were taken -> what is to be said of each.
_REMARKS: WeakKeyDictionary[Any, tuple[str, ...]] = WeakKeyDictionary()


def remarks_on(module: torch.nn.Module) -> tuple[str, ...]:
    """Return what is to be said of a module that `as_reference` gave; of what is no module, nothing."""
    try:
        return _REMARKS.get(module, ())
    except TypeError:  # None, and what else nobody can hold weakly
        return ()


def as_reference(name: str, module: Any) -> Any:
    """Return the module itself where it can be the reference, else a copy that can.

    What is no module, or has weights on the device meta, is returned for others to refuse. name: of the model.
    Raises ConversionError for a module of which there is no such copy.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        return module
    inner, told = _unwrapped(module)
    _refuse_quantised(name, inner)
    needs = [*_compiled(inner), *_computed(inner), *_elsewhere(inner)]
    if not needs and inner is module:
        return module
    if needs:
        try:
            inner = _copied(inner)
            _simplify(inner)
        except ConversionError:
            raise
        except Exception as error:  # the module's own: it holds what cannot be copied
            said = " ".join(str(error).split()) or type(error).__name__
            raise ConversionError(
                f"{name}: {needs[0]}, and the module cannot be copied without that ({said}); give it on the CPU in "
                "fp32, uncompiled"
            ) from error
    _REMARKS[inner] = tuple(dict.fromkeys((*remarks_on(module), *told, *needs)))
    return inner


def _unwrapped(module: Any) -> tuple[torch.nn.Module, list[str]]:
    """Take what torch.compile, DataParallel and DistributedDataParallel wrap around a module away."""
    import torch

    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    told = []
    while True:
        if hasattr(module, "_orig_mod"):
            module = module._orig_mod
            told.append("PyTorch's module is taken as it was before torch.compile")
        elif isinstance(module, parallel):
            told.append(f"PyTorch's module is taken out of {type(module).__name__}")
            module = module.module
        else:
            return module, told


def _refuse_quantised(name: str, module: torch.nn.Module) -> None:
    import torch

    for path, part in module.named_modules():
        if type(part).__module__.startswith(_QUANTISED):
            raise ConversionError(
                f"{name}: the layer `{path}` is quantised ({type(part).__name__}), and no converter reads that; "
                'give the module as it was before, and compress it in the conversion (weights = "int8")'
            )
    for path, parameter in module.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise ConversionError(
                f"{name}: the weights `{path}` have no shape yet (a lazy module); run the module once on an image"
            )
        if type(parameter.data) not in (torch.Tensor, torch.nn.Parameter):
            raise ConversionError(
                f"{name}: the weights `{path}` are a {type(parameter.data).__name__}, no plain tensor; give the "
                'module as it was before, and compress it in the conversion (weights = "int8")'
            )


def _compiled(module: torch.nn.Module) -> Iterator[str]:
    """Say that parts are compiled."""
    for part in module.modules():
        if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
            yield "PyTorch's module is taken as it was before torch.compile"
            return


def _computed(module: torch.nn.Module) -> Iterator[str]:
    """Say that weights are computed from others each time."""
    from torch.nn.utils import parametrize

    if any(parametrize.is_parametrized(part) or _norm_hooks(part) for part in module.modules()):
        yield (
            "PyTorch's module computes weights from others (weight normalisation, parametrisations); they are "
            "taken as they are now"
        )


def _norm_hooks(module: torch.nn.Module) -> list[Any]:
    """List the hooks of the former weight_norm and spectral_norm."""
    from torch.nn.utils.spectral_norm import SpectralNorm
    from torch.nn.utils.weight_norm import WeightNorm

    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm | SpectralNorm)]


def _elsewhere(module: torch.nn.Module) -> Iterator[str]:
    """Say where weights lie, and in which arithmetic, that are not on the CPU in fp32."""
    import torch

    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type not in ("cpu", "meta"):
            yield f"PyTorch's module lies on {tensor.device}; the reference runs on the CPU"
            break
    # A buffer may be of another type on purpose: a table in float64.
    for tensor in module.parameters():
        if tensor.is_floating_point() and tensor.dtype is not torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            yield f"PyTorch's module has weights of {kind}; the reference computes in fp32 with the same numbers"
            break


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    for part in module.modules():
        for hook in _norm_hooks(part):
            # The computed weight, which every forward computes anew; as the result of a computation it has no copy.
            setattr(part, hook.name, getattr(part, hook.name).detach())
    return copy.deepcopy(module)


def _simplify(module: torch.nn.Module) -> None:
    """Make of a copy what the reference can be."""
    import torch
    from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
    from torch.nn.utils.weight_norm import WeightNorm

    for part in list(module.modules()):
        part._compiled_call_impl = None
        for child, inner in list(part.named_children()):
            if hasattr(inner, "_orig_mod"):
                setattr(part, child, inner._orig_mod)
    with torch.no_grad():
        for part in list(module.modules()):
            for hook in _norm_hooks(part):
                remove: Any = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
                remove(part, hook.name)
            if parametrize.is_parametrized(part):
                computed: Any = part.parametrizations
                for name in list(computed):
                    parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    if not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        module.cpu().float()
