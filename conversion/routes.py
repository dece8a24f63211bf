"""ROUTES: the ways from a PyTorch classifier to a file that a phone or a server runs."""

from __future__ import annotations

import difflib
import hashlib
import re
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.artifact import Artifact, open_artifact
from conversion.coreai import convert_coreai
from conversion.deployed import check_model, check_module
from conversion.errors import ConversionError
from conversion.files.digests import LOG, damage, write_digests
from conversion.files.scratch import scratch_beside
from conversion.fingerprint.probe import answers_alike, probe, write_probe
from conversion.guards.as_it_was import as_it_was
from conversion.guards.quiet import chatter_to
from conversion.guards.torch_defaults import with_torch_defaults
from conversion.guards.user_code import user_code
from conversion.hints import hint
from conversion.limits import told_limit
from conversion.mlprogram import convert_mlprogram
from conversion.neuralnetwork import OPSET, convert_onnx_coreml
from conversion.onnx import TORCHSCRIPT_OPSET, export_onnx, export_onnx_torchscript
from conversion.provenance import Provenance, package_versions, source_hash, weights_hash
from conversion.recipe import Route as Route
from conversion.shapes import Dynamic, OpenAxes, open_axes

if TYPE_CHECKING:
    import numpy as np

    from conversion.classifier import Classifier


# What a conversion noted of its result, beside it.
_REMARK = "remark.txt"

ROUTES: Mapping[str, Route] = {
    route.name: route
    for route in (
        Route(
            *("onnx", "onnx", "fp32", ".onnx", export_onnx),
            {"exporter": "torch.export"},
            about="torch.onnx.export by torch.export",
        ),
        Route(
            *("onnx-torchscript", "onnx", "fp32", ".onnx", export_onnx_torchscript),
            {"exporter": "torchscript", "opset": str(TORCHSCRIPT_OPSET)},
            about=f"torch.onnx.export by TorchScript, opset {TORCHSCRIPT_OPSET}",
        ),
        Route(
            *("mlprogram", "mlprogram", "fp16", ".mlpackage", partial(convert_mlprogram, precision="fp16")),
            {"precision": "fp16"},
            about="torch.jit.trace, then coremltools",
        ),
        Route(
            *("mlprogram-fp32", "mlprogram", "fp32", ".mlpackage", partial(convert_mlprogram, precision="fp32")),
            {"precision": "fp32"},
            about="torch.jit.trace, then coremltools",
        ),
        Route(
            *("mlprogram-export", "mlprogram", "fp16", ".mlpackage"),
            partial(convert_mlprogram, precision="fp16", frontend="export"),
            {"precision": "fp16", "frontend": "export"},
            about="torch.export, then coremltools",
        ),
        Route(
            *("onnx-coreml", "neuralnetwork", "fp32", ".mlmodel", convert_onnx_coreml),
            {"opset": str(OPSET)},
            about=f"torch.onnx.export by TorchScript, opset {OPSET}, then onnx-coreml",
        ),
        Route(
            *("coreai", "coreai", "fp32", ".aimodel", partial(convert_coreai, precision="fp32")),
            {"precision": "fp32"},
            about="torch.export, then coreai-torch",
        ),
        Route(
            *("coreai-fp16", "coreai", "fp16", ".aimodel", partial(convert_coreai, precision="fp16")),
            {"precision": "fp16"},
            about="torch.export, then coreai-torch",
        ),
    )
}


def find_route(name: str, own: Mapping[str, Route] | None = None) -> Route:
    """Return the route of that name; an unknown one is a ConversionError that names the nearest.

    own: routes beside ROUTES, by their names.
    """
    routes = {**ROUTES, **(own or {})}
    if name in routes:
        return routes[name]
    raise ConversionError(tell_unknown(name, routes))


