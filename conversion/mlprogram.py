"""PyTorch -> ML Program (.mlpackage) with coremltools."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.artifact import Precision, operations_of
from conversion.compression import Compression, compress
from conversion.deployed import deployed_module, example_pixels
from conversion.errors import ConversionError
from conversion.frontends import Frontend, exported, tell_lost, traced
from conversion.guards.quiet import import_coremltools
from conversion.left_uncompressed import tell_left
from conversion.provenance import KEY, Provenance
from conversion.shapes import OpenAxes
from conversion.task import CLASS_PROBABILITIES, PROBABILITIES

if TYPE_CHECKING:
    from conversion.classifier import Classifier

PREDICTED = "classLabel"


def convert_mlprogram(
    classifier: Classifier,
    path: Path,
    provenance: Provenance,
    opened: OpenAxes,
    precision: Precision,
    frontend: Frontend = "trace",
    target: str | None = None,
    compression: Compression | None = None,
    keep_fp32: Sequence[str] = (),
) -> str:
    """Convert with coremltools; image in, `classLabel` and `classLabelProbs` out.

    With an open batch the input is an array [N, 3, H, W] of pixels 0..255, and the one output `classLabelProbs` is
    [N, classes]: Core ML's image is one picture, and its classifier's dictionary one answer.
    target: a name of ct.target; None leaves it to coremltools. keep_fp32: types or names of operations that are not
    computed in fp16. Returns a remark on what coremltools lost or left, empty where nothing is known to be.
    """
    ct = import_coremltools()
    nameable: set[str] = set()
    program = _program(ct, classifier, opened, frontend)
    model = ct.convert(
        program,
        **(_several(ct, classifier, opened) if opened.batch else _single(ct, classifier, opened)),
        convert_to="mlprogram",
        minimum_deployment_target=_target(ct, target),
        compute_precision=_arithmetic(ct, precision, keep_fp32, nameable),
        # Apple's runtime would compile the model here, on a Mac; the backends do that when they load it.
        skip_model_load=True,
    )
    _check_kept(keep_fp32, nameable, model)
    remark = tell_lost(ct, program, model) if frontend == "export" else ""
    if compression:
        model = compress(ct, model, compression)
    specification = model.get_spec()
    if compression:
        remark = "; ".join(filter(None, (remark, tell_left(compression, specification))))
    if dictionary := specification.description.predictedProbabilitiesName:
        # coremltools calls it after the predicted feature; users of the classic recipe know this name.
        ct.utils.rename_feature(specification, dictionary, CLASS_PROBABILITIES)
    specification.description.metadata.userDefined[KEY] = provenance.to_json()
    ct.models.MLModel(specification, weights_dir=model.weights_dir, skip_model_load=True).save(str(path))
    return remark


def _program(ct: Any, classifier: Classifier, opened: OpenAxes, frontend: Frontend) -> Any:
    module = deployed_module(classifier)
    if frontend == "trace":
        return traced(module, example_pixels(classifier), opened)
    return exported(ct, module, example_pixels(classifier, batch=2 if opened.batch else 1), opened)


def _target(ct: Any, name: str | None) -> Any:
    if name is None:
        return None
    if name not in ct.target.__members__:
        raise ConversionError(
            f"coremltools {ct.__version__} has no target {name}; its latest is {list(ct.target)[-1].name}"
        )
    return ct.target[name]


def _arithmetic(ct: Any, precision: Precision, keep_fp32: Sequence[str], nameable: set[str]) -> Any:
    """Say in which precision coremltools is to compute what."""
    if precision == "fp32":
        return ct.precision.FLOAT32
    if not keep_fp32:
        return ct.precision.FLOAT16
    return ct.transform.FP16ComputePrecision(op_selector=_is_rounded(keep_fp32, nameable))


def _is_rounded(keep_fp32: Sequence[str], nameable: set[str]) -> Callable[[Any], bool]:
    """Make the function that says which operations are computed in fp16, and notes what one can name."""
    kept = {_file_name(name) for name in keep_fp32}

    def selector(operation: Any) -> bool:
        if operation.op_type == "const":
            return True
        own = {operation.op_type, *(_file_name(part.name) for part in (operation, *operation.outputs))}
        nameable.update(own)
        return not own & kept

    return selector


def _file_name(name: str) -> str:
    """Name a value as the file does: while coremltools selects, `var_33` is `33` still, and not yet cast."""
    return re.sub(r"^(?=\d)", "var_", re.sub(r"\W", "_", name)).removesuffix("_cast_fp16")


def _check_kept(keep_fp32: Sequence[str], nameable: set[str], model: Any) -> None:
    """Refuse what names no operation; raises ConversionError."""
    if not keep_fp32:
        return
    # One whose constants fp16 cannot hold is in fp32 anyway, and nobody was asked about it.
    listed = [o for o in operations_of(model.get_spec()) if o.type not in ("const", "cast")]
    known = nameable | {o.type for o in listed} | {_file_name(v.name) for o in listed for v in o.outputs}
    for name in keep_fp32:
        if _file_name(name) not in known:
            near = difflib.get_close_matches(_file_name(name), sorted(known), n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            types = ", ".join(sorted({o.type for o in listed}))
            raise ConversionError(
                f"keep_fp32: `{name}` is no operation of this model, neither a type nor a name{meant} "
                f"(types: {types})"
            )


def _single(ct: Any, classifier: Classifier, opened: OpenAxes) -> dict[str, Any]:
    """Say what coremltools is to make of a classifier of one image."""
    import numpy as np

    height, width = classifier.preprocessing.size
    channels = classifier.preprocessing.channels
    colours = ct.colorlayout.RGB if channels == 3 else ct.colorlayout.GRAYSCALE
    shape: Any = (1, channels, height, width)
    if opened.sizes:
        shape = ct.EnumeratedShapes([(1, channels, *size) for size in opened.sizes], default=shape)
    elif opened.height and opened.width:
        ends = ((opened.height, height), (opened.width, width))
        shape = ct.Shape((1, channels, *(ct.RangeDim(*bounds, default=own) for bounds, own in ends)))
    image = ct.ImageType(name="image", shape=shape, color_layout=colours)
    output = classifier.task.outputs[0]
    if output.kind != PROBABILITIES:
        # A classifier of Core ML names one label; of labels apart any number may be right.
        return {"inputs": [image], "outputs": [ct.TensorType(name=output.name, dtype=np.float32)]}
    config = ct.ClassifierConfig(list(classifier.labels), predicted_feature_name=PREDICTED)
    return {"inputs": [image], "classifier_config": config}


def _several(ct: Any, classifier: Classifier, opened: OpenAxes) -> dict[str, Any]:
    """Say what coremltools is to make of a network that takes several images at once."""
    import numpy as np

    size = (classifier.preprocessing.channels, *classifier.preprocessing.size)
    shape = ct.Shape((ct.RangeDim(*(opened.batch or (1, 1))), *size))
    return {
        "inputs": [ct.TensorType(name="image", shape=shape, dtype=np.float32)],
        "outputs": [ct.TensorType(name=classifier.task.outputs[0].name, dtype=np.float32)],
    }
