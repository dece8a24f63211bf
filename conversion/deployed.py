"""The model as the phone sees it: pixels 0..255 in, its outputs out, of a classifier probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.errors import ConversionError
from conversion.guards.user_code import user_code
from conversion.task import NOISE

if TYPE_CHECKING:
    import torch

    from conversion.classifier import Model


def deployed_module(model: Model) -> torch.nn.Module:
    """Wrap the module in exact normalisation and the head of its task: float pixels [N, C, H, W], 0..255, go in.

    A classifier's head is softmax: [N, classes]; a model of several outputs gives a tuple.

    The same wrapper is what PyTorch answers with and what every route converts, so a difference between them is
    the conversion's. The statistics have the shape [C, 1, 1] because onnx-coreml takes constants of rank 3 at most,
    and the image is multiplied by 1/std because onnx-coreml makes a division 1 / (x + epsilon), with an epsilon
    that grew from 1e-6 in coremltools 3.4 to 1e-4 in 9.0.
    """
    import torch

    head = model.task.head

    def per_channel(values: Iterable[float]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.float64).to(torch.float32).reshape(-1, 1, 1)

    class Deployed(torch.nn.Module):
        # Not `mean`: onnxscript before 0.6 gives the result of an operation `mean` the same name in the file.
        image_mean: torch.Tensor
        image_scale: torch.Tensor

        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module
            statistics = model.preprocessing
            self.register_buffer("image_mean", per_channel(255.0 * mean for mean in statistics.mean))
            self.register_buffer("image_scale", per_channel(1.0 / (255.0 * std) for std in statistics.std))

        def __call__(self, image: torch.Tensor) -> Any:
            # Around forward, not in it: what exporters see of the module stays as it is.
            with user_code(model.name):
                return super().__call__(image)

        def forward(self, image: torch.Tensor) -> Any:
            return head(self.module((image - self.image_mean) * self.image_scale))

    return Deployed(model.module).eval()


def example_pixels(classifier: Model, batch: int = 1) -> torch.Tensor:
    """Make float pixels [batch, C, H, W] for tracing: every value 0..255 occurs, the same in every run."""
    import torch

    generator = torch.Generator().manual_seed(0)
    size = (batch, classifier.preprocessing.channels, *classifier.preprocessing.size)
    return torch.randint(0, 256, size, generator=generator).to(torch.float32)


@contextmanager
def without_mha_fastpath() -> Iterator[None]:
    """Keep vision transformers in plain operations: the fused encoder layer is one that converters lack."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def check_model(model: Model) -> None:
    """Refuse what would convert into a wrong model: training mode, bad weights, and what its task refuses.

    Of a classifier that is softmax inside, and wrong labels. Where the task asks for it, the module runs once on
    normalised noise. Raises ConversionError.
    """
    check_module(model)
    if model.task.check:
        model.task.check(model.name, _answer_to_noise(model))


def check_module(model: Model) -> None:
    """Refuse what shows without running the module: no module at all, training mode, non-finite weights."""
    import torch

    name, module = model.name, model.module
    if not isinstance(module, torch.nn.Module):
        raise ConversionError(
            f"{name}: the module is a {type(module).__name__}; give a torch.nn.Module that answers logits"
        )
    training = [path or "the module itself" for path, part in module.named_modules() if part.training]
    if training:
        raise ConversionError(
            f"{name}: the module is in training mode ({training[0]}), where batch norm and dropout answer "
            "something else each time; call module.eval() first"
        )
    for path, tensor in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items():
        if tensor.is_meta:
            raise ConversionError(
                f"{name}: the weights `{path}` are on the device meta, which holds no numbers; make the module on "
                "the CPU and load its weights there"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ConversionError(f"{name}: the weights `{path}` contain NaN or infinity; load a sound checkpoint")


def _answer_to_noise(model: Model) -> Any:
    import torch

    shape = (NOISE, model.preprocessing.channels, *model.preprocessing.size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode(), user_code(model.name):
            return model.module(noise)
    except ConversionError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        hint = _other_arithmetic(model.module) or "is Preprocessing.size the size that it was trained for?"
        raise ConversionError(
            f"{model.name}: the module fails on an input of shape {list(noise.shape)}: {said}; {hint}"
        ) from error


def _other_arithmetic(module: torch.nn.Module) -> str:
    """Say what to do about weights that are not on the CPU, or not in fp32."""
    import torch

    for path, parameter in module.named_parameters():
        if parameter.device.type != "cpu":
            return (
                f"the weights `{path}` are on {parameter.device}, and the reference runs on the CPU: module.cpu()"
            )
        if parameter.is_floating_point() and parameter.dtype is not torch.float32:
            return f"the weights `{path}` are {parameter.dtype}, and the reference computes in fp32: module.float()"
    return ""


def answer_singly(
    module: Callable[[torch.Tensor], torch.Tensor],
    pixels: np.ndarray,
    feed: Callable[[torch.Tensor], torch.Tensor] = lambda image: image,
) -> np.ndarray:
    """Let a deployed module answer for uint8 pixels [N, H, W, 3], at least one, one image at a time: [N, classes].

    feed: changes what goes in, its type or its layout.
    """
    import torch

    # Not inference_mode, in which some modules cannot be run at all, and none whose operations are rounded.
    with torch.no_grad():
        return np.stack([module(feed(pixels_to_tensor(image[None])))[0].numpy() for image in pixels])


def pixels_to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Turn uint8 pixels [N, H, W, C] into the deployed module's input: float32 [N, C, H, W], 0..255."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).to(torch.float32)
