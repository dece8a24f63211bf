"""A side of an upgrade at work: opened, asked to convert, to predict and to explain, and closed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.artifact import under
from conversion.contract import ASSUMED, Contract
from conversion.errors import ConversionError
from conversion.toolchain_worker import raised_while_importing
from parity.backends import backends_for, find_backend
from parity.contract.settle import settled
from parity.core.environment import environment
from parity.core.results import Diagnosis, Divergence, Prediction, Subject
from parity.diagnosis.causes import Explainer
from parity.entries import artifact_of
from parity.formats import format_of
from parity.judging import Judging, judge_prediction, judge_with_prediction
from parity.versions.cache import TOOLCHAINS
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchain_packages import installed
from parity.versions.toolchain_side import Failure
from parity.versions.toolchains import (
    Environment,
    Session,
    Source,
    ToolChainFailure,
    convert_in,
    convert_own_in,
    lacks_route,
    prepare,
    why_not,
)
from parity.versions.upgrade_verdicts import SideState, state_of

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.recipe import Route


@dataclass(frozen=True)
class Conversion:
    """Hold the artefact of one model by one route on one side, or why there is none.

    failure: of the tool chain. skipped: why it was not tried.
    """

    artifact: Artifact | None = None
    failure: ToolChainFailure | None = None
    skipped: str = ""


@dataclass(frozen=True)
class Outcome:
    """Hold how one side did: against PyTorch, with its answers where it gave any.

    state: what upgrade_verdicts.TABLE goes by; it tells a refusal from a crash, as the subject's verdict does not.
    """

    subject: Subject
    answers: Prediction | None
    state: SideState


@dataclass(frozen=True)
class Bench:
    """Hold an opened side: it converts, it predicts, and it explains what it got wrong.

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

    def version(self, package: str) -> str:
        """Return this side's version of a package; empty where it has none."""
        own = self.session.environment.packages if self.session else {}
        return own.get(package) or installed().get(package, "")

    @property
    def remarks(self) -> tuple[str, ...]:
        """List what has to be said of the tool chain."""
        return tuple(f"{self.side.name}: {remark}" for remark in self.session.remarks) if self.session else ()

    def convert(self, tried: SuiteRoute, held: Contract = ASSUMED) -> Conversion:
        """Convert a model of the suite by a route; a failure is a result.

        held: the contract of the other side's file, which this side's is held to; nobody's: its own.
        """
        entry, route = tried.entry, tried.route
        chain = self.side.toolchain
        if self.skipped or self.failure:
            return Conversion(failure=self.failure, skipped=self.skipped)
        if chain and tried.recipe.finished and not any(map(self.side.runs, backends_for(tried.recipe.format))):
            return Conversion(skipped=f"{route} is a finished file, which no converter makes anew")
        if chain and self.side.converts and (reason := lacks_route(chain, route)):
            return Conversion(skipped=reason)
        classifier = tried.reference.classifier
        if self.session is None or not self.side.converts or tried.recipe.finished:
            artifact = _convert_here(tried, self.directory)
        elif route in entry.converters:
            artifact = convert_own_in(self.session, classifier, tried.own_converter, self.directory, self.timeout)
            if not isinstance(artifact, ToolChainFailure):
                artifact = under(tried.recipe.contract, artifact)
        else:
            source = Source("parity.versions.toolchain_side:make_classifier", tried.factory)
            axes = (entry.dynamic, entry.bounds, entry.sizes)
            artifact = convert_in(self.session, classifier, source, route, self.directory, *axes, self.timeout)
        if isinstance(artifact, ToolChainFailure):
            return Conversion(failure=artifact)
        try:
            return Conversion(settled(under(held, artifact), classifier, lambda: tried.reference))
        except ConversionError as error:
            return Conversion(failure=ToolChainFailure("convert", (str(error),)))

    def judge(self, tried: SuiteRoute, conversion: Conversion, backend: str) -> Outcome:
        """Run an artefact on a backend and compare it with PyTorch."""
        entry, reference, route = tried.entry, tried.reference, tried.route
        artifact, judging = conversion.artifact, Judging(entry.tolerance.get(route))
        if artifact is None:
            precision = entry.recipe(route).precision or ""
            subject = Subject(entry.name, route, "", backend, precision, "skipped", conversion.skipped)
            return _failed(subject, conversion.failure) if conversion.failure else Outcome(subject, None, "skipped")
        if not self._runs(backend):
            subject, answers = judge_with_prediction(reference, artifact, backend, judging)
            # The runtime is not what is being tried: that it does not take the file is the file's fault.
            return Outcome(subject, answers, "nonsense" if subject.verdict == "error" else state_of(subject))
        request = {
            "artifact": str(artifact.path.absolute()),
            "backend": backend,
            "contract": _contract_of(artifact),
        }
        answer = self._ask_parity("predict", request, {"pixels": reference.images.pixels})
        if isinstance(answer, ToolChainFailure):
            subject = Subject(entry.name, route, artifact.path.name, backend, artifact.precision, "error")
            return _failed(subject, answer)
        rows = [[float.fromhex(p) for p in row] for row in answer["probabilities"]]
        answers = Prediction(np.array(rows), _names(answer["labels"]), _names(answer["top1"]))
        subject = judge_prediction(reference, artifact, backend, answers, judging)
        # Which hop is to blame was looked for with the installed runtime, which did not give these answers.
        subject = replace(subject, guilty_hop="")
        return Outcome(subject, answers, state_of(subject))

    def explain(self, tried: SuiteRoute, artifact: Artifact, outcome: Outcome) -> Subject:
        """Put causes into a side's subject, looked for with the packages of that side.

        Where its own runtime gave the answers, and cannot be asked again, nothing is looked for: another runtime
        would accuse itself.
        """
        subject, reference, images = outcome.subject, tried.reference, tried.reference.images
        own_runtime = self._runs(subject.backend)
        if not own_runtime and not self._reads_otherwise(artifact):
            return Explainer()(subject, reference, artifact, outcome.answers)
        if self.side.toolchain and not self.side.toolchain.kept:
            # PyTorch is another one in there, and the installed one is the reference.
            return replace(subject, unexplained=_UNEXPLAINED.format("its torch is not the reference's"))
        from conversion.provenance import weights_hash

        failure = Failure(
            source=tried.factory,
            weights=weights_hash(reference.classifier),
            artifact=str(artifact.path.absolute()),
            route=artifact.route,
            backend=subject.backend,
            names=images.names,
            files=[str(Path(file).absolute()) for file in images.files],
            tolerance=subject.tolerance,
            contract=_contract_of(artifact),
        )
        arrays = {"pixels": images.pixels, "expected": np.asarray(reference.prediction.probabilities)}
        answer = self._ask_parity("explain", {"failure": asdict(failure)}, arrays)
        if isinstance(answer, ToolChainFailure):
            return replace(subject, unexplained=_UNEXPLAINED.format(answer))
        where = answer["first_divergence"]
        return replace(
            subject,
            guilty_hop=answer["guilty_hop"],
            diagnoses=tuple(Diagnosis(**diagnosis) for diagnosis in answer["diagnoses"]),
            first_divergence=Divergence(**where) if where else None,
        )

    def _runs(self, backend: str) -> bool:
        return self.session is not None and self.side.runs(backend)

    def _reads_otherwise(self, artifact: Artifact) -> bool:
        """Whether an explanation would read and run a file with another onnx than this side's."""
        if self.session is None or self.session.environment.toolchain.python is not None:
            return False
        return any(name in self.session.environment.packages for name in format_of(artifact).RUNTIME_PACKAGES)

    def _ask_parity(self, function: str, arguments: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
        """Call a function of toolchain_side in there; arrays: arguments that cross as .npy files."""
        assert self.session is not None
        with tempfile.TemporaryDirectory(prefix="coreml-parity-") as scratch:
            files = {name: str(Path(scratch) / f"{name}.npy") for name in arrays}
            for name, array in arrays.items():
                np.save(files[name], array)
            request = {
                "function": f"parity.versions.toolchain_side:{function}",
                "arguments": {**arguments, **files},
            }
            return self.session.ask("call", request, self.timeout)


_UNEXPLAINED = "the cause cannot be looked for with the packages of this side: {}"


def _convert_here(tried: SuiteRoute, directory: Path) -> Artifact | ToolChainFailure:
    try:
        return artifact_of(tried.reference.classifier, tried.entry, tried.route, directory)
    except ConversionError as error:
        stage = "load" if raised_while_importing(error) else "convert"
        return ToolChainFailure(stage, (str(error),))


def _contract_of(artifact: Artifact) -> dict[str, Any]:
    """Write a contract down, with the output that is read: what JSON can hold."""
    return {**asdict(artifact.contract), "output": artifact.output}


def _failed(subject: Subject, failure: ToolChainFailure) -> Outcome:
    """Tell what a failure says of a side: nothing, where its tool chain never came to do its work."""
    if failure.untried:
        return Outcome(replace(subject, verdict="skipped", reason=str(failure)), None, "untried")
    state: SideState = "crashed" if failure.died else "nonsense" if failure.stage == "open" else "refused"
    return Outcome(replace(subject, verdict="error", reason=str(failure)), None, state)


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
            built: Environment | ToolChainFailure = prepare(chain, directory / TOOLCHAINS)
            if isinstance(built, ToolChainFailure):
                yield Bench(side, directory, timeout, failure=built)
            else:
                yield Bench(side, directory, timeout, stack.enter_context(Session(built)))


def runtime_for(route: Route) -> str:
    """Choose the backend of a route: the first that runs its format here."""
    able = backends_for(route.format)
    return next((name for name in able if find_backend(name).why_not() is None), able[0])


def _names(names: Any) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
