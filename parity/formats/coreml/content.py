"""What both Core ML formats share of the parts that a file's digest is taken of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from parity.coreml.reading.files import ModelFile
from parity.formats.facts import Content


def content_of(model: ModelFile, version: str, counts: Counter[str]) -> Content:
    """Join a specification without its notes and the files of weights beside it; version: what comes behind."""
    specification = model.specification
    specification.description.ClearField("metadata")
    parts: dict[str, bytes | Path] = {"model": specification.SerializeToString(deterministic=True)}
    if home := model.weights_dir:
        # Finder and the like leave hidden files of their own.
        files = [file for file in home.rglob("[!.]*") if file.is_file()]
        parts.update({f"weights/{file.relative_to(home).as_posix()}": file for file in files})
    return Content(f"specification {specification.specificationVersion}{version}", counts, parts)
