"""What to write instead, in the terms of the tool that wrote the file: a table that one can read.

ONNX files are written by torch.onnx.export, from a module; ML Programs by coremltools' ct.convert; NeuralNetworks
by onnx-coreml, from what torch.onnx.export wrote; Core AI's assets by coreai-torch, from what torch.export gave.
What stands inside the module is mended there, whatever the tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from conversion.artifact import Format
    from parity.diagnosis.examination import Examination

# What is to be mended -> format -> line of code. A format that is absent cannot have the fault.
FIXES: Mapping[str, Mapping[Format, str]] = {
    # The file says that it takes BGR.
    "declared BGR": {
        "mlprogram": "ct.convert(..., inputs=[ct.ImageType(..., color_layout=ct.colorlayout.RGB)])",
        "neuralnetwork": 'onnx_coreml.convert(..., preprocessing_args={{"is_bgr": False}})',
    },
    # The network itself reads the channels in another order, before they are normalised or behind that.
    "channels before": {
        "onnx": "image = image[:, {order}] before it is normalised, then torch.onnx.export",
        "mlprogram": "image = image[:, {order}] before it is normalised, then ct.convert",
        "coreai": "image = image[:, {order}] before it is normalised, then TorchConverter",
        # onnx-coreml converts no Gather, which is what image[:, [2, 1, 0]] becomes.
        "neuralnetwork": "image = torch.cat([image[:, i : i + 1] for i in {order}], 1) before it is normalised, "
        "then onnx_coreml.convert",
    },
    "channels behind": {
        "onnx": "image = image[:, {order}] first in the module's forward, then torch.onnx.export",
        "mlprogram": "image = image[:, {order}] first in the module's forward, then ct.convert",
        "coreai": "image = image[:, {order}] first in the module's forward, then TorchConverter",
        "neuralnetwork": "image = torch.cat([image[:, i : i + 1] for i in {order}], 1) first in the module's "
        "forward, then onnx_coreml.convert",
    },
    "network of BGR": {
        "onnx": "image = image[:, [2, 1, 0]] before it is normalised, then torch.onnx.export",
        "coreai": "image = image[:, [2, 1, 0]] before it is normalised, then TorchConverter",
        "mlprogram": "ct.convert(..., inputs=[ct.ImageType(..., color_layout=ct.colorlayout.BGR)])",
        "neuralnetwork": 'onnx_coreml.convert(..., preprocessing_args={{"is_bgr": True}})',
    },
    "grey input": {
        "mlprogram": "ct.convert(..., inputs=[ct.ImageType(..., color_layout=ct.colorlayout.RGB)])",
        "neuralnetwork": "torch.onnx.export(module, torch.zeros(1, 3, {height}, {width}), ...), then "
        'onnx_coreml.convert(..., image_input_names=["{image}"])',
    },
    # One scale is all that Core ML's image input has; an ONNX file has no input that scales.
    "scale and bias": {
        "onnx": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
        "coreai": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
        "mlprogram": "ct.convert(..., inputs=[ct.ImageType(scale={scale}, bias=[{biases}], "
        "color_layout=ct.colorlayout.RGB)])",
        "neuralnetwork": 'onnx_coreml.convert(..., preprocessing_args={{"image_scale": {scale}, "red_bias": {red}, '
        '"green_bias": {green}, "blue_bias": {blue}}})',
    },
    "normalise inside": {
        "onnx": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
        "mlprogram": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
        "neuralnetwork": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
        "coreai": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
    },
    "normalise inside instead": {
        "onnx": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
        "coreai": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model)",
        "mlprogram": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model), and ct.ImageType "
        "without scale and bias",
        "neuralnetwork": "model = torch.nn.Sequential(transforms.Normalize({mean}, {std}), model), and "
        "preprocessing_args without image_scale and biases",
    },
    "labels": {
        "onnx": "convert(classifier, route, directory), whose classifier.labels are the outputs' order",
        "coreai": "convert(classifier, route, directory), whose classifier.labels are the outputs' order",
        "mlprogram": "ct.convert(..., classifier_config=ct.ClassifierConfig(list(classifier.labels)))",
        "neuralnetwork": 'onnx_coreml.convert(..., mode="classifier", class_labels=list(classifier.labels))',
    },
    "leave uncompressed": {
        "onnx": "onnxruntime.quantization.quantize_static(..., nodes_to_exclude=[{names}])",
        "mlprogram": "cto.OptimizationConfig(global_config=config, op_name_configs={{{nones}}})",
        "neuralnetwork": "quantize_weights(..., selector=...), whose do_quantize(layer) is `layer.name not in "
        "({names},)`",
    },
    "batch": {
        "onnx": 'torch.onnx.export(..., dynamic_axes={{"{image}": {{0: "batch"}}}})',
        "mlprogram": 'ct.convert(..., inputs=[ct.TensorType(name="{image}", shape=(ct.RangeDim(1, {batch}), 3, '
        "{height}, {width}))])",
        # onnx-coreml takes constant shapes alone.
        "neuralnetwork": "--batch {fixed}",
    },
    "size": {
        "onnx": "torch.onnx.export(module, torch.zeros(1, 3, {height}, {width}), ...)",
        "coreai": "torch.export.export(module, (torch.zeros(1, 3, {height}, {width}),))",
        "mlprogram": "ct.convert(..., inputs=[ct.ImageType(shape=(1, 3, {height}, {width}))])",
        "neuralnetwork": "torch.onnx.export(module, torch.zeros(1, 3, {height}, {width}), ...), then "
        "onnx_coreml.convert",
    },
    "output's name": {
        "onnx": 'torch.onnx.export(..., output_names=["{wanted}"])',
        "coreai": 'TorchConverter().add_exported_program(program, output_names=["{wanted}"])',
        "mlprogram": 'ct.utils.rename_feature(spec, "{name}", "{wanted}")',
        "neuralnetwork": 'torch.onnx.export(..., output_names=["{wanted}"]), then onnx_coreml.convert',
    },
    "declared output": {
        "mlprogram": 'spec.description.predictedProbabilitiesName = "{name}"',
        "neuralnetwork": 'spec.description.predictedProbabilitiesName = "{name}"',
    },
    "wrong output": {
        "onnx": "return `{name}` as the output {wanted}",
        "coreai": "return `{name}` as the output {wanted}",
        "mlprogram": 'ct.ClassifierConfig(labels, predicted_probabilities_output="{name}")',
        "neuralnetwork": 'spec.neuralNetworkClassifier.labelProbabilityLayerName = "{name}"',
    },
    "wrong array": {
        "onnx": "return `{name}` as the output {wanted}",
        "coreai": "return `{name}` as the output {wanted}",
        "mlprogram": "return `{name}` alone from the module that is traced",
        "neuralnetwork": "return `{name}` as the output {wanted}, then onnx_coreml.convert",
    },
    "compute unit": {
        "mlprogram": "ct.models.MLModel(path, compute_units=ct.ComputeUnit.{unit})",
        # In the app: the tool that wrote the file has nothing that loads it.
        "neuralnetwork": "configuration.computeUnits = .{swift}",
    },
    # coremltools 9.0 reads it where a trace has it; in what torch.export gives it stands elsewhere.
    "tanh of GELU": {
        "mlprogram": 'ct.convert(torch.jit.trace(model.eval(), example), ...), for approximate="tanh" is lost on '
        "the way from torch.export"
    },
    "fp32": {
        "mlprogram": "ct.convert(..., compute_precision=ct.precision.FLOAT32)",
        "coreai": "the route coreai: the module without .half() goes into torch.export.export",
    },
}


def fix(kind: str, format_: Format, /, **values: object) -> str:
    """Write a fix of the table for a file of a format; empty where there is none. values: what its line names."""
    return FIXES[kind].get(format_, "").format_map(values)


def channels(examination: Examination, order: Sequence[int], normalised: bool) -> str:
    """Write how the channels get into order.

    order: which of the image's channels each of the network's is. normalised: each with its own colour's mean and
    std, so that they changed places behind that; else by place, so that they did before.
    """
    format_ = examination.file.artifact.format
    if tuple(order) == (2, 1, 0) and _declares_bgr(examination):
        return fix("declared BGR", format_)
    if tuple(order) == (2, 1, 0) and not normalised:
        return fix("network of BGR", format_)
    places = [int(place) for place in np.argsort(order)]
    return fix("channels behind" if normalised else "channels before", format_, order=places)


def normalisation(examination: Examination, bare: bool) -> str:
    """Write the classifier's normalisation. bare: the file scales nothing now, so there is nothing to take away."""
    statistics, format_ = examination.reference.model.preprocessing, examination.file.artifact.format
    mean, std = np.array(statistics.mean, np.float64), np.array(statistics.std, np.float64)
    inside = {"mean": numbers(255 * mean), "std": numbers(255 * std)}
    if len(std) == 3 and float(std.max() - std.min()) < 1e-12:
        red, green, blue = (f"{x:.8g}" for x in -mean / std)
        once = {"scale": f"{1 / (255 * std[0]):.8g}", "biases": ", ".join((red, green, blue))}
        return fix("scale and bias", format_, **inside, **once, red=red, green=green, blue=blue)
    return fix("normalise inside" if bare else "normalise inside instead", format_, **inside)


def compute_units(format_: Format, unit: str) -> str:
    """Write how a file is run on another compute unit."""
    first, *others = unit.lower().split("_")
    return fix("compute unit", format_, unit=unit, swift=first + "".join(word.capitalize() for word in others))


def numbers(values: np.ndarray) -> str:
    """Write numbers as a tuple, with as many digits as a float32 has: rounded to fewer they would be other ones."""
    return f"({', '.join(f'{float(value):.8g}' for value in values)})"


def _declares_bgr(examination: Examination) -> bool:
    editable = examination.file.editable
    return editable.verbs.declares_bgr(editable.content)
