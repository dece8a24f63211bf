"""Class names: read from the files that people have, checked, and made unique."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversion.errors import ConversionError
from conversion.files.git_lfs import tell_pointer
from conversion.files.json_text import parse_json
from conversion.files.regular_files import DIRECTORY, MISSING, why_no_file
from conversion.guards.torchvision_guard import torchvision

_FORMS = 'a list ["tench", ...], {"0": "tench", ...} or {"0": ["n01440764", "tench"], ...}'
_SHOWN = 5


def read_labels(path: str | Path, unique: bool = False) -> tuple[str, ...]:
    """Read one class name per output of the model, in the order of the outputs.

    path: UTF-8 text with one name per line, without the blanks around it; or JSON: a list of names, an object
        from index to name, or the imagenet_class_index.json of Keras, an object from index to [WordNet id, name].
    unique: pass the names through unique_labels; without it duplicates stay, for check_labels to report.
    """
    path = Path(path)
    text = _read_text(path)
    labels = _from_json(text, path) if _is_json(text, path) else _from_lines(text, path)
    if not labels:
        raise ConversionError(f"label file {path} holds no labels: give one name per class, in the model's order")
    return unique_labels(labels) if unique else labels


def check_labels(labels: Sequence[str], classes: int | None) -> None:
    """Refuse labels that a converted classifier could not answer with.

    classes: the number of the model's outputs; None leaves the count unchecked.
    """
    if classes is not None and len(labels) != classes:
        raise ConversionError(
            f"{len(labels)} labels for a model with {classes} outputs: give one name per output, in their order"
        )
    for index, label in enumerate(label_names(labels)):
        if lone := re.search("[\ud800-\udfff]", label):
            raise ConversionError(
                f"label {index} is {label!r}; {lone[0]!r} is half a character (a lone surrogate), which no file "
                "can hold: read the names as UTF-8"
            )
        # Files hold NUL, but coremltools' bindings hand each label on as a C string, which ends there:
        # two names may become one, and its dictionary loses a class.
        if "\0" in label:
            raise ConversionError(
                f"label {index} is {label!r}; Core ML's answers end a name at the character NUL: remove it"
            )
    repeated = {label: indices for label, indices in _indices(labels).items() if len(indices) > 1}
    if repeated:
        shown = [f"{label!r} at {_enumerated(indices)}" for label, indices in repeated.items()]
        raise ConversionError(
            f"duplicate labels: {_shortened(shown, '; ')}. Core ML answers one probability per name and would lose "
            "a class; make them unique with unique_labels(labels) or read_labels(path, unique=True) "
            "from conversion.labels"
        )


def label_names(labels: Any) -> tuple[str, ...]:
    """Return labels as they are kept; what is no list of names, or lacks one, is a ConversionError."""
    listed = labels.tolist() if hasattr(labels, "tolist") else labels  # a NumPy array
    if isinstance(listed, str | bytes) or not isinstance(listed, Sequence):
        raise ConversionError(
            f"labels are a list of names, one per output of the model, not {type(labels).__name__} {labels!r:.60}"
        )
    if not listed:
        raise ConversionError("no labels: give one name per output of the model, in their order")
    for index, label in enumerate(listed):
        if not isinstance(label, str):
            raise ConversionError(f"label {index} is {label!r}, not text: give every class a name")
        if not label.strip():
            raise ConversionError(f"label {index} is empty: give every class a name")
    return tuple(listed)


def unique_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Append the index to every later duplicate: crane, ..., crane (517). Other names stay as they are."""
    taken = set(labels)
    seen: set[str] = set()
    result = []
    for index, label in enumerate(labels):
        name = label
        if label in seen:
            # A list may hold "crane (517)" already: then the index is appended once more.
            while name in taken:
                name = f"{name} ({index})"
        seen.add(label)
        taken.add(name)
        result.append(name)
    return tuple(result)


