"""A converted model on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conversion.errors import ConversionError
from conversion.provenance import KEY, Provenance

Format = Literal["onnx", "mlprogram", "neuralnetwork"]
Precision = Literal["fp32", "fp16"]


@dataclass(frozen=True)
class Artifact:
    """Name a converted model: its file, its format, how it was made.

    route: the name in ROUTES, or `-` for a file that somebody else converted.
    precision: of the arithmetic, as the file declares it.
    intermediate: the file that the route went through (torch -> ONNX -> Core ML), if any.
    """

    path: Path
    format: Format
    precision: Precision
    route: str = "-"
    provenance: Provenance | None = None
    intermediate: Path | None = None


def open_artifact(path: str | Path) -> Artifact:
    """Look at a file that somebody converted and say what it is; what cannot be read is a ConversionError."""
    path = Path(path)
    if not path.exists():
        raise ConversionError(f"{path}: no such file; give a .onnx, a .mlmodel or a .mlpackage")
    readers = {".onnx": _open_onnx, ".mlmodel": _open_coreml, ".mlpackage": _open_coreml}
    if path.suffix not in readers:
        raise ConversionError(f"{path}: the ending {path.suffix or '(none)'} is none of {', '.join(readers)}")
    return readers[path.suffix](path)


def input_size(artifact: Artifact) -> tuple[int, int] | None:
    """Read height and width of the image that the file takes; None where they are open."""
    if artifact.format == "onnx":
        import onnx

        dims = onnx.load(str(artifact.path)).graph.input[0].type.tensor_type.shape.dim
        sizes = [dim.dim_value for dim in dims][2:]
    else:
        from conversion.quiet import import_coremltools

        kind = import_coremltools().utils.load_spec(str(artifact.path)).description.input[0].type
        sizes = [kind.imageType.height, kind.imageType.width]
        if kind.WhichOneof("Type") == "multiArrayType":
            sizes = list(kind.multiArrayType.shape)[-2:]
    return (int(sizes[0]), int(sizes[1])) if len(sizes) == 2 and all(sizes) else None


def _open_onnx(path: Path) -> Artifact:
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's and onnx's own, another class in each version
        raise ConversionError(
            f"{path}: not an ONNX model, or a truncated one ({_first_line(error)}); export it again"
        ) from error
    if not model.graph.output:
        raise ConversionError(
            f"{path}: the file holds no graph with an output; it is empty or truncated, export it again"
        )
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    half = onnx.TensorProto.FLOAT16
    is_fp16 = any(weight.data_type == half for weight in model.graph.initializer)
    return _artifact(path, "onnx", "fp16" if is_fp16 else "fp32", metadata.get(KEY))


def _open_coreml(path: Path) -> Artifact:
    from conversion.quiet import chatter_to, import_coremltools

    coremltools = import_coremltools()
    try:
        with chatter_to():
            specification = coremltools.utils.load_spec(str(path))
    except Exception as error:  # coremltools' own, protobuf's, the operating system's
        raise ConversionError(
            f"{path}: not a Core ML model, or only a part of one ({_first_line(error)}); "
            "copy it again, or convert again"
        ) from error
    kind = specification.WhichOneof("Type")
    if kind is None:
        raise ConversionError(f"{path}: the file holds no model; it is empty or truncated, convert again")
    note = specification.description.metadata.userDefined.get(KEY)
    if kind != "mlProgram":
        return _artifact(path, "neuralnetwork", "fp32", note)
    weights = path / "Data" / "com.apple.CoreML" / "weights"
    if path.is_dir() and not weights.exists() and _refers_to_weights(specification):
        raise ConversionError(
            f"{path}: its weights are missing; copy the whole .mlpackage directory, or convert again"
        )
    return _artifact(path, "mlprogram", _mlprogram_precision(specification), note)


def _mlprogram_precision(specification: Any) -> Precision:
    """Decide by the results of the operations: a program that computes anything in fp16 is judged as fp16."""
    half = 10  # MIL.proto: DataType.FLOAT16
    for function in specification.mlProgram.functions.values():
        for operation in function.block_specializations[function.opset].operations:
            if operation.type != "const" and any(o.type.tensorType.dataType == half for o in operation.outputs):
                return "fp16"
    return "fp32"


def _refers_to_weights(specification: Any) -> bool:
    return any(
        operation.attributes["val"].WhichOneof("value") == "blobFileValue"
        for function in specification.mlProgram.functions.values()
        for operation in function.block_specializations[function.opset].operations
        if operation.type == "const"
    )


def _artifact(path: Path, kind: Format, precision: Precision, note: str | None) -> Artifact:
    provenance = Provenance.from_json(note) if note else None
    intermediate = path.with_suffix(".onnx")
    return Artifact(
        path,
        kind,
        precision,
        route=provenance.route if provenance else "-",
        provenance=provenance,
        intermediate=intermediate if kind != "onnx" and intermediate.is_file() else None,
    )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
