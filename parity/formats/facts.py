"""What a converted file consists of: its operations, versions and size, and the digest by which it is known.

Notes that converters leave in a file (dates, versions, stack traces with the paths of a machine) do not count, nor
do the UUIDs of a package's Manifest.json, drawn anew at every conversion: two files that compute the same by the
same operations have the same facts and the same digest, wherever and whenever they were converted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from parity.formats import format_of

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
class Content:
    """Hold what facts and digest are taken from; parts: name -> bytes, or the file that has them."""

    version: str
    operations: Counter[str]
    parts: Mapping[str, bytes | Path]


def facts(artifact: Artifact) -> ArtifactFacts:
    """Look into a converted file; one that cannot be read is a ConversionError or a ParityError."""
    content = format_of(artifact).content(artifact.path)
    size = sum(p.stat().st_size if isinstance(p, Path) else len(p) for p in content.parts.values())
    operations = dict(sorted(content.operations.items()))
    return ArtifactFacts(artifact.format, artifact.precision, content.version, size, operations)


def artifact_digest(artifact: Artifact) -> str:
    """Return the SHA-256 of a converted file or directory: of each part's name and digest, in the names' order.

    The part `model` is the protobuf message without its notes, its maps sorted by key; every other part is a file
    of weights.
    """
    whole = hashlib.sha256()
    for name, part in sorted(format_of(artifact).content(artifact.path).parts.items()):
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
        old, new = getattr(before, name), getattr(now, name)
        lines += [f"{name}: {old} -> {new}"] if old != new else []
    if before.size != now.size:
        lines.append(f"size: {before.size:,} -> {now.size:,} bytes")
    return tuple(lines)
