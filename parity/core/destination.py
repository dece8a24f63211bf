"""Where a command writes: settled before the work, written whole or not at all after it.

A file is written over only where it is empty, or an earlier output of the same kind: its content decides, unless
--force overrules it. What the run itself reads is never written over.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unicodedata import normalize

from conversion.files.json_text import parse_json
from conversion.files.suffixes import COMPILED_SUFFIX, IMAGE_SUFFIXES, MODEL_SUFFIXES
from conversion.files.whole_file import write_whole_file
from parity.core.errors import ParityError
from parity.core.file_kinds import INIT_MARK, WRITTEN, schema_of, tell_kind

_HEAD = 2**12
_PACKAGES = (*MODEL_SUFFIXES, COMPILED_SUFFIX)


@dataclass(frozen=True)
class Destination:
    """Name a file to write.

    shown: as the user wrote it. path: the same from the root: user code may change the directory.
    kind: a name of KINDS. reads: files and directories that the run reads.
    option: what overrules the refusal of a file that holds something else. force: overrule it.
    makes_directory: the directory is created where it is missing.
    """

    shown: Path
    path: Path
    kind: str
    reads: tuple[Path, ...] = ()
    force: bool = False
    option: str = "--force"
    makes_directory: bool = False

    def beside(self, shown: Path, kind: str) -> Destination:
        """Name another file that the same command writes."""
        return replace(self, shown=shown, path=shown.absolute(), kind=kind)

    def check(self) -> None:
        """Raise ParityError where the file cannot be written, or holds what must not be lost."""
        try:
            refusal = _refusal(self)
        except OSError as error:
            refusal = f"cannot be written ({error.strerror or error})"
        except ValueError:  # Python's own, in other words in each version
            refusal = "cannot be written (a name holds no NUL character)"
        if refusal:
            raise ParityError(f"{self.shown}: {refusal}")

    def write(self, content: str) -> None:
        """Write the file as `write_whole` does, if it may still be written over."""
        self.check()
        if self.makes_directory:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, [content.encode()], self.shown)


def check_destinations(destinations: Sequence[Destination]) -> None:
    """Refuse what cannot be written, and one file for two outputs; raises ParityError."""
    for number, destination in enumerate(destinations):
        destination.check()
        for other in destinations[:number]:
            if _same_file(destination.path, other.path):
                both = "" if destination.shown == other.shown else f", {other.shown} and {destination.shown}"
                raise ParityError(f"two reports go to one file{both}; give each a file of its own")


def write_whole(path: Path, chunks: Iterable[bytes], shown: Path | None = None) -> None:
    """Write a file as `write_whole_file` does; where that fails, a ParityError names the file as `shown`."""
    try:
        write_whole_file(path, chunks)
    except OSError as error:
        raise ParityError(
            f"{shown or path}: cannot be written ({error.strerror or error}); what was there before is unchanged"
        ) from error


def is_earlier(path: Path, kind: str) -> bool:
    """Say whether a file is empty, or an earlier output of a kind; a file that cannot be read is neither."""
    try:
        # One that is empty and called as a module, a model or a suite file has a meaning all the same.
        return KINDS[kind](path) if path.stat().st_size else not tell_kind(path)
    except OSError:
        return False


def _refusal(destination: Destination) -> str:
    """Say why a file must not be written; empty where it may be."""
    target = Path(os.path.realpath(destination.path))
    status = target.stat() if target.exists() else None
    if status is None:
        with suppress(FileNotFoundError):
            target.stat()  # where it is not only missing but cannot be: its name is too long, say
    elif stat.S_ISDIR(status.st_mode):
        return "is a directory; give the name of a file"
    elif stat.S_ISCHR(status.st_mode):
        return ""
    elif not stat.S_ISREG(status.st_mode):
        return "is a pipe, a socket or a disk; give the name of a file"
    homes = (target.parent, *target.parent.parents) if destination.makes_directory else (target.parent,)
    home = next((home for home in homes if home.exists()), None)
    if home is None:
        return "the directory does not exist; create it first"
    if not home.is_dir():
        return f"{home} is a file, not a directory; give another place"
    if not os.access(home, os.W_OK | os.X_OK):
        return "the directory cannot be written to; change its permissions, or give another"
    if status is not None and not os.access(target, os.W_OK):
        return "is protected from being written to; change its permissions, or give another name"
    return _overwritten(destination, target, status)


def _overwritten(destination: Destination, target: Path, status: os.stat_result | None) -> str:
    """Say what would be lost; status: of the file, where there is one."""
    for read in destination.reads:
        if refusal := _read_from(read, target):
            return refusal
    if status is None:
        return ""
    earlier = is_earlier(target, destination.kind)
    # An earlier report is no source of anything, and to ask for the status of every module takes a moment.
    modules = _modules() if destination.force or not status.st_size else ()
    if any(_is(status, read) for read in (*destination.reads, *modules)):
        return "would be overwritten, and this run reads it; give another name"
    if any(stat.S_ISREG(stream.st_mode) and os.path.samestat(stream, status) for stream in _streams()):
        return "is where the output of this command goes already; give another name"
    if destination.force or earlier:
        return ""
    held = tell_kind(target)
    held = f"is {held}," if held else "holds something else"
    return f"{held} and no earlier output of this kind; give another name, or {destination.option} to overwrite it"


def _read_from(read: Path, target: Path) -> str:
    """Say that a file lies, or would lie, where the run reads a whole directory; empty where it does not."""
    directory = Path(os.path.realpath(read))
    if not target.is_relative_to(directory) or not directory.is_dir():
        return ""
    if directory.suffix in _PACKAGES:
        return f"lies inside {read}, which this run reads; give another place"
    if target.suffix.lower() in IMAGE_SUFFIXES:
        return f"would be an image of {read}, which this run reads; give another name"
    return ""


def _is(status: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(status, path.stat())
    except (OSError, ValueError):
        return False


def _modules() -> Iterator[Path]:
    """List the files of all modules that are loaded, a user's among them."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return (Path(file) for file in files if isinstance(file, str))


