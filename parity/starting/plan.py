"""MODEL, finished files and images -> all that the files of a new suite are to say."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from conversion.artifact import open_artifact
from conversion.deployed import check_model
from conversion.files.suffixes import IMAGE_SUFFIXES
from conversion.guards.torch_defaults import with_torch_defaults
from conversion.guards.user_code import user_code
from conversion.routes import find_route
from conversion.sources import KINDS, extra_of
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

    model: StartingModel
    factory: str
    images: tuple[str, ...]
    routes: tuple[str, ...]
    finished: tuple[Finished, ...]
    on_apple: bool
    python: str
    installs: tuple[str, ...]
    assumptions: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@with_torch_defaults
def make_plan(model: StartingModel, finished: Sequence[Path], images: Sequence[str], directory: Path) -> Plan:
    """Plan a suite in a directory.

    images: files, directories or globs, from where the command is called, as finished files are.
    Raises ParityError, ConversionError or ImageError: there are no such files, they cannot be read, or the module
    is none that can be converted.
    """
    # Before anything is written: what no suite could run is no suite to begin with.
    with user_code(model.reference):
        check_model(model.classifier)
    patterns = [from_suite(pattern, directory) for pattern in images]
    pictures = load_images(patterns, model.classifier.preprocessing, directory)

    @cache
    def reference() -> Reference:
        with user_code(model.reference):
            return make_reference(model.classifier, pictures)

    formats = [open_artifact(path).format for path in finished] or [find_route(route).format for route in ROUTES]
    entries = tuple(
        finished_entry(path, from_suite(str(path), directory), model.classifier, reference) for path in finished
    )
    installs = tuple(_installs(model.reference, directory))
    assumed = model.assumptions.lines if model.assumptions else ()
    factory = f"{MODELS_FILE}:{FUNCTION}" if model.assumptions else model.reference
    return Plan(
        model,
        factory,
        tuple(dict.fromkeys(patterns)),
        () if entries else ROUTES,
        entries,
        any(_NATIVE in backends_for(one) for one in formats),
        f"{sys.version_info.major}.{sys.version_info.minor}",
        installs,
        (*assumed, *_measured(entries), f"CI installs by pip: {', '.join(installs)}"),
        (*_remarks(pictures), *_left_behind([*patterns, model.reference, *(e.path for e in entries)], directory)),
    )


def finished_files(arguments: Sequence[str]) -> list[Path]:
    """List the files of a command line, each once; a pattern that the shell left alone is one of ours.

    Raises ParityError for an image: the shell made several words of the pattern behind --images.
    """
    for name in arguments:
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            raise ParityError(
                f"{name}: an image, where a converted file is to be; put a pattern in quotes, --images "
                "'photos/*.png', or give the directory"
            )
    listed = [[name] if Path(name).exists() else matching([name], Path()) for name in arguments]
    return list(dict.fromkeys(Path(name) for names in listed for name in names))


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
        raise ParityError(f"{model}: MODEL is {KINDS}; a suite file, of which it could be a name, is only made now")
    if module.endswith(".py"):
        return f"{from_suite(module, directory)}:{name}"
    weights = name.partition("@")[2] or name
    if not Path(weights).exists():
        return model
    return f"{model.removesuffix(weights)}{from_suite(weights, directory)}"


def _measured(finished: Sequence[Finished]) -> Iterator[str]:
    for one in finished:
        if one.about == MEASURED:
            yield f"{one.path}: what the file does itself, as measured on these images; the suite file states it"


def _installs(model: str, directory: Path) -> Iterator[str]:
    extra = extra_of(model)
    number = version("coreml-parity")
    # A shell takes brackets for a pattern.
    yield f"'coreml-parity[{extra}]=={number}'" if extra else f"coreml-parity=={number}"
    if (directory / "requirements.txt").is_file():
        yield "-r requirements.txt"
    elif (directory / "pyproject.toml").is_file():
        yield "."


def _remarks(pictures: ImageSet) -> Iterator[str]:
    if len(pictures.names) < _FEW:
        yield f"{len(pictures.names)} image(s) say little: give {_FEW} photos or more, of several classes"
    if are_noise(pictures.pixels):
        yield NOISE


def _left_behind(named: Sequence[str], directory: Path) -> Iterator[str]:
    """Say what CI would not have, or not look at: it sees what is in the repository."""
    home = directory.absolute()
    repository = next((one for one in (home, *home.parents) if (one / ".git").exists()), home)
    if repository != home:
        yield f"GitHub reads workflows only in {repository}: move .github there, and let its steps work in {home}"
    for name in named:
        path = Path(os.path.abspath(home / name))  # noqa: PTH100
        if not path.is_relative_to(repository):
            yield f"{name} lies outside of {repository}, where CI has no such file: copy it there"
