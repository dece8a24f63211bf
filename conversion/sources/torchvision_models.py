"""Any of torchvision's classification models, by name: its weights, preprocessing and labels."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.classifier import Classifier, Preprocessing
from conversion.errors import ConversionError
from conversion.guards.torchvision_guard import torchvision
from conversion.labels import check_labels, label_names, unique_labels
from conversion.sources.weights_file import load_weights, one_line, read_weights

if TYPE_CHECKING:
    import torch

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
        load_weights(module, _downloaded(name, origin), f"the default weights of {name}", _today)
    elif weights is not None:
        load_weights(module, read_weights(Path(weights)), f"{weights} for {name}", _today)
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
                f"({one_line(error)}): delete the file to download it again"
            ) from error
        raise ConversionError(
            f"the default weights of {name} are not in {stored} and could not be downloaded from {origin.url} "
            f"({one_line(error)}): put the file there, or pass its path as weights"
        ) from error


def _today(key: str) -> str:
    """Name a weight as today's model does; "" for one of an auxiliary head."""
    # torchvision's DenseNet weights are older than PyTorch's rule that a module's name has no dots.
    return "" if key.startswith(_AUXILIARY) else re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
