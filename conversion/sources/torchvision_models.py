"""Any of torchvision's classification models, by name: its weights, preprocessing and labels."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
import textwrap
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from conversion.classifier import Classifier, Preprocessing
from conversion.errors import ConversionError
from conversion.files.git_lfs import tell_pointer
from conversion.files.regular_files import MISSING, why_no_file
from conversion.guards.torchvision_guard import torchvision
from conversion.labels import check_labels, label_names, unique_labels

if TYPE_CHECKING:
    import torch

_SHOWN = 3
# googlenet and inception_v3 are stored with the auxiliary heads that only their training needs.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def torchvision_classifier(
    name: str, weights: str | Path | None = None, seed: int = 0, labels: Sequence[str] | None = None
) -> Classifier:
    """Build one of torchvision's classification models, in eval mode.

    weights: None for random ones from `seed`; "DEFAULT" for the best that torchvision offers, downloaded once;
        or a file that holds a state dict (.pth, loaded without running what it pickles, or .safetensors).
    labels: one per class; default are the names of the ImageNet classes. Their number sets the model's outputs.
    Preprocessing is that of torchvision's default weights, or, for a file that is called like another of its
    downloads, that of those: the versions of one model are resized differently. Trained weights of googlenet and
    inception_v3 get transform_input with it.
    Raises ConversionError: unknown name, failed download, a file that does not fit.
    """
    if name not in torchvision_model_names():
        near = difflib.get_close_matches(name, torchvision_model_names(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise ConversionError(
            f"torchvision has no classification model {name!r}: {hint}"
            "conversion.sources.torchvision_models.torchvision_model_names() lists all"
        )
    offered = torchvision().models.get_model_weights(name)
    origin = offered.DEFAULT
    if weights is not None and weights != "DEFAULT":
        origin = next((entry for entry in offered if Path(entry.url).name == Path(weights).name), origin)
    names = unique_labels(origin.meta["categories"]) if labels is None else label_names(labels)
    check_labels(names, len(origin.meta["categories"]) if weights == "DEFAULT" else None)

    module = _build(name, origin, len(names), None if weights is not None else seed)
    if weights == "DEFAULT":
        _load(module, _downloaded(name, origin), f"the default weights of {name}")
    elif weights is not None:
        _load(module, _read(Path(weights)), f"{weights} for {name}")
    return Classifier(name, module.eval(), _preprocessing(origin.transforms()), names)


def torchvision_model_names() -> tuple[str, ...]:
    """List torchvision's classification models; its detectors, segmenters and quantized models are others."""
    models = torchvision().models
    return tuple(models.list_models(module=models))


def _build(name: str, origin: Any, classes: int, seed: int | None) -> torch.nn.Module:
    import torch

    trained = seed is None
    options: dict[str, Any] = {"num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        # Their trained weights want values -1..1; transform_input makes these from what the preprocessing gives,
        # which is torchvision's usual normalisation.
        options |= {"aux_logits": False, "init_weights": not trained, "transform_input": trained}
    if name.startswith("vit_"):
        # The position embedding has the input's size, and not all weights are for the builder's default of 224.
        options["image_size"] = origin.meta["min_size"][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        module: torch.nn.Module = torchvision().models.get_model(name, weights=None, **options)
    return module


def _preprocessing(transforms: Any) -> Preprocessing:
    side = transforms.crop_size[0]
    return Preprocessing(
        size=(side, side),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        resize=transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
    )


def _downloaded(name: str, origin: Any) -> Any:
    import torch

    stored = Path(torch.hub.get_dir()) / "checkpoints" / Path(origin.url).name
    try:
        # PyTorch announces a download on stdout, where a command's own answer goes, and draws its progress bar on
        # stderr even where nobody watches.
        with contextlib.redirect_stdout(sys.stderr):
            return origin.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except Exception as error:
        if stored.exists():
            raise ConversionError(
                f"the default weights of {name}, downloaded earlier to {stored}, cannot be loaded "
                f"({_one_line(error)}): delete the file to download it again"
            ) from error
        raise ConversionError(
            f"the default weights of {name} are not in {stored} and could not be downloaded from {origin.url} "
            f"({_one_line(error)}): put the file there, or pass its path as weights"
        ) from error


def _read(path: Path) -> Any:
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
            f"weights file {path} is damaged or no file of weights ({_one_line(error)}): .pth as torch.save "
            "writes it and .safetensors can be read"
        ) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _load(module: torch.nn.Module, state: Any, what: str) -> None:
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
    state = OrderedDict((_today(key), value) for key, value in state.items() if not key.startswith(_AUXILIARY))
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


def _today(key: str) -> str:
    # torchvision's DenseNet weights are older than PyTorch's rule that a module's name has no dots.
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


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


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), 200, placeholder="...") or type(error).__name__
