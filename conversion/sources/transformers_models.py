"""An image classifier as transformers saves it: a directory, or a name on the hub."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.classifier import Classifier
from conversion.errors import ConversionError
from conversion.labels import check_labels, label_names, unique_labels
from conversion.sources.extras import import_extra
from conversion.sources.image_processors import described, flips_colours
from conversion.sources.transform_check import OwnTransform
from conversion.sources.weights_file import one_line

if TYPE_CHECKING:
    import torch
    from PIL import Image

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
# The first that is there is read; an index names several files.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SHOWN = 3


def transformers_classifier(
    directory: str | Path, labels: Sequence[str] | None = None, seed: int | None = None
) -> Classifier:
    """Build the image classifier that save_pretrained wrote into a directory, in eval mode and fp32.

    directory: with config.json, preprocessor_config.json and model.safetensors or pytorch_model.bin, which is
        loaded without running what it pickles; a name that is no directory is looked up by transformers, in its
        cache and on the hub. Code that lies beside the weights is never run.
    labels: one per class, in the place of the names in config.json.
    seed: for random weights in the place of those of the file; None reads the file.
    Of the problem_type multi_label_classification, each label is judged by itself. Colours in the order blue,
    green, red are exchanged inside the module.
    Raises ConversionError: no transformers, a missing file, no image classifier, weights that do not fit, a way to
        prepare images that no Preprocessing describes.
    """
    transformers = import_extra("transformers")
    source = str(directory)
    if Path(source).is_dir():
        _check_files(Path(source), seed is None)
    with _one_line_errors(source, seed is None), _quiet():
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
        _check_config(transformers, config, source)
        processor = transformers.AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
        inner = _build(transformers, config, source, seed)
    names = _names(config, source) if labels is None else label_names(labels)
    check_labels(names, config.num_labels)
    flip = flips_colours(processor)
    tensors = getattr(processor, "backend", "") == "torchvision"
    own = OwnTransform("transformers", _Transform(processor, flip), "it resizes tensors" if tensors else "")
    name = Path(source).resolve().name if Path(source).is_dir() else source.rpartition("/")[2]
    apart = config.problem_type == "multi_label_classification"
    return Classifier(
        *(name, _logits_of(inner, flip).eval(), described(processor, source), names),
        sigmoid="added" if apart else None,
        own_transform=own,
    )


def _check_files(directory: Path, with_weights: bool) -> None:
    missing = [file for file in (CONFIG, PROCESSOR) if not (directory / file).is_file()]
    if with_weights and not any((directory / file).is_file() for file in WEIGHTS):
        missing.append(f"{WEIGHTS[0]} (or {WEIGHTS[2]})")
    if missing:
        raise ConversionError(
            f"{directory} lacks {', '.join(missing)}: save the model and its image processor there with "
            "save_pretrained"
        )


def _check_config(transformers: Any, config: Any, source: str) -> None:
    if type(config) not in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ConversionError(
            f"{source}: transformers has no image classifier of the type {config.model_type}; name a directory "
            f"whose {CONFIG} is of one"
        )
    if config.problem_type == "regression":
        raise ConversionError(f"{source}: its problem_type is regression, and a Classifier answers classes")
    channels = getattr(config, "num_channels", 3)
    if channels != 3:
        raise ConversionError(f"{source}: it takes {channels} channels, and its image processor gives RGB")


def _build(transformers: Any, config: Any, source: str, seed: int | None) -> torch.nn.Module:
    import torch

    auto = transformers.AutoModelForImageClassification
    module: torch.nn.Module
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = auto.from_config(config, trust_remote_code=False, dtype=torch.float32)
        return module
    module, loading = auto.from_pretrained(
        source, config=config, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
    )
    # transformers fills what is missing with random numbers, and goes on.
    if missing := sorted(loading["missing_keys"]):
        listed = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise ConversionError(
            f"{source}: its weights do not fit a {type(module).__name__}: {len(missing)} missing ({listed}); name "
            "a directory of a trained image classifier"
        )
    return module


def _names(config: Any, source: str) -> tuple[str, ...]:
    try:
        listed = [config.id2label[index] for index in range(config.num_labels)]
    except KeyError as error:
        raise ConversionError(
            f"{source}: id2label in {CONFIG} has no name for class {error}: give labels, one per class"
        ) from None
    return unique_labels(label_names(listed))


def _logits_of(inner: torch.nn.Module, flip: bool) -> torch.nn.Module:
    import torch

    class Logits(torch.nn.Module):
        """Answer the logits alone, of pixels in the order red, green, blue."""

        def __init__(self, model: torch.nn.Module, flip: bool) -> None:
            super().__init__()
            self.model = model
            self.flip = flip

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if self.flip:
                red, green, blue = pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]
                pixels = torch.cat((blue, green, red), dim=1)
            logits: torch.Tensor = self.model(pixel_values=pixels).logits
            return logits

    return Logits(inner, flip)


class _Transform:
    """Let an image processor prepare a picture, with the colours in the order that the wrapped module takes."""

    def __init__(self, processor: Any, flip: bool) -> None:
        self.processor, self.flip = processor, flip

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        numbers: torch.Tensor = self.processor(picture, return_tensors="pt")["pixel_values"]
        return numbers.flip(1) if self.flip else numbers


@contextlib.contextmanager
def _one_line_errors(source: str, with_weights: bool) -> Iterator[None]:
    """Make what transformers says at length one line that names the file."""
    try:
        yield
    except ConversionError:
        raise
    except Exception as error:
        if Path(source).is_dir():
            raise ConversionError(f"{source} cannot be loaded by transformers ({one_line(error)})") from error
        raise ConversionError(_not_there(source, with_weights, error)) from error


def _not_there(source: str, with_weights: bool, error: Exception) -> str:
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = {
            file: isinstance(try_to_load_from_cache(source, file), str) for file in (CONFIG, PROCESSOR, *WEIGHTS)
        }
    except HFValidationError:
        return f"{source} is no directory, and no name of the hub: check the path"
    missing = [file for file in (CONFIG, PROCESSOR) if not cached[file]]
    if with_weights and not any(cached[file] for file in WEIGHTS):
        missing.append(WEIGHTS[0])
    if not missing:
        return f"{source}, in the cache {constants.HF_HUB_CACHE}, cannot be loaded ({one_line(error)})"
    return (
        f"{source} is no directory, and {missing[0]} of the repository {source} is not in the cache "
        f"{constants.HF_HUB_CACHE} and could not be downloaded ({one_line(error)}): check the path, or fetch it"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' tables and bars of loading off the screen; what is wrong is an error of ours."""
    from transformers.utils import logging as bars

    logger, drawn = logging.getLogger("transformers"), bars.is_progress_bar_enabled()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    bars.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
        if drawn:
            bars.enable_progress_bar()
