"""The two sides of an upgrade: the installed converters, or a tool chain; opened, asked, closed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.errors import ConversionError
from conversion.routes import ROUTES, convert
from conversion.toolchain_packages import normal, requirement
from conversion.toolchains import (
    TOOLCHAINS,
    Environment,
    Session,
    Source,
    ToolChain,
    ToolChainFailure,
    convert_in,
    lacks_route,
    prepare,
    why_not,
)
from parity.backends import backends_for, find_backend
from parity.environment import environment
from parity.errors import ParityError
from parity.pipeline import judge_prediction, judge_with_prediction
from parity.results import Prediction, Subject

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.reference import Reference
    from parity.suite import ModelEntry, Suite

INSTALLED = "installed"
# Packages that run artefacts -> the backend that they are. The others convert.
RUNTIMES: Mapping[str, str] = {"onnxruntime": "onnxruntime"}


@dataclass(frozen=True)
class Side:
    """Name one side: a tool chain, or what is installed (None)."""

    name: str
    toolchain: ToolChain | None = None

    @property
    def packages(self) -> tuple[str, ...]:
        """List the names of the packages that the tool chain has other versions of."""
        listed = self.toolchain.packages if self.toolchain else ()
        return tuple(normal(requirement(package).name) for package in listed)

    @property
    def converts(self) -> bool:
        """Tell whether conversions take place in the tool chain; those of a mere runtime need not."""
        return self.toolchain is not None and not set(self.packages) <= set(RUNTIMES)

    def runs(self, backend: str) -> bool:
        """Tell whether a backend's predictions are made in the tool chain."""
        return any(RUNTIMES.get(package) == backend for package in self.packages)


def find_side(requested: Sequence[str], named: Mapping[str, ToolChain]) -> Side:
    """Make a side of what a user wrote: `installed`, a tool chain's name, or requirements (`onnx==1.17.0`).

    named: the suite's tool chains; those of TOOLCHAINS are known without it.
    """
    known = {**TOOLCHAINS, **named}
    if list(requested) == [INSTALLED]:
        return Side(INSTALLED)
    for name in requested:
        if name in known and len(requested) == 1:
            return Side(name, known[name])
        if name in known or name == INSTALLED:
            raise ParityError(f"{' and '.join(requested)}: {name} is a whole tool chain; give it alone")
        if not any(sign in name for sign in "=<>~"):
            raise ParityError(
                f"{name}: neither PACKAGE==VERSION nor a tool chain (tool chains: {', '.join(known)}, {INSTALLED})"
            )
    name = " ".join(sorted(requested))
    return Side(name, ToolChain(name, tuple(requested)))


@dataclass(frozen=True)
class Made:
    """Hold what one side made of one model by one route: an artefact, or why there is none.

    said: the last lines of a tool chain that failed. skipped: why it was not tried.
    """

    artifact: Artifact | None = None
    failure: ToolChainFailure | None = None
    skipped: str = ""


@dataclass(frozen=True)
class Bench:
    """Hold an opened side: it converts and it predicts.

    failure: why its environment could not be built. skipped: why that was not even tried.
    """

    side: Side
    directory: Path
    timeout: float
    session: Session | None = None
    failure: ToolChainFailure | None = None
    skipped: str = ""

    @property
    def versions(self) -> Mapping[str, str]:
        """Return the versions of this side's packages: of a tool chain those that are not the installed ones."""
        return self.session.environment.packages if self.session else environment().packages

    @property
    def remarks(self) -> tuple[str, ...]:
        """List what has to be said of the tool chain."""
        return tuple(f"{self.side.name}: {remark}" for remark in self.session.remarks) if self.session else ()

    def make(self, suite: Suite, entry: ModelEntry, reference: Reference, route: str) -> Made:
        """Convert a model of the suite by a route; a failure is a result."""
        chain = self.side.toolchain
        if self.skipped or self.failure:
            return Made(failure=self.failure, skipped=self.skipped)
        if chain and self.side.converts and (reason := lacks_route(chain, route)):
            return Made(skipped=reason)
        axes = (entry.dynamic, entry.bounds, entry.sizes)
        if self.session is None or not self.side.converts:
            try:
                return Made(convert(reference.classifier, route, self.directory, *axes))
            except ConversionError as error:
                return Made(failure=ToolChainFailure("convert", (str(error),)))
        source = Source(
            "parity.toolchain_side:make_classifier",
            {
                "factory": entry.factory,
                "arguments": dict(entry.arguments),
                "name": entry.name,
                "directory": str(suite.directory.absolute()),
            },
        )
        made = convert_in(
            self.session, reference.classifier, source, route, self.directory, *axes, timeout=self.timeout
        )
        return Made(failure=made) if isinstance(made, ToolChainFailure) else Made(made)

    def judge(
        self, reference: Reference, made: Made, backend: str, entry: ModelEntry, route: str, scale: float = 1.0
    ) -> tuple[Subject, Prediction | None]:
        """Run what was made on a backend and compare it with PyTorch."""
        tolerance = entry.tolerance.get(route)
        if made.artifact is None:
            subject = Subject(entry.name, route, "", backend, ROUTES[route].precision, "skipped", made.skipped)
            return (replace(subject, verdict="error", reason=str(made.failure)) if made.failure else subject), None
        if self.session is None or not self.side.runs(backend):
            return judge_with_prediction(reference, made.artifact, backend, tolerance, scale)
        found = self._predict(made.artifact, backend, reference.images.pixels)
        if isinstance(found, ToolChainFailure):
            subject = Subject(entry.name, route, made.artifact.path.name, backend, made.artifact.precision, "error")
            return replace(subject, reason=str(found)), None
        return judge_prediction(reference, made.artifact, backend, found, tolerance, scale), found

    def _predict(self, artifact: Artifact, backend: str, pixels: np.ndarray) -> Prediction | ToolChainFailure:
        assert self.session is not None
        with tempfile.TemporaryDirectory(prefix="coreml-parity-") as scratch:
            file = Path(scratch) / "pixels.npy"
            np.save(file, pixels)
            arguments = {"artifact": str(artifact.path.absolute()), "backend": backend, "pixels": str(file)}
            request = {"function": "parity.toolchain_side:predict", "arguments": arguments}
            answer = self.session.ask("call", request, self.timeout)
        if isinstance(answer, ToolChainFailure):
            return answer
        rows = [[float.fromhex(p) for p in row] for row in answer["probabilities"]]
        return Prediction(np.array(rows), _names(answer["labels"]), _names(answer["top1"]))


@contextmanager
def opened(side: Side, directory: Path, timeout: float) -> Iterator[Bench]:
    """Open a side. directory: where artefacts are kept, and below it environments of tool chains."""
    with ExitStack() as stack:
        chain = side.toolchain
        if chain is None:
            yield Bench(side, directory, timeout)
        elif reason := why_not(chain):
            yield Bench(side, directory, timeout, skipped=reason)
        else:
            built: Environment | ToolChainFailure = prepare(chain, directory / "toolchains")
            if isinstance(built, ToolChainFailure):
                yield Bench(side, directory, timeout, failure=built)
            else:
                yield Bench(side, directory, timeout, stack.enter_context(Session(built)))


def runtime_for(route: str) -> str:
    """Choose the backend of a route: the first that runs its format here."""
    able = backends_for(ROUTES[route].format)
    return next((name for name in able if find_backend(name).why_not() is None), able[0])


def _names(names: Any) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
