"""TOOLCHAINS: the same conversion with other versions of the converters, isolated from the running environment.

    with Session(prepare(toolchain, directory)) as session:
        convert_in(session, classifier, source, route, directory) -> Artifact, or a ToolChainFailure

The classifier does not cross: its factory is called again in there. What is converted must therefore be the same
every time, and a factory that gives other weights in there is noticed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.artifact import Artifact, open_artifact
from conversion.errors import ConversionError
from conversion.neuralnetwork import convert_onnx_coreml, slimmed
from conversion.provenance import CONVERTERS, package_versions, weights_hash
from conversion.routes import ROUTES, convert_by, find_route
from conversion.shapes import Dynamic, open_axes
from parity.backends.bound import bind
from parity.suite.toolchain import ToolChain as ToolChain
from parity.versions.toolchain_environment import Environment as Environment
from parity.versions.toolchain_environment import ToolChainError as ToolChainError
from parity.versions.toolchain_environment import ToolChainFailure as ToolChainFailure
from parity.versions.toolchain_environment import prepare as prepare
from parity.versions.toolchain_environment import why_not as why_not
from parity.versions.toolchain_session import Session as Session

if TYPE_CHECKING:
    from conversion.classifier import Classifier

TOOLCHAINS: Mapping[str, ToolChain] = {
    chain.name: chain
    for chain in (
        # What onnx-coreml was released with and tested against.
        ToolChain("2020", ("onnx-coreml==1.3", "coremltools==3.4", "onnx==1.6.0", "protobuf<3.21"), python="3.7"),
    )
}

# Of the second half of a route alone, without torch.
_FROM_ONNX = ("onnx-coreml",)


@dataclass(frozen=True)
class Source:
    """Say how another process makes the same classifier: `package.module:function`, called with the arguments.

    arguments: what JSON can hold.
    """

    function: str
    arguments: Mapping[str, Any]


def lacks_route(toolchain: ToolChain, route: str) -> str | None:
    """Say why a tool chain cannot convert by a route at all; None where it can."""
    if toolchain.python is None or route in _FROM_ONNX:
        return None
    return (
        f"the tool chain {toolchain.name} has Python {toolchain.python} and no torch; there conversions start from "
        f"ONNX ({', '.join(_FROM_ONNX)})"
    )


def convert_in(
    session: Session,
    classifier: Classifier,
    source: Source,
    route: str,
    directory: Path,
    dynamic: Dynamic | None = None,
    bounds: Sequence[Any] | None = None,
    sizes: Sequence[Sequence[int]] | None = None,
    timeout: float = 900,
) -> Artifact | ToolChainFailure:
    """Convert a classifier as `conversion.convert` does, but in a tool chain.

    classifier: what the source gives in this process. timeout: seconds until the conversion is stopped.
    """
    find_route(route)
    axes = {"dynamic": dynamic, "bounds": bounds, "sizes": sizes}
    if session.environment.toolchain.python is not None:
        return _convert_from_onnx(session, classifier, route, directory, axes, timeout)
    request = {
        "source": {"function": source.function, "arguments": dict(source.arguments)},
        "route": route,
        "directory": str(directory.absolute()),
        "axes": axes,
    }
    answer = session.ask("convert", request, timeout)
    if isinstance(answer, ToolChainFailure):
        return answer
    if answer["weights"] != weights_hash(classifier):
        return _other_weights(classifier)
    return _opened(Path(answer["path"]), route, answer["remark"])


def convert_own_in(
    session: Session, classifier: Classifier, own: Mapping[str, Any], directory: Path, timeout: float
) -> Artifact | ToolChainFailure:
    """Convert a classifier in a tool chain by a route of a suite's own.

    own: arguments of parity.versions.toolchain_side.convert_own, without the directory.
    """
    request = {
        "function": "parity.versions.toolchain_side:convert_own",
        "arguments": {**own, "directory": str(directory.absolute())},
    }
    answer = session.ask("call", request, timeout)
    if isinstance(answer, ToolChainFailure):
        return replace(answer, stage="convert") if answer.stage == "run" else answer
    if answer["weights"] != weights_hash(classifier):
        return _other_weights(classifier)
    artifact = _opened(Path(answer["path"]), own["route"], answer["remark"])
    return artifact if isinstance(artifact, ToolChainFailure) else bind(artifact, classifier.task)


def _other_weights(classifier: Classifier) -> ToolChainFailure:
    reason = (
        f"{classifier.name}: the factory gives other weights every time it is called (seed it, or load a "
        "checkpoint), so what the tool chain converted is another model"
    )
    return ToolChainFailure("load", (reason,))


def _convert_from_onnx(
    session: Session, classifier: Classifier, route: str, directory: Path, axes: Mapping[str, Any], timeout: float
) -> Artifact | ToolChainFailure:
    """Export with today's exporter, and let the tool chain make of that file what it makes of it."""
    if reason := lacks_route(session.environment.toolchain, route):
        return ToolChainFailure("convert", (reason,))
    inside = session.environment.packages
    python = session.environment.toolchain.python or ""
    recipe = replace(
        ROUTES[route],
        write=partial(convert_onnx_coreml, to_specification=partial(_specification, session, timeout)),
        options={**ROUTES[route].options, "python": python},
    )
    packages = {**package_versions(), **{name: inside[name] for name in CONVERTERS if name in inside}}
    try:
        opened = open_axes(classifier.preprocessing, **axes)
        artifact = convert_by(recipe, classifier, directory, opened, packages)
    except ToolChainError as error:
        return error.failure
    except ConversionError as error:  # the first half of the route, here
        return ToolChainFailure("convert", (str(error),))
    return _opened(artifact.path, route, artifact.remark)


def _specification(session: Session, timeout: float, path: Path, **options: Any) -> Any:
    """Do what conversion.neuralnetwork.onnx_to_neuralnetwork does, inside the tool chain."""
    import onnx

    from conversion.guards.quiet import import_coremltools

    scratch = Path(tempfile.mkdtemp(prefix="coreml-parity-"))
    try:
        source, target = scratch / "slimmed.onnx", scratch / "made.mlmodel"
        onnx.save(slimmed(path), str(source))
        request = {"onnx": str(source), "out": str(target), "options": options}
        failure = session.ask("onnx_coreml", request, timeout)
        if isinstance(failure, ToolChainFailure):
            raise ToolChainError(failure)
        return import_coremltools().utils.load_spec(str(target))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _opened(path: Path, route: str, remark: str) -> Artifact | ToolChainFailure:
    """Look at what was written: a tool chain may write nonsense."""
    try:
        return replace(open_artifact(path), route=route, remark=remark)
    except ConversionError as error:
        return ToolChainFailure("open", (str(error),))
