"""The pytest plugin: suite files become tests, the fixture `parity` serves tests in Python.

Every hook is a few lines; what it does is in parity.testing, imported when the first suite file or use of the
fixture is met. A run that uses nothing of this pays for the options and one look at each file's name.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.core.destination import Destination
    from parity.testing.fixture import Checker
    from parity.testing.items import SuiteFile
    from parity.testing.session import Watch


class _TorchvisionWatch:
    """Let test files and conftest.py begin with `import timm`: see conversion/guards/torchvision_guard.py."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.startswith("torchvision."):
            from conversion.guards.torchvision_guard import before_import

            before_import(name)


sys.meta_path.insert(0, _TorchvisionWatch())


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, all of which begin with --parity."""
    group = parser.getgroup("parity", "coreml-parity: PyTorch classifiers against ONNX and Core ML")
    group.addoption("--parity-json", type=Path, metavar="FILE", help="write results.json of everything compared")
    group.addoption(
        "--parity-tolerance-scale", type=float, default=1.0, metavar="FACTOR", help="multiply every tolerance"
    )
    group.addoption(
        "--parity-strict",
        action="store_true",
        help="do not pass what a file does itself where nobody states it (`inside`)",
    )
    group.addoption(
        "--parity-time-limit",
        type=float,
        metavar="SECONDS",
        help="what an artefact may take on a backend before it is ended (600, and 10 for each image)",
    )
    group.addoption(
        "--parity-artifacts",
        type=Path,
        metavar="DIR",
        help="where converted models are kept, relative to the rootdir (.parity)",
    )
    group.addoption(
        "--parity-update-baselines",
        action="store_true",
        help="write the answers of this run into baselines/ beside each suite file; needs --parity-reason",
    )
    group.addoption("--parity-reason", metavar="TEXT", help="why the baselines change; kept in their files")
    group.addoption(
        "--parity-force", action="store_true", help="overwrite files that are no earlier outputs of the same kind"
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> Generator[None, Any, Any]:
    """Mark --parity-json as unfinished before user code runs; an exit code 0 without a test of a suite is none."""
    options = early_config.known_args_namespace
    results: Path | None = options.parity_json
    suite_in_sight = (early_config.rootpath / "parity.toml").is_file() or any("parity.toml" in arg for arg in args)
    only_tells = options.help or options.version or getattr(options, "markers", False)
    if only_tells or not (results or suite_in_sight):
        return (yield)
    from parity.testing.session import begin, refused_end

    if isinstance(results, Path):
        place = early_config.invocation_params.dir
        begin(_results(results, place, options.parity_force))
    try:
        return (yield)
    except SystemExit as error:
        if error.code in (None, 0):
            raise pytest.UsageError(refused_end(error)) from error
        raise


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, refuse what cannot work before any of it is run."""
    config.addinivalue_line(
        "markers",
        "parity(model, route, backend, image): a comparison of a suite file; -m \"parity(route='onnx')\" selects",
    )
    _settle_places(config)
    if not 0 < config.getoption("parity_tolerance_scale") < float("inf"):
        raise pytest.UsageError("--parity-tolerance-scale: a factor above 0 is needed")
    seconds = config.getoption("parity_time_limit")
    if seconds is not None and not seconds > 0:
        raise pytest.UsageError(
            f"--parity-time-limit {seconds:g}: seconds above 0 are needed; inf is without a limit"
        )
    if config.getoption("parity_update_baselines") and not (config.getoption("parity_reason") or "").strip():
        raise pytest.UsageError(
            "--parity-update-baselines: say with --parity-reason TEXT why answers change; it is kept in the files"
        )
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers send their reports to the controller
        config.pluginmanager.register(_Findings(config), "parity-findings")


def _settle_places(config: pytest.Config) -> None:
    """Make relative paths absolute, whatever directory a conftest.py or a test changes to.

    --parity-artifacts starts at the rootdir, --parity-json where pytest was started; one that cannot be written, or
    holds something else, is refused.
    """
    options = config.option
    if options.parity_artifacts is not None:
        options.parity_artifacts = config.rootpath / options.parity_artifacts
        if options.parity_artifacts.exists() and not options.parity_artifacts.is_dir():
            raise pytest.UsageError(f"--parity-artifacts {options.parity_artifacts}: is a file, not a directory")
    if options.parity_json is not None and not hasattr(config, "workerinput"):
        options.parity_json = _results(options.parity_json, config.invocation_params.dir, options.parity_force)


def _results(shown: Path, start: Path, force: bool) -> Destination:
    """Say where --parity-json is written; a place that cannot be, or holds something else, is refused."""
    from parity.core.destination import Destination
    from parity.core.errors import ParityError

    destination = Destination(shown, start / shown, "parity-run", force=force, option="--parity-force")
    try:
        destination.check()
    except ParityError as error:
        raise pytest.UsageError(f"--parity-json {error}") from None
    return destination


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """Collect `parity.toml` and `*.parity.toml`."""
    if file_path.name != "parity.toml" and not file_path.name.endswith(".parity.toml"):
        return None
    from parity.testing.items import SuiteFile

    return SuiteFile.from_parent(parent, path=file_path)


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Checker:
    """Convert and compare in a test: `parity.check(classifier, route="mlprogram", images="photos/")`."""
    from parity.testing.fixture import Checker

    return Checker(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what a test compared travel with its report, from pytest-xdist's workers too."""
    report = yield
    if suite := getattr(item, "parity_suite", ""):
        report.parity_suite = suite  # type: ignore[attr-defined]
    if call.when == "call" and (found := getattr(item, "parity_found", None)):
        report.parity_found = [tuple(one) for one in found]  # type: ignore[attr-defined]
    return report


class _Findings:
    """Gather what the tests of the whole session found."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.reported: list[Any] = []
        self.watch: Watch | None = None
        self.session: Any = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which tests of suites are to run; pytest-xdist's workers tell of them by their reports."""
        if any(hasattr(item, "parity_suite") for item in session.items):
            self._watching().select(session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what came with a report."""
        self.reported += getattr(report, "parity_found", ())
        if hasattr(report, "parity_suite"):
            self._watching().hear(report)

    def pytest_keyboard_interrupt(self) -> None:
        """Note that the session ends early: by Ctrl-C, or by pytest.exit."""
        self._watching().stopped = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, error: object) -> None:
        """Note that a worker of pytest-xdist died, and what it had found with it."""
        if error is not None:
            self._watching().stopped = True

    def _watching(self) -> Watch:
        if self.watch is None:
            from parity.testing.session import Watch

            self.watch = Watch()
        return self.watch

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the known issues over the whole session, write --parity-json."""
        suites = self.watch is not None and self.watch.suites
        if suites or self.reported or self.config.getoption("parity_json"):
            from parity.testing.findings import finish

            self.session = finish(session, self.reported, self._watching())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table of models and routes."""
        if self.session is not None:
            from parity.testing.findings import summarise

            summarise(self.session, terminalreporter)