def tell_unknown(name: str, known: Iterable[str]) -> str:
    """Say that no route has a name, which the nearest is, and which there are."""
    routes = list(known)
    near = difflib.get_close_matches(name, routes, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown route `{name}`{hint} (routes: {', '.join(routes)})"


def convert(
    classifier: Classifier,
    route: str | Route,
    directory: str | Path,
    dynamic: Dynamic | None = None,
    bounds: Sequence[Any] | None = None,
    sizes: Sequence[Sequence[int]] | None = None,
) -> Artifact:
    """Convert a classifier by a route, unless `directory` holds the result already.

    route: a name in ROUTES, or a route of one's own.
    dynamic, bounds, sizes: which axes of the input stay open, and how far; see `conversion.shapes.open_axes`.
        Unless asked, ONNX has an open batch, and Core ML takes one image of the classifier's size.
    The result is found by content: weights, all code and values that the module reaches, preprocessing, labels,
    route, options and the versions of all converters; and it counts only if the module still answers as it did when
    it was converted. What the converters print is in `convert.log` beside it. Raises ConversionError.
    """
    recipe = route if isinstance(route, Route) else find_route(route)
    if recipe.finished:
        return replace(open_artifact(recipe.finished, recipe.contract), route=recipe.name)
    return convert_by(recipe, classifier, directory, open_axes(classifier.preprocessing, dynamic, bounds, sizes))


@with_torch_defaults
def convert_by(
    recipe: Route,
    classifier: Classifier,
    directory: str | Path,
    opened: OpenAxes | None = None,
    packages: Mapping[str, str] | None = None,
) -> Artifact:
    """Convert as `convert` does, by a route that need not stand in ROUTES.

    opened: which axes of the input stay open; None: those that the format opens by itself.
    packages: versions of all converters, where they are not the installed ones.
    """
    opened = opened or OpenAxes()
    check_module(classifier)
    # Before anything is hashed: what forward imports or fills in on its first call is there from then on.
    answers = probe(classifier)
    provenance = Provenance(
        model=classifier.name,
        route=recipe.name,
        weights=weights_hash(classifier),
        options={**recipe.options, **({"open": opened.to_json()} if opened != OpenAxes() else {})},
        packages=package_versions() if packages is None else packages,
        labels=tuple(classifier.labels),
        preprocessing=classifier.preprocessing,
    )
    content = f"{provenance.to_json()}\n{source_hash(classifier)}"
    if recipe.key:
        with chatter_to(), user_code(recipe.name):
            content += f"\n{recipe.key()}"
    # A name may hold a slash ("timm/resnet18"); the key tells apart what becomes the same here.
    name = re.sub(r"[^\w.-]|^\.+", "_", classifier.name) or "_"
    digest = hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()
    home = Path(directory) / name / f"{recipe.name}-{digest[:12]}"
    file = f"{name}{recipe.suffix}"

    def write(directory: Path) -> None:
        remark = recipe.write(classifier, directory / file, provenance, opened)
        if remark:
            (directory / _REMARK).write_text(remark, encoding="utf-8")
        if recipe.key:  # a file that cannot be read is not kept
            open_artifact(directory / file)
        write_probe(directory, answers)
        write_digests(directory)

    place = _find(home, answers)
    if not place.whole:
        with _turn_to_make(home) as scratch:
            place = _find(home, answers)
            if not place.whole:  # no other process was faster
                check_model(classifier)
                _convert(classifier, recipe, write, scratch, place.path)
    again = f"{file} was converted again: in the cache, {place.damage}" if place.damage else ""
    noted = place.path / _REMARK
    remarks = (again, noted.read_text(encoding="utf-8") if noted.is_file() else "")
    return replace(_artifact(recipe, place.path / file, provenance), remark="; ".join(filter(None, remarks)))


def _artifact(recipe: Route, path: Path, provenance: Provenance) -> Artifact:
    """Say what a route made: of a file that is not ours, what the file itself says."""
    if recipe.key:
        artifact = open_artifact(path, recipe.contract)
        return replace(artifact, route=recipe.name, precision=recipe.precision or artifact.precision)
    assert recipe.precision is not None
    intermediate = path.with_suffix(".onnx")
    between = intermediate if recipe.suffix != ".onnx" and intermediate.is_file() else None
    return Artifact(
        *(path, recipe.format, recipe.precision, recipe.name, provenance, between), contract=provenance.contract
    )


@dataclass(frozen=True)
class _Place:
    """Say where a result lies, or is to lie; damage: what is wrong with the one that lies, or lay, there."""

    path: Path
    whole: bool = False
    damage: str = ""


def _find(home: Path, answers: np.ndarray) -> _Place:
    """Find where the result of a module that answers so lies, or is to lie.

    Modules that nothing but their answers tells apart get directories beside each other: another process may still
    read the one that is there. What is damaged is nobody's.
    """
    for number in count(1):
        place = home if number == 1 else home.with_name(f"{home.name}-{number}")
        if not place.exists():
            return _Place(place)
        if trouble := damage(place):
            return _Place(place, damage=trouble)
        if answers_alike(place, answers):
            return _Place(place, whole=True)
    raise AssertionError("there is always another number")


def _convert(
    classifier: Classifier, recipe: Route, write: Callable[[Path], None], scratch: Path, place: Path
) -> None:
    """Convert into a directory of its own and move it into place when it is whole."""
    log = scratch / LOG
    try:
        with chatter_to(log), _freed_on_failure(), user_code(classifier.name), as_it_was(classifier.module):
            write(scratch)
        shutil.rmtree(place, ignore_errors=True)
        scratch.replace(place)
    except ConversionError:
        raise
    except Exception as error:
        kept = place.parent / f"{place.name}.log"
        with suppress(OSError):  # a full disk is told by the error itself
            log.replace(kept)
        raise ConversionError(_explain(classifier, recipe, error, kept)) from error


@contextmanager
def _freed_on_failure() -> Iterator[None]:
    """Drop what an error's traceback keeps alive: half a model, whose temporary directory goes with a warning."""
    try:
        yield
    except Exception as error:
        traceback.clear_frames(error.__traceback__)
        raise


@contextmanager
def _turn_to_make(home: Path) -> Iterator[Path]:
    """Wait for those who convert the same, then give a scratch directory beside `home`, removed afterwards."""
    from filelock import FileLock

    with ExitStack() as stack:
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(f"{home}.lock"))
            scratch = stack.enter_context(scratch_beside(home))
        except OSError as error:
            raise ConversionError(
                f"{home.parent}: converted models cannot be written there ({error.strerror or error}); "
                "give a directory that can be written to"
            ) from error
        yield scratch


def _explain(classifier: Classifier, recipe: Route, error: Exception, log: Path) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    # Its own advice, where it has any, is to change what the route fixes.
    limit = told_limit(text, recipe, ROUTES)
    said = limit or (text if len(text) <= 300 else f"{text[:300]}...")
    advice = hint(text) or f"what the converters said is in {log}"
    failed = f"the conversion failed with {type(error).__name__}: {said}"
    return f"{classifier.name}, route {recipe.name}: {failed}; {advice}"