def imagenet_labels() -> tuple[str, ...]:
    """Return torchvision's names of the 1000 ImageNet classes.

    torchvision tells the four names apart that other lists repeat: `crane bird` and `crane`, `maillot` and
    `maillot tank suit`. Should a version of it repeat a name, the later one gets its index.
    """
    torchvision()
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return unique_labels(_IMAGENET_CATEGORIES)


def _read_text(path: Path) -> str:
    # Read as text, a pointer is three labels.
    if pointer := tell_pointer(path):
        raise ConversionError(f"label file {path} is {pointer}")
    why = why_no_file(path)
    if why == MISSING:
        raise ConversionError(f"label file {path} does not exist: check the path")
    if why == DIRECTORY:
        raise ConversionError(f"{path} is a directory, not a label file: name the file in it")
    if why:
        raise ConversionError(f"label file {path} {why}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConversionError(
            f"label file {path} is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x}): "
            "save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConversionError(f"label file {path} cannot be read: {error.strerror}") from None


def _is_json(text: str, path: Path) -> bool:
    if path.suffix.lower() == ".json":
        return True
    # A list of names may begin with a bracket, "[unused]" say, so the first character does not decide alone.
    if not text.lstrip().startswith(("[", "{")):
        return False
    try:
        parse_json(text)
    except ValueError:
        return False
    return True


def _from_lines(text: str, path: Path) -> tuple[str, ...]:
    # Not str.splitlines: it also breaks at form feeds and other characters that may stand inside a name.
    lines = [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    for number, line in enumerate(lines, start=1):
        if not line:
            raise ConversionError(
                f"label file {path} line {number} is empty: every line names a class, or delete it"
            )
    return tuple(lines)


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        content = parse_json(text, object_pairs_hook=_Pairs)
    except ValueError as error:
        raise ConversionError(f"label file {path} is not JSON ({error}): expected {_FORMS}") from None
    if isinstance(content, _Pairs):
        content = _by_index(content, path)
    elif not isinstance(content, list):
        raise ConversionError(f"label file {path} holds {content!r:.40}: expected {_FORMS}")
    return tuple(_name(index, value, path) for index, value in enumerate(content))


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object; a dictionary would keep only the last of two equal keys."""


def _by_index(pairs: _Pairs, path: Path) -> list[Any]:
    values: dict[int, Any] = {}
    for key, value in pairs:
        if not re.fullmatch("[0-9]{1,9}", key):
            raise ConversionError(
                f"label file {path} has the key {key!r}, which is no class index: expected {_FORMS}"
            )
        if int(key) in values:
            raise ConversionError(f"label file {path} gives class index {int(key)} twice: keep one")
        values[int(key)] = value
    if len(values) <= max(values, default=-1):
        gaps = [
            str(index) for index in range(len(values) + _SHOWN + 1) if index not in values and index < max(values)
        ]
        raise ConversionError(
            f"label file {path} has {len(values)} labels up to index {max(values)}, but none at index "
            f"{_shortened(gaps, ', ')}: indices count from 0 without gaps"
        )
    return [values[index] for index in sorted(values)]


def _name(index: int, value: Any, path: Path) -> str:
    if isinstance(value, list) and len(value) == 2:
        value = value[1]
    if not isinstance(value, str):
        raise ConversionError(f"label file {path} index {index} holds {value!r:.40}, not a name: expected {_FORMS}")
    if not value.strip():
        raise ConversionError(f"label file {path} index {index} is empty: give every class a name")
    return value


def _indices(labels: Sequence[str]) -> dict[str, list[int]]:
    indices: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        indices.setdefault(label, []).append(index)
    return indices


def _enumerated(indices: Sequence[int]) -> str:
    *first, last = map(str, indices)
    return f"{', '.join(first)} and {last}"


def _shortened(items: Sequence[str], separator: str) -> str:
    shown = separator.join(items[:_SHOWN])
    return f"{shown} and more" if len(items) > _SHOWN else shown
