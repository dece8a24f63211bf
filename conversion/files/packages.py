"""A .mlpackage, looked at before anybody opens it: its table of contents, and that all of it lies inside.

A package comes from anywhere, and coremltools follows whatever paths stand in its Manifest.json.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from conversion.errors import ConversionError
from conversion.files.coreml_messages import coreml_messages
from conversion.files.json_text import parse_json
from conversion.files.regular_files import DIRECTORY, MISSING, why_no_file

# What a table of contents says of a part, beside its path.
_TOLD = ("name", "author", "description")
_WHOLE = "copy the whole .mlpackage directory, or convert again"


@dataclass(frozen=True)
class Package:
    """Name the files of a package: the model's own, and all that its table of contents names."""

    model: Path
    parts: tuple[Path, ...]


def read_package(package: Path) -> Package:
    """Read a package's table of contents; anything that is wrong with it is a ConversionError.

    Refused are links and paths that lead out of the package, and whatever in it is neither a directory nor a
    regular file. Parts that are missing, other than the model, are not.
    """
    for entry in _entries(package):
        place = entry.relative_to(package)
        if entry.is_symlink() and not _is_inside(entry, package):
            raise ConversionError(
                f"{package}: {place} in it is a link that leads out of the package, to {entry.readlink()}; copy "
                "the package with what its links lead to (cp -RL)"
            )
        if (why := why_no_file(entry)) not in ("", MISSING, DIRECTORY):
            raise ConversionError(f"{package}: {place} in it {why}")
    manifest = package / "Manifest.json"
    if why_no_file(manifest) == MISSING:
        raise ConversionError(
            f"{package}: no Manifest.json inside, so this is no .mlpackage, or only a part of one; {_WHOLE}"
        )
    try:
        paths, root = _paths(manifest)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConversionError(f"{package}: its Manifest.json cannot be understood ({cause}); {_WHOLE}") from error
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ConversionError(
                f"{package}: its Manifest.json names {path!r:.80}, which leads out of the package, and is not "
                "followed; what it names is inside of Data/: convert again"
            )
    model = package / "Data" / root
    if why := why_no_file(model):
        trouble = f"{model}, the model that Manifest.json names, {'is missing' if why == MISSING else why}"
        raise ConversionError(f"{package}: {trouble}; {_WHOLE}")
    return Package(model, tuple(package / "Data" / path for path in paths))


def read_specification(path: Path) -> Any:
    """Parse what describes the model of a .mlpackage or a .mlmodel, a Model_pb2.Model; errors are the parser's own.

    coremltools' load_spec opens a package for writing, and writes its Manifest.json anew each time that it is read.
    """
    specification = coreml_messages("Model_pb2").Model()
    specification.ParseFromString((read_package(path).model if path.is_dir() else path).read_bytes())
    return specification


def _entries(package: Path) -> Iterator[Path]:
    for directory, directories, files in os.walk(package):
        yield from (Path(directory) / name for name in (*directories, *files))


def _is_inside(path: Path, package: Path) -> bool:
    # Not Path.resolve, which raises an error of its own where links go round in a circle.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(package))


def _paths(manifest: Path) -> tuple[list[str], str]:
    """Read the paths in a table of contents, and the one that is the model's."""
    content = parse_json(manifest.read_bytes(), object_pairs_hook=_once)
    entries = content["itemInfoEntries"]
    paths = [entry["path"] for entry in entries.values()]
    for path in paths:
        if not isinstance(path, str) or not PurePosixPath(path).parts or "\0" in path:
            raise ValueError(f"{path!r:.40} is no path")
    root = entries[content["rootModelIdentifier"]]["path"]
    # Apple's reader asks for these too.
    version, texts = content["fileFormatVersion"], [entry[key] for entry in entries.values() for key in _TOLD]
    if not isinstance(version, str) or not re.fullmatch(r"0\.\d+\.\d+|1\.0\.0", version):
        raise ValueError(f"fileFormatVersion {version!r:.40} is none up to 1.0.0")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{', '.join(_TOLD)} are texts")
    return paths, root


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is there twice: one reader takes the first, and another the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return content
