"""Other ways to write one model down: what is done to a module or to a file and leaves every answer as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from conversion.guards.quiet import import_coremltools
from tests.faults.changing import each, only, replaced, setting

# Rewrites a file where it lies.
Rewrite = Callable[[Path], None]


def optimised(level: str) -> Rewrite:
    """Let ONNX Runtime save what it makes of a graph, as somebody does who wants to start faster."""

    def rewrite(path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(path.with_name("optimised.onnx"))
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        path.with_name("optimised.onnx").replace(path)

    return rewrite


def slimmed(path: Path) -> None:
    """Let onnxslim fold and fuse."""
    import onnxslim

    onnx.save(onnxslim.slim(str(path)), str(path))


def to_half(path: Path) -> None:
    """Compute in fp16, between an image and answers that stay fp32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))


def in_onnx(change: Callable[[Any], int]) -> Rewrite:
    """Change a graph; the change says how many of its parts it touched."""

    def rewrite(path: Path) -> None:
        model = onnx.load(str(path))
        assert change(model.graph) > 0
        onnx.checker.check_model(model)
        onnx.save(model, str(path))

    return rewrite


def renamed(graph: Any) -> int:
    """Call the image and the answer by other names."""
    names = {graph.input[0].name: "pixel_values", graph.output[0].name: "output_0"}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    graph.input[0].name, graph.output[0].name = names.values()
    return len(names)


def with_more_outputs(graph: Any) -> int:
    """Give the features and the logits too, and give them first."""
    head = next(node for node in graph.node[::-1] if node.op_type in ("Gemm", "MatMul"))
    softmax = next(node for node in graph.node[::-1] if node.op_type == "Softmax")
    names = head.input[0], softmax.input[0]
    more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]) for name in names]
    outputs = [*more, *graph.output]
    del graph.output[:]
    graph.output.extend(outputs)
    return len(more)


def with_identities(graph: Any) -> int:
    """Put an Identity before every node."""
    nodes = list(graph.node)
    del graph.node[:]
    for number, node in enumerate(nodes):
        if node.input and node.input[0]:
            graph.node.append(helper.make_node("Identity", [node.input[0]], [f"same.{number}"]))
            node.input[0] = f"same.{number}"
        graph.node.append(node)
    return len(graph.node) - len(nodes)


def reshaped(graph: Any) -> int:
    """Flatten by a Reshape."""
    found = [node for node in graph.node if node.op_type == "Flatten"]
    graph.initializer.append(numpy_helper.from_array(np.array([0, -1]), "flat.shape"))
    for node in found:
        node.op_type = "Reshape"
        node.input.append("flat.shape")
        del node.attribute[:]
    return len(found)


def with_dropout(graph: Any) -> int:
    """Leave a Dropout in that is not in training, and so does nothing."""
    place, head = [(i, node) for i, node in enumerate(graph.node) if node.op_type in ("Gemm", "MatMul")][-1]
    graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "drop.ratio"))
    graph.node.insert(place, helper.make_node("Dropout", [head.input[0], "drop.ratio"], ["drop.kept"]))
    head.input[0] = "drop.kept"
    return 1


def unfolded(graph: Any) -> int:
    """Write every batch norm as a multiplication and an addition."""
    weights = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    nodes = list(graph.node)
    del graph.node[:]
    for number, node in enumerate(nodes):
        if node.op_type != "BatchNormalization":
            graph.node.append(node)
            continue
        scale, bias, mean, variance = (weights[name] for name in node.input[1:5])
        epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
        factor = scale / np.sqrt(variance + epsilon)
        for name, value in (("factor", factor), ("shift", bias - mean * factor)):
            tensor = value.astype(np.float32).reshape(-1, 1, 1)
            graph.initializer.append(numpy_helper.from_array(tensor, f"{name}.{number}"))
        graph.node.append(helper.make_node("Mul", [node.input[0], f"factor.{number}"], [f"scaled.{number}"]))
        graph.node.append(helper.make_node("Add", [f"scaled.{number}", f"shift.{number}"], [node.output[0]]))
    return len(graph.node) - len(nodes)


def in_coreml(change: Callable[[Any], None]) -> Rewrite:
    """Change the specification of a Core ML file."""

    def rewrite(path: Path) -> None:
        coremltools = import_coremltools()
        spec = coremltools.utils.load_spec(str(path))
        change(spec)
        if path.is_file():
            coremltools.utils.save_spec(spec, str(path))
            return
        changed, weights = path.with_name("changed.mlpackage"), path / "Data" / "com.apple.CoreML" / "weights"
        coremltools.utils.save_spec(spec, str(changed), weights_dir=str(weights))
        shutil.rmtree(path)
        changed.rename(path)

    return rewrite


def with_features_renamed(spec: Any) -> None:
    """Call the image, the label and the probabilities by other names."""
    description = spec.description
    names = {
        description.input[0].name: "picture",
        description.predictedFeatureName: "bestLabel",
        description.predictedProbabilitiesName: "labelProbabilities",
    }
    for old, new in names.items():
        import_coremltools().utils.rename_feature(spec, old, new)


def with_logits_shown(spec: Any) -> None:
    """Give what the softmax reads as an output too, and give it first."""
    kind = spec.WhichOneof("Type")
    if kind == "mlProgram":
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        softmax = next(operation for operation in block.operations if operation.type == "softmax")
        name = softmax.inputs["x"].arguments[0].name
        block.outputs.insert(0, name)
    else:
        layers = getattr(spec, kind).layers
        name = next(layer for layer in layers if layer.WhichOneof("layer").startswith("softmax")).input[0]
    outputs = list(spec.description.output)
    del spec.description.output[:]
    spec.description.output.add(name=name).type.multiArrayType.dataType = 65568  # FeatureTypes.proto: FLOAT32
    spec.description.output.extend(outputs)


# Change a module; False says that there was nothing to change.
Remodel = Callable[[nn.Module], bool]


class Affine(nn.Module):
    """Multiply and add what a batch norm does."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_var is not None
        assert norm.running_mean is not None
        factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        shift = norm.bias.double() - norm.running_mean.double() * factor
        self.factor, self.shift = (nn.Parameter(x.detach().float().reshape(-1, 1, 1)) for x in (factor, shift))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale and shift the channels."""
        return x * self.factor + self.shift


def batch_norms_unfolded(module: nn.Module) -> bool:
    return replaced(module, nn.BatchNorm2d, Affine)


def left_in(module: nn.Module) -> bool:
    """Leave in what only training needs: Dropout and Identity before the head."""
    head = only(each(module, nn.Linear)[-1])
    return replaced(module, head, lambda part: nn.Sequential(nn.Identity(), nn.Dropout(0.5), part))


tanh_gelu: Remodel = setting(nn.GELU, approximate="tanh")
