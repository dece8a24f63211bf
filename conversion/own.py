"""Routes that a team brings along: its own callable or its own command, which leaves a file as it ships.

    own_route("ship", Callback("tools/to_coreml.py:convert", load), suffix=".mlpackage") -> Route

The file is taken as it is, as `open_artifact` takes a file from anywhere. Where it is kept, its key holds what the
callable reaches of the user's code, the files that a command names, and those that the suite file lists.
"""

from __future__ import annotations

import glob
import hashlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from conversion.artifact import Format, Precision
from conversion.contract import ASSUMED, Contract
from conversion.errors import ConversionError
from conversion.files.digests import file_digest
from conversion.recipe import Route

if TYPE_CHECKING:
    from conversion.classifier import Classifier
    from conversion.provenance import Provenance
    from conversion.shapes import OpenAxes

FORMATS: Mapping[str, Format] = {
    ".onnx": "onnx",
    ".mlpackage": "mlprogram",
    ".mlmodel": "neuralnetwork",
    ".aimodel": "coreai",
}
# What a word of a command may hold.
PLACEHOLDERS = ("weights", "labels", "output")
# Lines that a failed command wrote last, as far as they are shown.
_LAST_LINES = 3


@dataclass(frozen=True)
class Callback:
    """Name a callable of the user's that converts; it takes what its parameters name.

    title: as the user wrote it, `tools/to_coreml.py:convert`.
    load: imports it; raises what is wrong with it.
    """

    title: str
    load: Callable[[], Callable[..., Any]]


@dataclass(frozen=True)
class Command:
    """Name a command of the user's that converts.

    words: program and arguments; {output} stands for the file to write, {weights} for one with the module's
        state_dict as torch.save writes it, {labels} for one with a label a line.
    directory: where it runs.
    seconds: how long it may take.
    """

    words: tuple[str, ...]
    directory: Path
    seconds: float


def own_route(
    name: str,
    conversion: Callback | Command,
    suffix: str,
    precision: Precision | None = None,
    depends: Sequence[str] = (),
    directory: Path = Path(),
    contract: Contract = ASSUMED,
) -> Route:
    """Make a route of a team's own conversion.

    suffix: of the file that it writes, one of FORMATS. precision: of its arithmetic; None reads it from the file.
    depends: files and patterns, relative to `directory`, whose content decides the result too.
    contract: what the file does itself, where somebody says it.
    """
    write, sources, options = (
        (partial(_call, conversion), partial(_reached, conversion), {"convert": conversion.title})
        if isinstance(conversion, Callback)
        else (partial(_run, conversion), partial(_named, conversion), {"command": json.dumps(conversion.words)})
    )

    def key() -> str:
        return f"{sources()}\0{_contents(depends, directory)}"

    about = f"calls {conversion.title}" if isinstance(conversion, Callback) else f"runs `{_shown(conversion)}`"
    return Route(name, FORMATS[suffix], precision, suffix, write, options, key, about=about, contract=contract)


def finished_route(name: str, path: Path, contract: Contract = ASSUMED) -> Route:
    """Make a route of a file that somebody else converts: it is opened as it is, where it is."""

    def write(classifier: Classifier, path: Path, provenance: Provenance, opened: OpenAxes) -> None:
        raise AssertionError(f"{path} is not converted")

    return Route(
        name,
        FORMATS[path.suffix],
        None,
        path.suffix,
        write,
        finished=path,
        about="a finished file",
        contract=contract,
    )


def _call(callback: Callback, classifier: Classifier, path: Path, provenance: Provenance, opened: OpenAxes) -> None:
    """Call the user's function with what it names, and save what it returns."""
    from conversion.deployed import example_pixels

    function = callback.load()
    offered: dict[str, Callable[[], Any]] = {
        "classifier": lambda: classifier,
        "module": lambda: classifier.module,
        "example": lambda: example_pixels(classifier),
        "labels": lambda: list(classifier.labels),
        "preprocessing": lambda: classifier.preprocessing,
        "path": lambda: path,
    }
    save_result(callback.title, function(**_arguments(callback.title, function, offered)), path)