def _streams() -> Iterator[os.stat_result]:
    for descriptor in (1, 2):
        with suppress(OSError):
            yield os.fstat(descriptor)


def _same_file(one: Path, other: Path) -> bool:
    """Say whether two names are one file, here or on a system that does not tell a from A."""
    first, second = (normalize("NFC", os.path.realpath(path)).casefold() for path in (one, other))
    return first == second or (one.exists() and _is(one.stat(), other))


def _schema_is(schema: str, path: Path) -> bool:
    if schema_of(path) != schema:  # a small part of it says so, and of most files
        return False
    content = _parsed(path.read_bytes())
    return isinstance(content, dict) and str(content.get("schema")).rpartition("/")[0] == schema


def _is_baseline(path: Path) -> bool:
    """Also where it is torn, or holds the marks of a merge: no other file has its name."""
    content = path.read_bytes()
    return _schema_is("parity-baseline", path) or (content[:1] == b"{" and _parsed(content) is None)


def _is_cases(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline()
    if not first.endswith(b"\n"):  # a run was killed while it wrote its header
        return is_torn_header(first)
    header = _parsed(first)
    return isinstance(header, dict) and str(header.get("schema")).startswith("parity-cases/")


def is_torn_header(line: bytes) -> bool:
    """Say whether a line without an end is the beginning of a cases file, or what a lost power leaves of one."""
    begin, line = b'{"environment":', line.rstrip(b"\0")
    return line.startswith(begin) or begin.startswith(line)


def _parsed(content: bytes) -> object:
    """Parse JSON; None where it is none."""
    try:
        parsed: object = parse_json(content)
        return parsed
    except ValueError:
        return None


def _begins(pattern: bytes, path: Path) -> bool:
    with path.open("rb") as file:
        return re.match(pattern, file.read(_HEAD), re.DOTALL) is not None


# Kind of output -> says whether a file is one.
KINDS: Mapping[str, Callable[[Path], bool]] = {
    **{name: partial(_schema_is, name) for name in WRITTEN},
    "parity-baseline": _is_baseline,
    "parity-cases": _is_cases,
    "html": partial(_begins, rb'\s*<!DOCTYPE html>.*<meta name="generator" content="coreml-parity">'),
    "junit": partial(_begins, rb'<\?xml [^>]*>\s*<testsuites name="coreml-parity"'),
    "markdown": partial(_begins, rb"### \S+ coreml-parity: "),
    "parity-init": partial(_begins, re.escape(INIT_MARK.encode())),
    "markdown of compare-runs": partial(_begins, rb"### \S+ coreml-parity compare-runs: "),
}
