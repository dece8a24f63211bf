"""What a converted file is made of: its operations, versions and size, and the digest by which it is known.

Notes that converters leave in a file (dates, versions, stack traces with the paths of a machine) do not count, nor
do the UUIDs of a package's Manifest.json, drawn anew at every conversion: two files that compute the same by the
same operations have the same facts and the same digest, wherever and whenever they were converted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.errors import ConversionError
from conversion.files.model_files import messages
from parity.coreml.reading.files import open_model

if TYPE_CHECKING:
    from conversion import Artifact


@dataclass(frozen=True)
class ArtifactFacts:
    """Describe a converted file.

    version: the opset of ONNX; Core ML's specification version, and the opset of its program.
    size: bytes without notes, with the weights that lie beside the file.
    operations: type -> how many, in the order of the types. Constants are values and not counted: whether a number
        stands in a node or in a list of weights changes nothing.
    """

    format: str
    precision: str
    version: str
    size: int
    operations: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Content:
    """Hold what facts and digest are taken from; parts: name -> bytes, or the file that has them."""

    version: str
    operations: Counter[str]
    parts: Mapping[str, bytes | Path]


def facts(artifact: Artifact) -> ArtifactFacts:
    """Look into a converted file; one that cannot be read is a ConversionError or a ParityError."""
    content = _content(artifact)
    size = sum(p.stat().st_size if isinstance(p, Path) else len(p) for p in content.parts.values())
    operations = dict(sorted(content.operations.items()))
    return ArtifactFacts(artifact.format, artifact.precision, content.version, size, operations)


def artifact_digest(artifact: Artifact) -> str:
    """Return the SHA-256 of a converted file or directory: of each part's name and digest, in the names' order.

    The part `model` is the protobuf message without its notes, its maps sorted by key; every other part is a file
    of weights.
    """
    whole = hashlib.sha256()
    for name, part in sorted(_content(artifact).parts.items()):
        if isinstance(part, Path):
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        else:
            digest = hashlib.sha256(part)
        whole.update(f"{name} {digest.hexdigest()}\n".encode())
    return whole.hexdigest()


def changed_operations(before: ArtifactFacts, now: ArtifactFacts) -> tuple[str, ...]:
    """Say of every type of operation how often each of two files has it, where that differs."""
    names = sorted(before.operations.keys() | now.operations.keys())
    counts = [(name, before.operations.get(name, 0), now.operations.get(name, 0)) for name in names]
    return tuple(f"{name} {was or 'none'} -> {count or 'gone'}" for name, was, count in counts if was != count)


def changed_facts(before: ArtifactFacts, now: ArtifactFacts) -> tuple[str, ...]:
    """Name what differs between two files, a line each; the operations first, for they explain most."""
    operations = changed_operations(before, now)
    lines = [f"operations: {', '.join(operations)}"] if operations else []
    for name in ("format", "version", "precision"):
        was, found = getattr(before, name), getattr(now, name)
        lines += [f"{name}: {was} -> {found}"] if was != found else []
    if before.size != now.size:
        lines.append(f"size: {before.size:,} -> {now.size:,} bytes")
    return tuple(lines)


def _content(artifact: Artifact) -> _Content:
    return _onnx_content(artifact.path) if artifact.format == "onnx" else _coreml_content(artifact.path)


def _onnx_content(path: Path) -> _Content:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's and onnx's own, another class in each version
        raise ConversionError(
            f"{path}: not an ONNX model ({' '.join(str(error).split())}); export it again"
        ) from error
    for note in ("producer_name", "producer_version"):
        model.ClearField(note)
    operations: Counter[str] = Counter()
    weights: set[str] = set()
    for message in messages(model):
        for note in ("doc_string", "metadata_props"):
            if note in message.DESCRIPTOR.fields_by_name:
                message.ClearField(note)
        if isinstance(message, onnx.NodeProto) and message.op_type != "Constant":
            operations[f"{message.domain}::{message.op_type}" if message.domain else message.op_type] += 1
        if isinstance(message, onnx.TensorProto):
            weights |= {entry.value for entry in message.external_data if entry.key == "location"}
    opsets = [f"{entry.domain} {entry.version}".strip() for entry in model.opset_import]
    parts: dict[str, bytes | Path] = {"model": model.SerializeToString(deterministic=True)}
    return _Content(f"opset {', '.join(sorted(opsets))}", operations, {**parts, **_beside(path.parent, weights)})


def _coreml_content(path: Path) -> _Content:
    model = open_model(path)
    specification = model.specification
    specification.description.ClearField("metadata")
    kind = specification.WhichOneof("Type")
    version = f"specification {specification.specificationVersion}"
    if kind == "mlProgram":
        functions = specification.mlProgram.functions.values()
        version += f", {' and '.join(sorted({function.opset for function in functions}))}"
        blocks = [block for function in functions for block in function.block_specializations.values()]
        operations = Counter(_program_operations(blocks))
    else:
        network = getattr(specification, kind)
        operations = Counter(_layers(network))
        operations.update(f"preprocessing.{step.WhichOneof('preprocessor')}" for step in network.preprocessing)
    parts: dict[str, bytes | Path] = {"model": specification.SerializeToString(deterministic=True)}
    if home := model.weights_dir:
        # Finder and the like leave hidden files of their own.
        files = [file for file in home.rglob("[!.]*") if file.is_file()]
        parts.update({f"weights/{file.relative_to(home).as_posix()}": file for file in files})
    return _Content(version, operations, parts)


def _program_operations(blocks: list[Any]) -> Iterator[str]:
    for block in blocks:
        for operation in block.operations:
            if operation.type != "const":
                yield operation.type
            yield from _program_operations(operation.blocks)


def _layers(network: Any) -> Iterator[str]:
    for layer in network.layers:
        kind = layer.WhichOneof("layer")
        if kind not in ("loadConstant", "loadConstantND"):
            yield kind
        if kind == "loop":
            yield from _layers(layer.loop.conditionNetwork)
            yield from _layers(layer.loop.bodyNetwork)
        elif kind == "branch":
            yield from _layers(layer.branch.ifBranch)
            yield from _layers(layer.branch.elseBranch)


def _beside(home: Path, names: set[str]) -> dict[str, Path]:
    missing = sorted(name for name in names if not (home / name).is_file())
    if missing:
        raise ConversionError(f"{home / missing[0]}: these weights are missing; copy them beside the model")
    return {name: home / name for name in names}