def _arguments(
    title: str, function: Callable[..., Any], offered: Mapping[str, Callable[[], Any]]
) -> dict[str, Any]:
    """Choose what a function takes, by the names of its parameters."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [p for p in parameters if p.kind not in kinds and (p.name in offered or p.default is p.empty)]
    if unknown := [p.name for p in wanted if p.name not in offered or p.kind is p.POSITIONAL_ONLY]:
        raise ConversionError(
            f"{title}: takes `{unknown[0]}`, which nobody can give; a conversion takes any of "
            f"{', '.join(offered)}, by these names, and what has a default"
        )
    return {p.name: offered[p.name]() for p in wanted}


def save_result(title: str, result: Any, path: Path) -> None:
    """Put what a conversion returned where the file is to be: a model, a path, or nothing where it is there.

    The temporary files behind a Core ML model are left as they are.
    """
    import onnx

    if isinstance(result, onnx.ModelProto):
        onnx.save(result, str(path))
    elif isinstance(result, str | os.PathLike):
        _copy(title, Path(result), path)
    elif type(result).__name__ == "MLModel" and callable(getattr(result, "save", None)):
        result.save(str(path))
    elif result is not None:
        raise ConversionError(
            f"{title}: returns a {type(result).__name__}; a conversion returns a coremltools MLModel, an onnx "
            "ModelProto, a path, or nothing where it wrote the file at `path`"
        )
    if not path.exists():
        raise ConversionError(f"{title}: left no file {path.name}; write it at `path`, or return the model")


def _copy(title: str, source: Path, path: Path) -> None:
    if source.suffix != path.suffix:
        raise ConversionError(f"{title}: gives {source.name}, where `suffix` is {path.suffix}; make them the same")
    if not source.exists():
        raise ConversionError(f"{title}: gives {source}, where no file is")
    if source.resolve() == path.resolve():
        return
    if source.is_dir():
        shutil.copytree(source, path)
        return
    shutil.copyfile(source, path)
    if path.suffix == ".onnx":  # weights beside it
        import onnx

        from conversion.files.model_files import external_files

        for name in external_files(onnx.load(str(source), load_external_data=False)):
            shutil.copyfile(source.parent / name, path.parent / name)


def _run(command: Command, classifier: Classifier, path: Path, provenance: Provenance, opened: OpenAxes) -> None:
    """Run the user's command in a process of its own; what it prints goes to standard output, which is the log."""
    import torch

    with tempfile.TemporaryDirectory(prefix="coreml-parity-") as scratch:
        places = {"output": path.absolute()}
        places |= {"weights": Path(scratch) / "weights.pth", "labels": Path(scratch) / "labels.txt"}
        words = [word.format_map(places) for word in command.words]
        if any("{weights}" in word for word in command.words):
            torch.save(classifier.module.state_dict(), places["weights"])
        if any("{labels}" in word for word in command.words):
            places["labels"].write_text("".join(f"{label}\n" for label in classifier.labels), encoding="utf-8")
        _run_words(command, words)
    if not path.exists():
        raise ConversionError(f"`{_shown(command)}`: left no file at {{output}}, {path.name}")


def _run_words(command: Command, words: Sequence[str]) -> None:
    # `python` is the one that runs this, environment activated or not.
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                words,
                cwd=command.directory,
                env={**os.environ, "PATH": here},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ConversionError(f"`{_shown(command)}`: cannot be started ({error.strerror or error})") from error
        try:
            code: int | None = process.wait(command.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:  # it and what it started end with this, also where Ctrl-C ended the wait
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")
    print(said)
    if code is None:
        raise ConversionError(
            f"`{_shown(command)}`: took longer than {command.seconds:g} s, and was ended; `timeout` gives it more"
        )
    if code:
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = " | ".join([line.strip() for line in said.splitlines() if line.strip()][-_LAST_LINES:])
        raise ConversionError(f"`{_shown(command)}`: {how}{f', having said: {last}' if last else ''}")


def _shown(command: Command) -> str:
    return " ".join(command.words)


# What decides the result


def _reached(callback: Callback) -> str:
    from conversion.fingerprint.reach import reach_of

    reached = reach_of(callback.load())
    # What cannot be followed may be another thing each time: it is converted anew.
    return f"{reached.digest} {'' if reached.known else uuid4().hex}"


def _named(command: Command) -> str:
    """Hash the files that the command names, as they are in its directory."""
    return _contents([word for word in command.words if (command.directory / word).is_file()], command.directory)


def _contents(patterns: Sequence[str], directory: Path) -> str:
    digest = hashlib.sha256()
    for path in dict.fromkeys(_matching(patterns, directory)):
        digest.update(f"{path.relative_to(directory) if path.is_relative_to(directory) else path}\0".encode())
        digest.update(file_digest(path).encode())
    return digest.hexdigest()


def _matching(patterns: Sequence[str], directory: Path) -> Iterator[Path]:
    for pattern in patterns:
        names = sorted(glob.glob(pattern, root_dir=directory, recursive=True))  # noqa: PTH207 - takes absolute ones too
        for path in (directory / name for name in names):
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]  # a package is a directory
            yield from (file for file in inside if file.is_file())
