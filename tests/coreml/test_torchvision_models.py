"""Every architecture that torchvision classifies with: the converted model's logits against PyTorch's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from conversion.guards.quiet import chatter_to, import_coremltools
from conversion.guards.torchvision_guard import torchvision
from parity.coreml import Evaluator

# Model -> the side of its input: the smallest at which the layers still have something to do.
_SIDES = {
    "alexnet": 224,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 128,
    "swin_v2_t": 64,
    "vgg11": 224,
    "vgg11_bn": 224,
    "vit_b_16": 64,
    "wide_resnet50_2": 64,
}
# The architectures that take long to convert, with all their kinds of layers but few of each, for 64 pixels.
_SHALLOW: dict[str, Callable[[Any], nn.Module]] = {
    "convnext": lambda models: models.ConvNeXt(
        [models.convnext.CNBlockConfig(32, 64, 2), models.convnext.CNBlockConfig(64, None, 2)], num_classes=20
    ),
    "densenet": lambda models: models.DenseNet(32, (2, 2), 32, num_classes=20),
    "maxvit": lambda models: models.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=20),
    "swin_v2": lambda models: models.SwinTransformer(
        [4, 4],
        32,
        [2, 2],
        [2, 4],
        [4, 4],
        num_classes=20,
        block=models.swin_transformer.SwinTransformerBlockV2,
        downsample_layer=models.swin_transformer.PatchMergingV2,
    ),
    "vit": lambda models: models.VisionTransformer(64, 16, 2, 4, 64, 128, num_classes=20),
}
_SMALL = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")

_every_model = pytest.mark.skipif(
    os.environ.get("PARITY_ALL_MODELS") != "1",
    reason="takes minutes; the environment variable PARITY_ALL_MODELS=1 runs every architecture in both precisions",
)
# Model, precision, opset. iOS18 has an operation for attention, and from iOS17 on others have more parameters.
_USUAL = [
    *((name, "fp32", "iOS15") for name in (*_SHALLOW, *_SMALL)),
    ("mobilenet_v3_small", "fp16", "iOS15"),
    ("swin_v2", "fp16", "iOS18"),
    ("vit", "fp16", "iOS18"),
]
_ALL = [(name, precision, "iOS15") for name in (*_SHALLOW, *_SIDES) for precision in ("fp32", "fp16")] + [
    (name, "fp16", target) for name in ("swin_v2", "vit") for target in ("iOS17", "iOS18")
]
_CASES = [pytest.param(*case, id="-".join(case), marks=[] if case in _USUAL else _every_model) for case in _ALL]


class _Normalised(nn.Module):
    """Take pixels 0..255, answer logits."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.module((image - self.mean) / self.std)


class _WhatCoremltoolsKnows(TorchFunctionMode):
    """Trace two functions, which coremltools cannot convert, as others that do the same."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.zero_:
            return args[0].fill_(0.0)
        if function is torch.swapaxes:
            return torch.transpose(*args)
        return function(*args, **(kwargs or {}))


def _untrained(name: str) -> nn.Module:
    """Build a model whose every parameter and statistic does something.

    torchvision's own start has zeros (biases, the head of a vision transformer), ones (normalisations) and 1e-6
    (ConvNeXt's layer scale), with which whole branches could be wrong unnoticed.
    """
    torch.manual_seed(7)
    models, side = torchvision().models, _SIDES.get(name, 64)
    module = _Normalised(_SHALLOW[name](models) if name in _SHALLOW else _built(models, name, side)).eval()
    normalisations = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.min() == parameter.max():
                parameter.add_(0.2 * torch.randn_like(parameter))
        # Statistics as after training, from a batch, or activations would grow beyond fp16 layer by layer.
        for layer in normalisations:
            layer.train().momentum = 1.0
        module(_pixels(16 if side < 200 else 4, side))
        for layer in normalisations:
            layer.eval()
            layer.running_mean.add_(0.1 * torch.randn_like(layer.running_mean) * layer.running_var.sqrt())
            layer.running_var.mul_(torch.empty_like(layer.running_var).uniform_(0.8, 1.25))
    return module


def _built(models: Any, name: str, side: int) -> nn.Module:
    options: dict[str, Any] = {"num_classes": 20}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    if name == "vit_b_16":
        options |= {"image_size": side}
    module: nn.Module = models.get_model(name, weights=None, **options)
    return module


def _pixels(count: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side)).float()


def _convert(module: nn.Module, image: torch.Tensor, precision: str, target: str) -> Evaluator:
    ct = import_coremltools()
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with chatter_to(), torch.no_grad(), _WhatCoremltoolsKnows():
            traced = torch.jit.trace(module, image, check_trace=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    with chatter_to():
        model = ct.convert(
            traced,
            convert_to="mlprogram",
            inputs=[ct.TensorType(name="image", shape=image.shape)],
            outputs=[ct.TensorType(name="logits")],
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
            skip_model_load=True,
        )
    return Evaluator(model)


def _rounded(module: nn.Module) -> nn.Module:
    """Round the module's weights and what each of its layers answers to fp16."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    for layer in module.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _layer, _inputs, output: output.half().float())
    return module


@pytest.mark.parametrize(("name", "precision", "target"), _CASES)
def test_logits_are_those_of_pytorch(name: str, precision: str, target: str) -> None:
    module = _untrained(name)
    image = _pixels(1, _SIDES.get(name, 64))
    with torch.no_grad():
        reference = module(image).numpy()
    span = float(np.ptp(reference))

    logits = _convert(module, image, precision, target).predict({"image": image.numpy()})["logits"]

    allowed = 1e-4
    if precision == "fp16":
        with torch.no_grad():
            rounded = _rounded(module)(image).numpy()
        # The program rounds more often than once per layer: attention and normalisation are several operations.
        allowed = max(5e-3, 4 * float(np.abs(rounded - reference).max()) / span)
    assert span > 0.01
    assert np.isfinite(logits).all()
    error = float(np.abs(logits - reference).max()) / span
    print(f"{name} {precision} {target}: {error:.1e} of the logits' range, {allowed:.1e} allowed")
    assert error < allowed
