"""MODEL, finished files and images -> all that the files of a new suite are to say."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from conversion.artifact import open_artifact
from conversion.routes import find_route
from parity.backends import backends_for
from parity.backends.reference import Reference, make_reference
from parity.core.errors import ParityError
from parity.starting.finished import MEASURED, Finished, finished_entry
from parity.starting.network import StartingModel
from parity.suite.images import NOISE, ImageSet, are_noise, load_images
from parity.suite.patterns import matching

MODELS_FILE = "models.py"
FUNCTION = "classifier"
ROUTES = ("onnx", "mlprogram")
_NATIVE = "coreml-native"
_FEW = 4


@dataclass(frozen=True)
class Plan:
    """Hold what is written for a model.

    factory, images: as the suite file has them. routes: empty where finished files are compared.
    on_apple: something of it runs on Apple's runtime. installs: what CI installs, arguments of pip.
    assumptions: what the user must confirm. remarks: what weakens a verdict.
    """

    subject: StartingModel
    factory: str
    images: tuple[str, ...]
    routes: tuple[str, ...]
    finished: tuple[Finished, ...]
    on_apple: bool
    python: str
    installs: tuple[str, ...]
    assumptions: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def make_plan(subject: StartingModel, artifacts: Sequence[str], images: Sequence[str], directory: Path) -> Plan:
    """Plan a suite in a directory.

    artifacts: files, or globs of them; images: files, directories or globs; from where the command is called.
    Raises ParityError, ConversionError or ImageError: there are no such files, or they cannot be read.
    """
    patterns = [from_suite(pattern, directory) for pattern in images]
    pictures = load_images(patterns, subject.classifier.preprocessing, directory)

    @cache
    def reference() -> Reference:
        return make_reference(subject.classifier, pictures)

    paths = [path for one in artifacts for path in _files(one)]
    formats = [open_artifact(path).format for path in paths] or [find_route(route).format for route in ROUTES]
    finished = tuple(_entries(paths, directory, subject, reference))
    installs = tuple(_installs(directory))
    return Plan(
        subject,
        f"{MODELS_FILE}:{FUNCTION}" if subject.is_bare else subject.reference,
        tuple(dict.fromkeys(patterns)),
        () if finished else ROUTES,
        finished,
        any(_NATIVE in backends_for(one) for one in formats),
        f"{sys.version_info.major}.{sys.version_info.minor}",
        installs,
        (*subject.assumptions, *_measured(finished), f"CI installs by pip: {', '.join(installs)}"),
        tuple(_remarks(pictures, directory)),
    )


def from_suite(text: str, directory: Path) -> str:
    """Write a path or a pattern as a suite file in a directory names it: relative, unless it lies elsewhere.

    Elsewhere is what was written from the root and is not below the directory.
    """
    home = Path(os.path.abspath(directory))  # noqa: PTH100 - Path.absolute keeps `..`, resolve follows links
    path = Path(os.path.abspath(text))  # noqa: PTH100
    if Path(text).is_absolute() and not path.is_relative_to(home):
        return text
    return Path(os.path.relpath(path, home)).as_posix()


def reference_from_suite(model: str, directory: Path) -> str:
    """Write MODEL as a suite file in a directory names it: the files that it names are relative to that.

    Raises ParityError where it is no MODEL that a suite can begin with.
    """
    module, _, name = model.rpartition(":")
    if not module or not name:
        raise ParityError(
            f"{model}: MODEL is `file.py:callable`, `package.module:callable` or `torchvision:name@weights`; "
            "a suite file, of which it could be a name, is only made now"
        )
    if module.endswith(".py"):
        return f"{from_suite(module, directory)}:{name}"
    weights = name.partition("@")[2] or name
    if not Path(weights).exists():
        return model
    return f"{model.removesuffix(weights)}{from_suite(weights, directory)}"


def _files(artifact: str) -> list[Path]:
    """List the files of an argument; a pattern that the shell left alone is one of ours."""
    return [Path(artifact)] if Path(artifact).exists() else [Path(name) for name in matching([artifact], Path())]


def _entries(
    paths: Sequence[Path], directory: Path, subject: StartingModel, reference: Callable[[], Reference]
) -> Iterator[Finished]:
    for path in dict.fromkeys(paths):
        yield finished_entry(path, from_suite(str(path), directory), subject.classifier, reference)


def _measured(finished: Sequence[Finished]) -> Iterator[str]:
    for one in finished:
        if one.about == MEASURED:
            yield f"{one.path}: what the file does itself, as measured on these images; the suite file states it"


def _installs(directory: Path) -> Iterator[str]:
    yield f"coreml-parity=={version('coreml-parity')}"
    if (directory / "requirements.txt").is_file():
        yield "-r requirements.txt"
    elif (directory / "pyproject.toml").is_file():
        yield "."


def _remarks(pictures: ImageSet, directory: Path) -> Iterator[str]:
    if len(pictures.names) < _FEW:
        yield f"{len(pictures.names)} image(s) say little: give {_FEW} photos or more, of several classes"
    if are_noise(pictures.pixels):
        yield NOISE
    home = directory.absolute()
    repository = next((one for one in (home, *home.parents) if (one / ".git").exists()), home)
    if repository != home:
        yield f"GitHub reads workflows only in {repository}: move .github there, and let its steps work in {home}"
