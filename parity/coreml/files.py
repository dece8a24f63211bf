"""A Core ML model from wherever it is: a .mlpackage, a .mlmodel, or a coremltools MLModel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion.git_lfs import tell_first_pointer, tell_pointer
from conversion.model_files import COMPILED, is_compiled
from conversion.quiet import import_coremltools
from parity.errors import CoreMLError


@dataclass(frozen=True)
class ModelFile:
    """Hold a model's specification (Model_pb2.Model), where its weights are, and its name for messages.

    retyped: somebody changed the types that its operations declare, to see what other arithmetic gives.
    """

    specification: Any
    weights_dir: Path | None
    name: str
    retyped: bool = False


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
    if not path.exists():
        raise CoreMLError(f"{path}: no such file; give the path of a .mlpackage directory or a .mlmodel file")
    if is_compiled(path):
        raise CoreMLError(f"{path}: {COMPILED}")
    if told := tell_first_pointer(path) if path.is_dir() else tell_pointer(path):
        raise CoreMLError(f"{path}: {told}")
    if path.is_dir():
        item = _root_model(path)
        return ModelFile(_parse(item, path), item.parent / "weights", str(path))
    return ModelFile(_parse(path, path), None, str(path))


def _root_model(package: Path) -> Path:
    """Find the model inside a package; Manifest.json says which of its items it is."""
    manifest = package / "Manifest.json"
    if not manifest.is_file():
        raise CoreMLError(
            f"{package}: no Manifest.json inside, so this is no .mlpackage, or only a part of one; "
            "copy the whole directory, or convert again"
        )
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        model = package / "Data" / str(content["itemInfoEntries"][content["rootModelIdentifier"]]["path"])
        found = model.is_file()
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise CoreMLError(f"{manifest}: cannot be understood ({cause}); convert again") from error
    if not found:
        raise CoreMLError(f"{model}: the model that Manifest.json names is missing; copy the whole package again")
    return model


def _parse(file: Path, path: Path) -> Any:
    proto = import_coremltools().proto
    specification = proto.Model_pb2.Model()
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
