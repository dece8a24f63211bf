"""A converted model on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from conversion.contract import ASSUMED, Contract
from conversion.coreai import described, metadata_of
from conversion.errors import ConversionError, NotInstalledError
from conversion.files.git_lfs import tell_pointer
from conversion.files.model_files import GIVE, external_files, why_no_model, why_no_weights
from conversion.files.packages import read_package, read_specification
from conversion.files.regular_files import DIRECTORY, MISSING, why_no_file
from conversion.precision import Precision as Precision
from conversion.precision import mlprogram_precision, onnx_precision
from conversion.provenance import KEY, Provenance

Format = Literal["onnx", "mlprogram", "neuralnetwork", "coreai"]
# How exporters wrote an open size before ONNX had names for it; runtimes take it so still.
_OPEN = -1
_NEURAL_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")


@dataclass(frozen=True)
class Artifact:
    """Name a converted model: its file, its format, how it was made.

    route: the name in ROUTES, or `-` for a file that somebody else converted.
    precision: of the arithmetic, as the file declares it.
    intermediate: the file that the route went through (torch -> ONNX -> Core ML), if any.
    output: which of its outputs holds the probabilities, where the file's own names do not say it; empty: they do.
    bound: pairs of an output's name in a task that is no classifier's, and its name in the file.
    contract: what the file does itself, and what is left to the app.
    remark: what somebody should know of how it came about, where there is anything.
    """

    path: Path
    format: Format
    precision: Precision
    route: str = "-"
    provenance: Provenance | None = None
    intermediate: Path | None = None
    output: str = ""
    bound: tuple[tuple[str, str], ...] = ()
    contract: Contract = ASSUMED
    remark: str = field(default="", compare=False)


def open_artifact(path: str | Path, contract: Contract = ASSUMED) -> Artifact:
    """Look at a file that somebody converted and say what it is; what cannot be read is a ConversionError.

    contract: what somebody says of it; it goes before what the file's provenance says.
    """
    return under(contract, _open(Path(path)))


def under(contract: Contract, artifact: Artifact) -> Artifact:
    """Put an artefact under a contract; where that says nothing of what the file computes, its own stays."""
    if contract == ASSUMED:
        return artifact
    if contract.source == "assumed":
        own = artifact.contract
        contract = replace(contract, inside=own.inside, range=own.range, source=own.source)
    return replace(artifact, contract=contract, output=contract.output or artifact.output)


def _open(path: Path) -> Artifact:
    why = why_no_file(path)
    if why == MISSING:
        raise ConversionError(f"{path}: no such file; {GIVE}")
    if why and why != DIRECTORY:
        raise ConversionError(f"{path}: {why}")
    if reason := why_no_model(path):
        raise ConversionError(f"{path}: {reason}")
    if why and path.suffix == ".onnx":
        raise ConversionError(f"{path}: {why}, or export it again")
    if path.suffix == ".onnx":
        return _open_onnx(path)
    return _open_coreai(path) if path.suffix == ".aimodel" else _open_coreml(path)


def _open_coreai(path: Path) -> Artifact:
    note = metadata_of(path).get(KEY)
    own = Provenance.from_json(note) if isinstance(note, str) else None
    try:
        precision = described(path).precision
    except NotInstalledError:
        # What one of ours says is enough for a leg that says why it is skipped.
        if own is None or own.options.get("precision") not in ("fp16", "fp32"):
            raise
        precision = "fp16" if own.options["precision"] == "fp16" else "fp32"
    return _artifact(path, "coreai", precision, note if own else None)


def _open_onnx(path: Path) -> Artifact:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        beside = list(external_files(model))
        if reason := why_no_weights(path.parent, beside, "copy them beside it, or export it again"):
            raise ConversionError(f"{path}: {reason}")
        try:
            precision = onnx_precision(model)
        except ConversionError as error:
            raise ConversionError(f"{path}: {error}") from error
        if beside:
            onnx.load_external_data_for_model(model, str(path.parent))
    except ConversionError:
        raise
    except Exception as error:  # protobuf's and onnx's own, another class in each version
        raise ConversionError(
            f"{path}: not an ONNX model, or a truncated one ({_first_line(error)}); export it again"
        ) from error
    # The opsets stand behind the graph, so a file that was cut there still parses.
    if not model.graph.output or not model.opset_import:
        raise ConversionError(
            f"{path}: the file holds no whole ONNX graph; it is empty or truncated, export it again"
        )
    for value in (*model.graph.input, *model.graph.output):
        sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        if any(size < _OPEN for size in sizes):
            raise ConversionError(
                f"{path}: `{value.name}` has the shape {sizes}; a size is a whole number above 0, or a name or "
                f"{_OPEN} where it is open; export it again"
            )
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return _artifact(path, "onnx", precision, metadata.get(KEY))


def _open_coreml(path: Path) -> Artifact:
    if path.is_dir() and (missing := next((p for p in read_package(path).parts if not p.exists()), None)):
        raise ConversionError(
            f"{path}: {missing} is missing; copy the whole .mlpackage directory, or convert again"
        )
    try:
        specification = read_specification(path)
    except ConversionError:
        raise
    except Exception as error:  # protobuf's, the operating system's
        raise ConversionError(
            f"{path}: not a Core ML model, or only a part of one ({_first_line(error)}); "
            "copy it again, or convert again"
        ) from error
    kind = specification.WhichOneof("Type")
    if kind is None:
        raise ConversionError(f"{path}: the file holds no model; it is empty or truncated, convert again")
    note = specification.description.metadata.userDefined.get(KEY)
    if kind in _NEURAL_NETWORKS:
        return _artifact(path, "neuralnetwork", "fp32", note, path.with_suffix(".onnx"))
    if kind != "mlProgram":
        raise ConversionError(
            f"{path}: a Core ML model of the kind {kind}; give an mlProgram or {', '.join(_NEURAL_NETWORKS)}"
        )
    home = path / "Data" / "com.apple.CoreML" if path.is_dir() else path.parent
    copy = "copy the whole .mlpackage directory, or convert again"
    if reason := why_no_weights(home, _weight_files(specification), copy):
        raise ConversionError(f"{path}: {reason}")
    return _artifact(path, "mlprogram", mlprogram_precision(specification), note, path.with_suffix(".onnx"))


def _weight_files(specification: Any) -> Iterator[str]:
    """Name the files in which a program's constants stand, relative to the directory of its own file."""
    for operation in operations_of(specification):
        for value in operation.attributes.values():
            if value.WhichOneof("value") == "blobFileValue":
                yield value.blobFileValue.fileName.removeprefix("@model_path/")


def operations_of(specification: Any) -> Iterator[Any]:
    """Walk through all operations of a program, those inside conditions and loops too."""
    blocks = [f.block_specializations[f.opset] for f in specification.mlProgram.functions.values()]
    while blocks:
        for operation in blocks.pop().operations:
            yield operation
            blocks += operation.blocks


def _artifact(
    path: Path, kind: Format, precision: Precision, note: str | None, intermediate: Path | None = None
) -> Artifact:
    provenance = Provenance.from_json(note) if note else None
    return Artifact(
        path,
        kind,
        precision,
        route=provenance.route if provenance else "-",
        provenance=provenance,
        contract=provenance.contract if provenance else ASSUMED,
        intermediate=intermediate if intermediate and _is_whole(intermediate) else None,
    )


def _is_whole(intermediate: Path) -> bool:
    return intermediate.is_file() and not tell_pointer(intermediate)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
