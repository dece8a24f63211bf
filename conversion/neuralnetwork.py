"""PyTorch -> ONNX -> NeuralNetwork (.mlmodel), the historic chain: TorchScript exporter, then onnx-coreml 1.3.

onnx-coreml was last released in 2020. It runs beside today's onnx and coremltools with the two aliases below, and
gives the specification that it gave then (tests/conversion/test_neuralnetwork.py holds the digest).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from conversion.errors import ConversionError, NotInstalledError
from conversion.guards.quiet import import_coremltools
from conversion.onnx import INPUT, export_onnx_torchscript
from conversion.provenance import KEY, Provenance
from conversion.shapes import OpenAxes
from conversion.task import PROBABILITIES

if TYPE_CHECKING:
    from conversion.classifier import Classifier

# The last opset before Clip's limits and Slice's bounds became inputs, which onnx-coreml does not read.
OPSET = 9


def convert_onnx_coreml(
    classifier: Classifier,
    path: Path,
    provenance: Provenance,
    opened: OpenAxes,
    to_specification: Callable[..., Any] | None = None,
) -> None:
    """Convert by the classic recipe; the ONNX file that it goes through stays beside the result.

    to_specification: does what `onnx_to_neuralnetwork` does, in another place, and gives the specification.
    """
    if opened.batch:
        raise ConversionError(
            f"{classifier.name}: the route onnx-coreml makes image inputs, which hold one picture, so the batch "
            'cannot stay open; take mlprogram or onnx for dynamic="batch"'
        )
    intermediate = path.with_suffix(".onnx")
    # onnx-coreml takes constant shapes alone; the network that it makes runs at other sizes all the same.
    export_onnx_torchscript(classifier, intermediate, provenance, opened, opset=OPSET, fixed=True)
    classified = {
        "mode": "classifier",
        "class_labels": list(classifier.labels),
        "predicted_feature_name": "classLabel",
    }
    named = classified if classifier.task.outputs[0].kind == PROBABILITIES else {}
    specification = (to_specification or _specification)(intermediate, image_input_names=[INPUT], **named)
    _open_sizes(specification, opened)
    specification.description.metadata.userDefined[KEY] = provenance.to_json()
    import_coremltools().utils.save_spec(specification, str(path))


def _open_sizes(specification: Any, opened: OpenAxes) -> None:
    """Declare the sizes that the image may have."""
    import_coremltools()
    from coremltools.models.neural_network import flexible_shape_utils as flexible

    if opened.sizes:
        sizes = [flexible.NeuralNetworkImageSize(height, width) for height, width in opened.sizes]
        flexible.add_enumerated_image_sizes(specification, INPUT, sizes)
    elif opened.height and opened.width:
        ends = flexible.NeuralNetworkImageSizeRange(opened.height, opened.width)
        flexible.update_image_size_range(specification, INPUT, ends)


def onnx_to_neuralnetwork(path: Path, **options: Any) -> Any:
    """Run onnx_coreml.convert on an ONNX file; returns the MLModel. options: onnx_coreml.convert's own."""
    model = slimmed(path)
    with onnx_coreml() as converter:
        return converter.convert(model, **options)


def _specification(path: Path, **options: Any) -> Any:
    return onnx_to_neuralnetwork(path, **options).get_spec()


def slimmed(path: Path) -> Any:
    """Load an ONNX file in the form that onnx-coreml reads."""
    import onnx

    try:
        import onnxslim
    except ImportError as error:
        raise _not_installed(error) from error
    # Today's exporter gives initializers that several nodes share a node Identity each, which onnx-coreml takes for
    # data that is computed at run time, and refuses as a convolution's weight. onnxslim puts the initializer back.
    return _bounded(onnxslim.slim(onnx.load(str(path))))


def _bounded(model: Any) -> Any:
    """End slices that go on to the end of an axis where the axis ends.

    onnx-coreml writes the size of another axis there: of the batch for the channels, where these alone are sliced.
    """
    import onnx

    if not any(node.op_type == "Slice" for node in model.graph.node):
        return model
    shapes = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*shapes.input, *shapes.value_info)
    }
    for node in model.graph.node:
        bounds = {attribute.name: attribute.ints for attribute in node.attribute}
        if node.op_type != "Slice" or "ends" not in bounds or node.input[0] not in sizes:
            continue
        own = sizes[node.input[0]]
        for place, axis in enumerate(bounds.get("axes") or range(len(bounds["ends"]))):
            if own[axis]:
                bounds["ends"][place] = min(bounds["ends"][place], own[axis])
    return model


@contextmanager
def onnx_coreml() -> Iterator[Any]:
    """Import onnx_coreml with the aliases that let it run beside today's onnx and coremltools."""
    aliases = {
        "onnx.mapping": _onnx_mapping(),
        **_mlmodel_passes(),
    }
    before = {name: sys.modules.get(name) for name in aliases}
    sys.modules.update(aliases)
    try:
        try:
            import onnx_coreml as converter
        except ImportError as error:
            raise _not_installed(error) from error
        yield converter
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _onnx_mapping() -> ModuleType:
    """Stand in for onnx.mapping, which onnx 1.19 removed; onnx-coreml reads one dictionary of it."""
    from onnx import TensorProto, helper

    module = ModuleType("onnx.mapping")
    types = [number for number in TensorProto.DataType.values() if number != TensorProto.UNDEFINED]
    module.TENSOR_TYPE_TO_NP_TYPE = {  # type: ignore[attr-defined]
        number: helper.tensor_dtype_to_np_dtype(number) for number in types
    }
    return module


def _mlmodel_passes() -> dict[str, ModuleType]:
    """Give coremltools' graph passes their name of 2020: coremltools 4 moved them with the rest of nnssa."""
    import_coremltools()
    from coremltools.converters.mil.backend.nn.passes import mlmodel_passes

    parents = ("coremltools.converters.nnssa", "coremltools.converters.nnssa.coreml")
    package = f"{parents[1]}.graph_pass"
    return {**{name: ModuleType(name) for name in (*parents, package)}, f"{package}.mlmodel_passes": mlmodel_passes}


def _not_installed(error: ImportError) -> NotInstalledError:
    return NotInstalledError(
        f"the route onnx-coreml needs packages that are not installed ({error}); "
        "pip install 'coreml-parity[legacy]'"
    )
