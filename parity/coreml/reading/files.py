"""A Core ML model from wherever it is: a .mlpackage, a .mlmodel, or a coremltools MLModel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion.errors import ConversionError
from conversion.files.coreml_messages import coreml_messages
from conversion.files.git_lfs import tell_first_pointer, tell_pointer
from conversion.files.model_files import COMPILED, is_compiled
from conversion.files.packages import read_package
from conversion.files.regular_files import DIRECTORY, MISSING, why_no_file
from parity.core.errors import CoreMLError


@dataclass(frozen=True)
class ModelFile:
    """Hold a model's specification (Model_pb2.Model), where its weights are, and its name for messages.

    retyped: somebody changed the types that its operations declare, to see what other arithmetic gives.
    open_forms: its operations are to be computed in other ways, so nodes keep their Form; constants stay in memory
        as they are.
    """

    specification: Any
    weights_dir: Path | None
    name: str
    retyped: bool = False
    open_forms: bool = False


def open_model(model: Any) -> ModelFile:
    """Read a model given as a path or as a coremltools MLModel; what cannot be read is a CoreMLError."""
    if isinstance(model, str | Path):
        return _open_path(Path(model))
    if hasattr(model, "get_spec"):
        weights = getattr(model, "weights_dir", None)
        name = getattr(model, "package_path", None) or "MLModel"
        retyped = getattr(model, "retyped", False) is True
        return ModelFile(model.get_spec(), Path(weights) if weights else None, str(name), retyped)
    raise CoreMLError(
        f"a model is the path of a .mlpackage or .mlmodel, or a coremltools MLModel; not a {type(model).__name__}"
    )


def _open_path(path: Path) -> ModelFile:
    why = why_no_file(path)
    if why == MISSING:
        raise CoreMLError(f"{path}: no such file; give the path of a .mlpackage directory or a .mlmodel file")
    if why and why != DIRECTORY:
        raise CoreMLError(f"{path}: {why}")
    if is_compiled(path):
        raise CoreMLError(f"{path}: {COMPILED}")
    if pointer := tell_first_pointer(path) if why else tell_pointer(path):
        raise CoreMLError(f"{path}: {pointer}")
    if not why:
        return ModelFile(_parse(path, path), None, str(path))
    try:
        item = read_package(path).model
    except ConversionError as error:
        raise CoreMLError(str(error)) from error
    return ModelFile(_parse(item, path), item.parent / "weights", str(path))


def _parse(file: Path, path: Path) -> Any:
    specification = coreml_messages("Model_pb2").Model()
    try:
        specification.ParseFromString(file.read_bytes())
    except Exception as error:  # protobuf's DecodeError is another class in each of its implementations
        raise CoreMLError(
            f"{path}: not a Core ML model, or a truncated or an encrypted one ({error}); copy it again, or convert "
            "again without encryption"
        ) from error
    if specification.WhichOneof("Type") is None:
        raise CoreMLError(f"{path}: the file holds no model; it is empty or truncated, convert again")
    return specification
