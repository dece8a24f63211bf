"""Compressed copies of the tiny classifier, by coremltools' and ONNX's own tools, each made once per process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from conversion import Artifact, Classifier, open_artifact
from conversion.deployed import deployed_module, example_pixels
from conversion.guards.quiet import chatter_to, import_coremltools
from parity.backends import find_backend
from parity.backends.reference import Reference, make_reference
from parity.suite.images import load_images
from tests.parity.tiny import PREPROCESSING, converted, pictures, tiny


@cache
def reference() -> Reference:
    """Let PyTorch answer for the pictures."""
    return make_reference(tiny(), load_images(pictures(), PREPROCESSING))


def answers(artifact: Artifact) -> np.ndarray:
    """Let a file answer for the same pictures."""
    backend = "onnxruntime" if artifact.format == "onnx" else "coreml-evaluator"
    predicted: np.ndarray = find_backend(backend).load(artifact, 1)(reference().images.pixels).probabilities
    return predicted


@cache
def directory() -> Path:
    """Return a directory that goes away with the process."""
    made = Path(tempfile.mkdtemp(prefix="coreml-parity-tests-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def program(classifier: Classifier, target: str, precision: str = "FLOAT16") -> Any:
    """Convert for a deployment target; coremltools' MLModel."""
    import torch

    ct = import_coremltools()
    pixels = example_pixels(classifier)
    with chatter_to(), torch.no_grad():
        return ct.convert(
            torch.jit.trace(deployed_module(classifier), pixels),
            inputs=[ct.ImageType(name="image", shape=tuple(pixels.shape), color_layout=ct.colorlayout.RGB)],
            classifier_config=ct.ClassifierConfig(list(classifier.labels)),
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, precision),
        )


@cache
def _tiny_program(target: str, precision: str) -> Any:
    return program(tiny(), target, precision)


def linear(**settings: Any) -> Callable[[Any], Any]:
    """Quantise in even steps."""
    return lambda model: _compress(model, "linear_quantize_weights", "OpLinearQuantizerConfig", settings)


def palette(**settings: Any) -> Callable[[Any], Any]:
    """Put codebooks in the place of weights."""
    return lambda model: _compress(model, "palettize_weights", "OpPalettizerConfig", settings)


def pruned(share: float) -> Callable[[Any], Any]:
    """Make this share of each weight zero."""
    return lambda model: _compress(
        model, "prune_weights", "OpMagnitudePrunerConfig", {"target_sparsity": share}, joint_compression=None
    )


def _compress(model: Any, verb: str, settings: str, values: Mapping[str, Any], **options: Any) -> Any:
    from coremltools.optimize import coreml as cto

    ops = values.get("op_name_configs")
    rest = {name: value for name, value in values.items() if name not in ("joint_compression", "op_name_configs")}
    config = getattr(cto, settings)(weight_threshold=0, **rest)
    joint = {} if "joint_compression" in options else {"joint_compression": values.get("joint_compression", False)}
    with chatter_to():
        return getattr(cto, verb)(model, cto.OptimizationConfig(config, op_name_configs=ops), **joint)


# Name -> deployment target and what is done, one after the other.
PROGRAMS: Mapping[str, tuple[str, tuple[Callable[[Any], Any], ...]]] = {
    "int8": ("iOS16", (linear(mode="linear_symmetric"),)),
    "uint8 per tensor": ("iOS16", (linear(mode="linear", dtype="uint8", granularity="per_tensor"),)),
    "int8 of iOS17": ("iOS17", (linear(mode="linear"),)),
    "int8 of iOS18": ("iOS18", (linear(mode="linear"),)),
    "int4 in blocks": (
        "iOS18",
        (linear(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=8),),
    ),
    "4-bit palette": ("iOS16", (palette(mode="kmeans", nbits=4),)),
    "even 6-bit palette": ("iOS16", (palette(mode="uniform", nbits=6),)),
    "grouped palette": (
        "iOS18",
        (palette(mode="kmeans", nbits=3, granularity="per_grouped_channel", group_size=2),),
    ),
    "scaled palette": (
        "iOS18",
        (
            palette(
                mode="kmeans",
                nbits=4,
                granularity="per_grouped_channel",
                group_size=2,
                enable_per_channel_scale=True,
            ),
        ),
    ),
    "quantised palette": (
        "iOS18",
        (
            palette(mode="kmeans", nbits=4),
            linear(mode="linear_symmetric", granularity="per_tensor", joint_compression=True),
        ),
    ),
    "vectors": ("iOS18", (palette(mode="kmeans", nbits=4, cluster_dim=2),)),
    "pruned": ("iOS16", (pruned(0.5),)),
    "pruned of iOS18": ("iOS18", (pruned(0.5),)),
    "pruned int8": ("iOS18", (pruned(0.5), linear(mode="linear_symmetric", joint_compression=True))),
    "pruned palette": ("iOS18", (pruned(0.5), palette(mode="kmeans", nbits=4, joint_compression=True))),
}


@cache
def compressed(name: str, precision: str = "FLOAT16") -> Artifact:
    """Compress the tiny classifier as PROGRAMS says."""
    target, verbs = PROGRAMS[name]
    return saved(_tiny_program(target, precision), verbs, f"{name} {precision}".replace(" ", "-"))


def saved(model: Any, verbs: tuple[Callable[[Any], Any], ...], name: str) -> Artifact:
    """Compress a model and save it."""
    for verb in verbs:
        model = verb(model)
    path = directory() / f"{name}.mlpackage"
    model.save(str(path))
    return open_artifact(path)


@cache
def quantised_onnx(block: int = 0) -> Artifact:
    """Quantise the kernels of the tiny classifier in ONNX: int8 by channels, or int4 in blocks of columns."""
    model = onnx.load(str(converted("onnx-torchscript").path))
    for tensor in list(model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.ndim < 2 or (block and array.shape[1] % block):
            continue
        parts = array.reshape(len(array), -1, block) if block else array.reshape(len(array), 1, -1)
        scale = np.abs(parts).max(axis=2) / (7 if block else 127)
        wide = scale.repeat(block, 1) if block else scale.reshape(-1, *(1,) * (array.ndim - 1))
        steps = np.round(array / wide).astype(np.int8)
        kind = TensorProto.INT4 if block else TensorProto.INT8
        numbers = helper.make_tensor(f"{tensor.name}.q", kind, steps.shape, steps.reshape(-1).tolist())
        scales = numpy_helper.from_array((scale if block else scale[:, 0]).astype(np.float32), f"{tensor.name}.s")
        attributes = {"axis": 1, "block_size": block} if block else {"axis": 0}
        node = helper.make_node(
            "DequantizeLinear", [numbers.name, scales.name], [tensor.name], f"{tensor.name}.dq", **attributes
        )
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend([numbers, scales])
        model.graph.node.insert(0, node)
    model.opset_import[0].version = 21
    path = directory() / f"quantised-{block}.onnx"
    onnx.save(model, str(path))
    return open_artifact(path)


@cache
def quantised_network(bits: int, mode: str) -> Artifact:
    """Quantise the tiny classifier as a NeuralNetwork."""
    ct = import_coremltools()
    from coremltools.models.neural_network.quantization_utils import quantize_weights

    with chatter_to():
        model = ct.models.MLModel(str(converted("onnx-coreml").path), skip_model_load=True)
        specification = getattr(small := quantize_weights(model, bits, mode), "get_spec", lambda: small)()
        path = directory() / f"network-{bits}-{mode}.mlmodel"
        ct.utils.save_spec(specification, str(path))
    return open_artifact(path)
