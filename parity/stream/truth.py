"""What the images really show: by the directories that they lie in, or by a file of labels."""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import re
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversion.files.json_text import parse_json
from conversion.files.regular_files import why_no_file
from parity.core.errors import ParityError
from parity.core.file_kinds import tell_kind
from parity.stream.listing import ImageList, shown

_UNKNOWN = -1


@dataclass(frozen=True)
class Truth:
    """Say what each image of a list shows.

    source: where that is from, empty where nothing is known. labels: all that occur. places: for each image the
    place of its label, -1 where it is not known. models: those that have all the labels.
    remark: why no truth is taken from directories that look like classes.
    """

    source: str = ""
    labels: tuple[str, ...] = ()
    places: array[int] = field(default_factory=lambda: array("l"))
    models: frozenset[str] = frozenset()
    remark: str = ""

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what each image shows; empty where nothing is known."""
        if not self.source:
            return ""
        labels = "\0".join(self.labels).encode(errors="surrogatepass")
        places = array("q", self.places)
        if sys.byteorder == "big":
            places.byteswap()
        return hashlib.sha256(labels + b"\0\0" + places.tobytes()).hexdigest()

    def of(self, index: int) -> str | None:
        """Return what an image shows; None where that is not known."""
        place = self.places[index] if self.places else _UNKNOWN
        return None if place == _UNKNOWN else self.labels[place]


@dataclass(frozen=True)
class _Entry:
    """Hold one line of a file of labels."""

    key: str
    label: str
    line: int


def find_truth(images: ImageList, file: Path | None, classifiers: Mapping[str, Sequence[str]]) -> Truth:
    """Find out what the images show.

    file: CSV with the columns file and label, or a JSON object file -> label; a file's name is relative to the
        directory of images, and a directory's stands for all that is in it. Without it, directories that are all
        called as a classifier's classes are those. classifiers: name -> labels.
    Everything that is wrong with the file is a ParityError that names its line.
    """
    if file is None:
        return _by_directories(images, classifiers)
    entries = {entry.key: entry for entry in _checked(file, _read(file), classifiers)}
    labels = tuple(dict.fromkeys(entry.label for entry in entries.values()))
    numbers = {label: place for place, label in enumerate(labels)}
    places, used = array("l"), set[str]()
    for name in _names(images):
        entry = next((entries[key] for key in _keys(name) if key in entries), None)
        places.append(_UNKNOWN if entry is None else numbers[entry.label])
        # Also what a nearer entry overrules names something that is there.
        used.update(key for key in _keys(name) if key in entries)
    for key in entries.keys() - used:
        near = difflib.get_close_matches(key, (n for n, _ in zip(_names(images), range(10_000), strict=False)), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParityError(f"{file}:{entries[key].line}: no image `{key}` below {images.directory}{hint}")
    return Truth(file.name, labels, places, frozenset(classifiers))


def _by_directories(images: ImageList, classifiers: Mapping[str, Sequence[str]]) -> Truth:
    folders = [name.partition("/")[0] if "/" in name else "" for name in _names(images)]
    labels = tuple(sorted({*folders} - {""}))
    strange = {model: sorted({*labels} - {*known}) for model, known in classifiers.items()}
    models = frozenset(model for model, missing in strange.items() if labels and not missing)
    # Where not one directory is called as a class, nobody meant them to be.
    remarks = [
        f"{images.directory}: accuracy of {model} is not measured: {len(missing)} of {len(labels)} directories are "
        f"no label of it, `{missing[0]}` first; --labels takes a file that maps directories to labels"
        for model, missing in strange.items()
        if 0 < len(missing) < len(labels)
    ]
    if not models:
        return Truth(remark="".join(remarks[:1]))
    numbers = {label: place for place, label in enumerate(labels)}
    places = array("l", (numbers.get(folder, _UNKNOWN) for folder in folders))
    return Truth("directories", labels, places, models, "".join(remarks[:1]))


def _names(images: ImageList) -> Iterator[str]:
    return (shown(images[index]) for index in range(len(images)))


def _keys(name: str) -> Iterator[str]:
    """Give a file's name and those of the directories above it, the nearest first."""
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _checked(file: Path, entries: Iterator[_Entry], classifiers: Mapping[str, Sequence[str]]) -> Iterator[_Entry]:
    first: dict[str, int] = {}
    known = {model: frozenset(labels) for model, labels in classifiers.items()}
    for entry in entries:
        where = f"{file}:{entry.line}"
        if not entry.key:
            raise ParityError(f"{where}: the name of the file is empty")
        if entry.key in first:
            raise ParityError(f"{where}: `{entry.key}` has a label already, in line {first[entry.key]}; keep one")
        first[entry.key] = entry.line
        for model, labels in known.items():
            if entry.label not in labels:
                near = difflib.get_close_matches(entry.label, labels, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(classifiers[model][:3])}, ..."
                raise ParityError(f"{where}: {model} has no label {entry.label!r}; {hint}")
        yield entry
    if not first:
        raise ParityError(f"{file}: no labels; give lines `file,label`, or a JSON object file -> label")


def _read(file: Path) -> Iterator[_Entry]:
    if kind := tell_kind(file):
        raise ParityError(f"{file}: {kind}; give CSV of lines `file,label`, or a JSON object file -> label")
    if why := why_no_file(file):
        raise ParityError(f"{file}: {why}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise ParityError(f"{file}:{line}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise ParityError(f"{file}: cannot be read ({error.strerror})") from error
    return (_read_json if file.suffix.lower() == ".json" else _read_csv)(file, text)


def _read_csv(file: Path, text: str) -> Iterator[_Entry]:
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        for number, row in enumerate(rows):
            if not row or (number == 0 and row == ["file", "label"]):
                continue
            if len(row) != 2:
                raise ParityError(f"{file}:{rows.line_num}: {len(row)} columns, not the two `file,label`")
            yield _Entry(row[0].removeprefix("./"), row[1], rows.line_num)
    except csv.Error as error:
        raise ParityError(f"{file}:{rows.line_num}: not CSV: {error}") from error


class _Pairs(list[tuple[str, Any]]):
    """Hold the pairs of a JSON object; a dictionary would lose keys that occur twice."""


def _read_json(file: Path, text: str) -> Iterator[_Entry]:
    try:
        pairs = parse_json(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise ParityError(f"{file}:{error.lineno}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise ParityError(f"{file}:1: not JSON: {error}; give one JSON object file -> label") from error
    if not isinstance(pairs, _Pairs):
        raise ParityError(f"{file}:1: a {type(pairs).__name__}, not one JSON object file -> label")
    # The parser does not count lines. As long as all labels are texts, every second text is a file.
    texts = re.finditer(r'"(?:[^"\\]|\\.)*"', text)
    line, place = 1, 0
    for key, label in pairs:
        start = next(texts).start()
        line, place = line + text.count("\n", place, start), start
        if not isinstance(label, str):
            raise ParityError(f"{file}:{line}: the label of `{key}` is {label!r}, not a text")
        next(texts)
        yield _Entry(key.removeprefix("./"), label, line)
