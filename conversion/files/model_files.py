"""What a file is that is given as a converted model and is none, told before any library stumbles over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from conversion.files.git_lfs import tell_first_pointer, tell_pointer
from conversion.files.regular_files import MISSING, why_no_file
from conversion.files.suffixes import COMPILED_SUFFIX, IMAGE_SUFFIXES, MODEL_SUFFIXES

GIVE = "give a .onnx, a .mlmodel, a .mlpackage or a .aimodel"
COMPILED = (
    "a compiled model, which only Apple's runtime reads; give the .mlpackage or .mlmodel that it was compiled from"
)
# Ending -> what people have under it, and mean to be a model.
_OTHERS: Mapping[str, str] = {
    **dict.fromkeys(IMAGE_SUFFIXES, "an image, not a converted model"),
    **dict.fromkeys((".pth", ".pt", ".ckpt", ".safetensors"), "weights of PyTorch, not yet a converted model"),
    ".py": "Python source, not yet a converted model",
    ".toml": "a suite file, not a converted model",
    **dict.fromkeys((".json", ".jsonl"), "data, not a converted model"),
}


def why_no_model(path: Path) -> str:
    """Say why a path that exists is no converted model, by its name and its first bytes; empty where it may be."""
    if is_compiled(path):
        return COMPILED
    if pointer := tell_pointer(path):
        return pointer
    suffix = path.suffix.lower()
    if suffix in _OTHERS:
        return f"{_OTHERS[suffix]}; {GIVE}"
    if path.suffix not in MODEL_SUFFIXES:
        return f"the ending {path.suffix or '(none)'} is none of {', '.join(MODEL_SUFFIXES)}"
    return tell_first_pointer(path) if path.is_dir() else ""


def is_compiled(path: Path) -> bool:
    """Tell whether a directory is what Xcode makes of a model; it may have been renamed."""
    return path.is_dir() and (path.suffix == COMPILED_SUFFIX or (path / "coremldata.bin").is_file())


def why_no_weights(home: Path, names: Iterable[str], copy: str) -> str:
    """Say which of the files that hold a model's weights is not there, is none, or is a pointer; else empty.

    home: the directory of the model's own file, to which names are relative, and which they must not leave.
    copy: what to do where they are missing.
    """
    for name in sorted(set(names)):
        weights = home / name
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            return f"its weights should be in {name!r}, outside of its directory, and are not read; convert again"
        if pointer := tell_pointer(weights):
            return f"its weights {weights} are {pointer}"
        why = why_no_file(weights)
        if why == MISSING:
            return f"its weights {weights} are missing; {copy}"
        if why:
            return f"its weights: {weights} {why}"
    return ""


def external_files(model: Any) -> Iterator[str]:
    """Name the files in which tensors of an ONNX model stand."""
    import onnx

    for message in messages(model):
        if isinstance(message, onnx.TensorProto) and message.data_location == onnx.TensorProto.EXTERNAL:
            yield from (entry.value for entry in message.external_data if entry.key == "location")


def messages(message: Any) -> Iterator[Any]:
    """Walk through a protobuf message and all that are in it: graphs lie inside attributes of nodes."""
    yield message
    for kind, value in message.ListFields():
        if kind.message_type is not None:
            for inner in value if hasattr(value, "__len__") else (value,):
                yield from messages(inner)
