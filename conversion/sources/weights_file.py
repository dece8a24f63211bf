"""A file of weights -> a state dict, and a state dict -> a module: what all sources of classifiers share."""

from __future__ import annotations

import re
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from conversion.errors import ConversionError
from conversion.files.git_lfs import tell_pointer
from conversion.files.regular_files import MISSING, why_no_file

if TYPE_CHECKING:
    import torch

_SHOWN = 3
# Where training scripts keep the weights beside the rest; first their mean over the training, which is what counts.
_WRAPPINGS = ("state_dict_ema", "model_ema", "state_dict", "model")
# What torch.compile and DistributedDataParallel put before every key.
_WRAPPERS = re.compile(r"^(?:_orig_mod\.|module\.)+")


def read_weights(path: Path) -> Any:
    """Read a file of weights without running what it pickles: .safetensors, or .pth as torch.save writes it.

    Raises ConversionError: no file, damaged, or it holds objects of other packages.
    """
    why = why_no_file(path)
    if why == MISSING:
        raise ConversionError(f'weights file {path} does not exist: check the path, or pass "DEFAULT" or None')
    if why:
        raise ConversionError(f"weights file {path} {why}")
    if pointer := tell_pointer(path):
        raise ConversionError(f"weights file {path} is {pointer}")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        raise ConversionError(f"{path} needs the package safetensors: pip install safetensors") from None
    except Exception as error:
        foreign = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if foreign:
            raise ConversionError(
                f"weights file {path} holds an object of {foreign[1]}, and loading it would run code from the "
                "file: save the weights alone, torch.save(model.state_dict(), path)"
            ) from error
        raise ConversionError(
            f"weights file {path} is damaged or no file of weights ({one_line(error)}): .pth as torch.save "
            "writes it and .safetensors can be read"
        ) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def unwrapped(checkpoint: Any) -> Any:
    """Return the state dict of a training script's checkpoint; anything else as it is."""
    if not isinstance(checkpoint, dict):
        return checkpoint
    inside = next((checkpoint[key] for key in _WRAPPINGS if isinstance(checkpoint.get(key), dict)), checkpoint)
    # In place of a copy, because PyTorch keeps the layout's version as an attribute of the dict.
    for key in [key for key in inside if isinstance(key, str) and _WRAPPERS.match(key)]:
        inside[_WRAPPERS.sub("", key)] = inside.pop(key)
    return inside


def load_weights(
    module: torch.nn.Module, state: Any, what: str, key_of: Callable[[str], str] = lambda key: key
) -> None:
    """Put a state dict into a module, every weight of both.

    what: names the weights in errors. key_of: names a stored key as the module does; "" leaves a weight out.
    Raises ConversionError: no state dict, or one that does not fit.
    """
    import torch

    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        content = f"a dict with {_shortened(map(repr, state))}" if isinstance(state, dict) else type(state).__name__
        raise ConversionError(
            f"{what}: found {content} instead of a state dict; save torch.save(model.state_dict(), path)"
        )
    # PyTorch keeps the version of every module's layout beside the weights. Old files and .safetensors have none:
    # then the model's own is taken to be today's, which MNASNet insists on, and those of its parts are left open,
    # so that batch norms stored before they counted batches still load.
    own: Any = module.state_dict()
    layout = getattr(state, "_metadata", None) or {"": own._metadata[""]}
    state = OrderedDict((key_of(key), value) for key, value in state.items() if key_of(key))
    state._metadata = layout
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError:
        different = _different_shapes(module.state_dict(), state)
        if not different:
            raise
        _refuse(what, different=different)
    if missing or unexpected:
        _refuse(what, missing=missing, unexpected=unexpected)


def _different_shapes(wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> list[str]:
    return [
        f"{key} {list(state[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]


def _refuse(what: str, **faults: Sequence[str]) -> NoReturn:
    differences = "; ".join(f"{len(keys)} {kind} ({_shortened(keys)})" for kind, keys in faults.items() if keys)
    raise ConversionError(
        f"{what} does not fit the model, by keys: {differences}. Name the model that the weights were saved from, "
        "and give labels, one per class"
    )


def _shortened(items: Iterable[str]) -> str:
    first = list(islice(items, _SHOWN + 1))
    return ", ".join(first[:_SHOWN]) + (", ..." if len(first) > _SHOWN else "")


def one_line(error: BaseException) -> str:
    """Return what an error says, shortened to one line."""
    return textwrap.shorten(str(error), 200, placeholder="...") or type(error).__name__
