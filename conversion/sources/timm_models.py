"""Any of timm's classification models, by name: its weights, preprocessing and labels."""

from __future__ import annotations

import contextlib
import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from conversion.classifier import Classifier, Interpolation, Preprocessing
from conversion.errors import ConversionError
from conversion.labels import check_labels, label_names, unique_labels
from conversion.sources.extras import import_extra
from conversion.sources.transform_check import OwnTransform
from conversion.sources.weights_file import load_weights, one_line, read_weights, unwrapped

if TYPE_CHECKING:
    import torch


def timm_classifier(
    name: str, weights: str | Path | None = None, seed: int = 0, labels: Sequence[str] | None = None
) -> Classifier:
    """Build one of timm's models, in eval mode.

    name: with timm's tag or without, `mobilenetv4_conv_small.e2400_r224_in1k`; it decides the preprocessing too.
    weights: None for random ones from `seed`; "DEFAULT" for those of the tag, downloaded once by timm; or a file
        that holds a state dict or the checkpoint of a training (.safetensors, or .pth, loaded without running what
        it pickles), with the model's own keys or those that timm converts for this model.
    labels: one per class; default are the names of the ImageNet classes where timm knows that their number means
        these, `class_0` and so on otherwise. Their number sets the model's outputs.
    Preprocessing is that of timm's evaluation transform at the size that the weights were trained for.
    Raises ConversionError: no timm, unknown name, failed download, a file that does not fit, a transform that no
        Preprocessing describes.
    """
    timm = import_extra("timm")
    known = _configuration(timm, name)
    if not labels and not known.get("num_classes"):
        raise ConversionError(f"timm's {name} has no classes, it answers features: give labels, one per class")
    names = _imagenet_names(timm, known["num_classes"]) if labels is None else label_names(labels)
    check_labels(names, known["num_classes"] if weights == "DEFAULT" else None)

    if weights == "DEFAULT":
        module = _downloaded(timm, name, known)
    else:
        module = _build(timm, name, seed, num_classes=len(names))
    if weights is not None and weights != "DEFAULT":
        module = _with_file(timm, name, module, Path(weights), len(names))
    config = timm.data.resolve_model_data_config(module)
    preprocessing = _preprocessing(name, config)
    own = OwnTransform("timm", timm.data.create_transform(**config, is_training=False))
    return Classifier(name, module.eval(), preprocessing, names, own_transform=own)


def _configuration(timm: Any, name: str) -> dict[str, Any]:
    """Return what timm knows of a model and its tag; an unknown name is refused with near ones."""
    architecture, _, tag = name.partition(".")
    near: list[str] = []
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.4)
    else:
        try:
            found = timm.get_pretrained_cfg(name)
            return {"num_classes": 1000} if found is None else dict(found.to_dict())
        except RuntimeError:  # the tag
            tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
            listed = difflib.get_close_matches(tag, tags, n=3, cutoff=0.0)
            near = [f"{architecture}.{one}" for one in listed] or [architecture]
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise ConversionError(
        f"timm has no model {name!r}: {hint}timm.list_models() lists all, timm.list_pretrained() tags"
    )


def _imagenet_names(timm: Any, classes: int) -> tuple[str, ...]:
    subset = timm.data.infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        return tuple(f"class_{index}" for index in range(classes))
    return unique_labels(timm.data.ImageNetInfo(subset).label_descriptions())


def _build(timm: Any, name: str, seed: int, **options: Any) -> torch.nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: torch.nn.Module = timm.create_model(name, **options)
    return module


def _with_file(timm: Any, name: str, module: torch.nn.Module, path: Path, classes: int) -> torch.nn.Module:
    state = unwrapped(read_weights(path))
    try:
        load_weights(module, state, f"{path} for {name}")
    except ConversionError as error:
        # Weights in the layout of the model's authors: timm converts those on the way from a download.
        source = {"state_dict": state, "num_classes": classes, "label_offset": 0}
        try:
            return _build(timm, name, 0, num_classes=classes, pretrained=True, pretrained_cfg_overlay=source)
        except Exception:
            raise error from None
    return module


def _downloaded(timm: Any, name: str, known: Mapping[str, Any]) -> torch.nn.Module:
    repository, url = known.get("hf_hub_id"), known.get("url")
    if not repository and not url:
        raise ConversionError(
            f"timm has no weights for {name}: timm.list_pretrained() lists the names that have some"
        )
    try:
        # What announces a download on stdout would mix with a command's own answer.
        with contextlib.redirect_stdout(sys.stderr):
            return _build(timm, name, 0, pretrained=True)
    except Exception as error:
        _refuse_download(name, repository, url, known.get("hf_hub_filename") or "model.safetensors", error)


def _refuse_download(name: str, repository: str | None, url: str | None, file: str, error: Exception) -> NoReturn:
    import torch

    stored: Path | None
    if repository:
        from huggingface_hub import constants, try_to_load_from_cache

        identity, _, revision = repository.partition("@")
        cached = try_to_load_from_cache(identity, file, revision=revision or None)
        stored, missing, place = (
            Path(cached) if isinstance(cached, str) else None,
            f"{file} of the repository {repository}",
            f"the cache {constants.HF_HUB_CACHE}",
        )
    else:
        missing, folder = str(url), Path(torch.hub.get_dir()) / "checkpoints"
        stored, place = folder / Path(missing).name, f"the cache {folder}"
    if stored and stored.exists():
        raise ConversionError(
            f"the weights of timm's {name}, downloaded earlier to {stored}, cannot be loaded ({one_line(error)}): "
            "delete the file to download it again"
        ) from error
    raise ConversionError(
        f"the weights of timm's {name} are missing: {missing} is not in {place} and could not be downloaded "
        f"({one_line(error)}): pass the path of such a file as weights"
    ) from error


def _preprocessing(name: str, config: Mapping[str, Any]) -> Preprocessing:
    channels, height, width = config["input_size"]
    # As timm's transform computes them.
    scaled = tuple(math.floor(side / config["crop_pct"]) for side in (height, width))
    squashed = config["crop_mode"] == "squash"
    strange = [
        f"{channels} channels" if channels != 3 else "",
        "crop_mode border: it pads with the mean colour" if config["crop_mode"] == "border" else "",
        f"crop_mode {config['crop_mode']} for {height}x{width}" if not squashed and height != width else "",
        f"interpolation {config['interpolation']}"
        if config["interpolation"] not in get_args(Interpolation)
        else "",
    ]
    if any(strange):
        raise ConversionError(
            f"timm prepares images for {name} in a way that no Preprocessing describes "
            f"({'; '.join(filter(None, strange))}): build the module with timm, and a Classifier with a "
            "Preprocessing of your own"
        )
    return Preprocessing(
        size=(height, width),
        mean=config["mean"],
        std=config["std"],
        resize=scaled if squashed else scaled[0],
        interpolation=config["interpolation"],
    )
