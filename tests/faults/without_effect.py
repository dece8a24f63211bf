"""Injections that are no test: where a fault has no place in a network, and where it moves no answer.

Whatever else finds no place, or moves nothing, fails: an injection that silently does nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

# Fault -> networks that have nothing it could be put into.
NO_PLACE: Mapping[str, tuple[str, ...]] = {
    "padding averaged in or out": (
        "mobilenet_v2_digits",
        "resnet18",
        "mobilenet_v3_small",
    ),
    "ceil mode of the max pool": (
        "mobilenet_v2_digits",
        "resnet18",
        "mobilenet_v3_small",
        "vision_transformer",
    ),
    "padded at one side": ("vision_transformer",),
    "tanh GELU": (
        "mobilenet_v2_digits",
        "resnet18",
        "mobilenet_v3_small",
    ),
    "ReLU6 without its 6": (
        "resnet18",
        "mobilenet_v3_small",
        "vision_transformer",
    ),
    "SiLU for hard swish": (
        "mobilenet_v2_digits",
        "resnet18",
        "plain",
        "vision_transformer",
    ),
    "file: LeakyRelu for Relu": ("mobilenet_v2_digits",),
    "file: clipped elsewhere": (
        "resnet18",
        "shufflenet_v2",
        "vision_transformer",
    ),
    "file: concatenated in another order": (
        "mobilenet_v2_digits",
        "mobilenet_v3_small",
        "plain",
    ),
    "file: first padding at one side": ("vision_transformer",),
    "file: a pool's padding at one side": ("vision_transformer",),
    "batch norm in training mode": ("vision_transformer",),
    "file: dilated": ("vision_transformer",),
    "file: input channels shuffled": ("mobilenet_v3_small",),
    "file: a bias shared": (
        "resnet18",
        "shufflenet_v2",
        "vision_transformer",
    ),
    "file: epsilon of a layer norm": (
        "mobilenet_v2_digits",
        "mobilenet_v3_small",
    ),
    "mean and variance swapped": ("vision_transformer",),
    "input channels permuted": ("vision_transformer",),
    "activations beyond fp16": (
        "mobilenet_v2_digits",
        "mobilenet_v3_small",
        "vision_transformer",
    ),
}
# Fault -> network and format where it is within the noise of a clean conversion, which then is what is looked at.
NO_EFFECT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "softmax over the batch": (("mobilenet_v2_digits", "neuralnetwork"),),
    "epsilon of the norms": (("resnet18", "mlprogram"),),
    "tanh GELU": (("plain", "mlprogram"),),
    "ReLU6 without its 6": (("plain", "mlprogram"),),
    "branch frozen by tracing": (
        ("mobilenet_v2_digits", "mlprogram"),
        ("mobilenet_v2_digits", "onnx"),
        ("mobilenet_v2_digits", "mlprogram-fp32"),
        ("mobilenet_v2_digits", "neuralnetwork"),
    ),
    "file: a residual branch lost": (("shufflenet_v2", "onnx"),),
    "kind: reflect made replicate": (("sliced", "mlprogram"),),
    "kind: rounded inside": (("shuffled", "mlprogram"),),
    "kind: made whole numbers inside": (("mobilenet_v3_small", "mlprogram"),),
    "kind: epsilon of the layer norms": (("plain", "mlprogram"),),
}
