"""The project's own files agree with each other: pins, make targets, workflow, light imports, nothing local."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import pytest_collection_modifyitems
from tests.slowest import SECONDS, SLOW, slow
from tests.thorough import THOROUGH

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TARGETS = (
    "run",
    "test",
    "test-all",
    "test-kernels",
    "lint",
    "bench",
    "sensitivity",
    "variants",
    "conformance",
    "conformance-native",
    "faults",
    "clean",
    "venv",
)


# Pins


def requirements(project: dict[str, Any]) -> list[Requirement]:
    extras = project["project"].get("optional-dependencies", {}).values()
    return [Requirement(text) for group in (project["project"]["dependencies"], *extras) for text in group]


def pins(constraints: str) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in constraints.splitlines())
    return {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)
    }


def pin_faults(project: dict[str, Any], constraints: str) -> Iterator[str]:
    pinned = pins(constraints)
    for name, version in pinned.items():
        if not version:
            yield f"{name}: not pinned with =="
        elif Version(version).local:
            yield f"{name}=={version}: a local version exists on one platform only"
        if re.match(r"nvidia-|cuda-|triton$", name):
            yield f"{name}: belongs to CUDA"
    for requirement in requirements(project):
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{requirement}: not in constraints.txt"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement}: constraints.txt has {version}"


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert len(requirements(project)) > 20
    assert list(pin_faults(project, (ROOT / "constraints.txt").read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("constraints", "fault"),
    [
        ("numpy==2.3.5", "onnx_coreml==1.3: not in constraints.txt"),
        ("numpy==1.26.4\nonnx-coreml==1.3", "numpy>=2.0: constraints.txt has 1.26.4"),
        ("numpy==2.3.5\nonnx-coreml==1.3\ntorch==2.13.0+cpu", "torch==2.13.0+cpu: a local version"),
        ("numpy==2.3.5\nonnx-coreml==1.3\nnvidia-nccl-cu13==2.29.7", "nvidia-nccl-cu13: belongs to CUDA"),
        ("numpy==2.3.5\nonnx-coreml==1.3\nrich", "rich: not pinned"),
    ],
)
def test_a_wrong_pin_is_found(constraints: str, fault: str) -> None:
    project = {"project": {"dependencies": ["numpy>=2.0"], "optional-dependencies": {"x": ["onnx_coreml==1.3"]}}}
    assert [found for found in pin_faults(project, constraints) if found.startswith(fault)]


def test_numpy_is_one_that_coremltools_can_work_with() -> None:
    """coremltools 9.0 takes int() of arrays of one element, which numpy 2.4 made an error."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    (numpy,) = (one for one in requirements(project) if one.name == "numpy")

    if Version(pinned["coremltools"]) <= Version("9.0"):
        assert not any(numpy.specifier.contains(version) for version in ("2.4.0", "2.4.6", "3.0"))
    assert numpy.specifier.contains("2.3.5")


def test_the_schemas_are_shipped() -> None:
    """Their directory is no package, so it has a pattern of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pattern,) = project["tool"]["setuptools"]["package-data"]["parity"]

    assert sorted(path.name.removesuffix(".schema.json") for path in (ROOT / "parity").glob(pattern)) == [
        *("audit", "baseline", "bisection", "calibration", "cases", "doctor", "drift", "envelope", "matrix"),
        *("record", "results", "run-diff", "suite", "upgrade"),
    ]


# Makefile, .ci/run and workflow


def dry_run(*targets: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed, so its targets cannot be asked for")
    # Under `make test` these would hand the outer make's flags to this one.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")}
    return subprocess.run(
        ["make", "--dry-run", *targets],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )


def make_targets(script: str) -> list[str]:
    """List what a shell script makes, one name per word after `make`."""
    return [
        target
        for targets in re.findall(r"\bmake((?: +[a-z][\w-]*)+)", re.sub(r"#.*", "", script))
        for target in targets.split()
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows(target: str) -> None:
    assert dry_run(target).returncode == 0


def test_make_refuses_an_unknown_target() -> None:
    assert dry_run("no-such-target").returncode != 0


def test_ci_run_makes_lint_and_all_tests_and_checks_the_workflow() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert make_targets(script) == ["venv", "lint", "test-all"]
    assert "check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def workflow_faults(workflow: dict[str, Any], root: Path, targets: Iterable[str]) -> Iterator[str]:
    """Name what the steps refer to and the repository does not have."""
    made = ("results.json", "conformance-native.json")
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            script = step.get("run", "")
            yield from (f"make {t}: no such target" for t in make_targets(script) if t not in targets)
            named = re.findall(r"[\w./-]+\.(?:py|txt|toml|json|sh)\b|(?<![\w/])\.ci/\w+", script)
            options = step.get("with", {})
            named += [options[key] for key in ("path", "cache-dependency-path") if key in options]
            yield from (
                f"{name}: no such file" for name in named if name not in made and not (root / name).exists()
            )


def test_the_workflow_refers_to_what_exists() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [target for step in steps for target in make_targets(step.get("run", ""))] == [
        "lint", "run", "test-all", "conformance-native",
    ]  # fmt: skip
    assert list(workflow_faults(workflow, ROOT, TARGETS)) == []


def test_a_dangling_reference_in_a_workflow_is_found() -> None:
    steps = [
        {"run": "make lint tset"},
        {"run": "python tests/nowhere.py && .ci/runs"},
        {"uses": "actions/setup-python@v6", "with": {"cache-dependency-path": "requirements.txt"}},
    ]
    assert list(workflow_faults({"jobs": {"x": {"steps": steps}}}, ROOT, TARGETS)) == [
        "make tset: no such target",
        "tests/nowhere.py: no such file",
        ".ci/runs: no such file",
        "requirements.txt: no such file",
    ]


def test_the_workflow_demands_the_native_leg_on_macos_alone() -> None:
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    assert job["env"]["PARITY_REQUIRE_NATIVE"] == "${{ matrix.require-native }}"
    demanded = {leg["os"]: leg["require-native"] for leg in job["strategy"]["matrix"]["include"]}
    assert demanded == {"ubuntu-latest": "", "macos-15": "1"}


@pytest.mark.parametrize(
    ("place", "thorough"),
    [
        ("tests/coreml/test_fuzz.py", True),
        ("tests/conformance/test_run.py", True),
        ("tests/coreml/test_evaluator.py", False),
        ("tests/parity/test_parity.py", False),
        ("fixtures/parity.toml", True),
        ("tests/conversion/test_routes.py::test_two_processes_at_once_convert_once", True),
        ("tests/conversion/test_routes.py::test_no_such_route", False),
        ("../tests/conformance/test_run.py", False),
    ],
)
def test_what_is_left_to_the_whole_suite_is_marked(place: str, thorough: bool) -> None:
    marks: list[str] = []
    file, _, function = place.partition("::")
    item: Any = SimpleNamespace(path=(ROOT / file).resolve(), originalname=function, add_marker=marks.append)

    pytest_collection_modifyitems([item])

    assert marks == ["thorough"] * thorough


def test_what_is_left_to_the_whole_suite_exists() -> None:
    slow = dict.fromkeys(SLOW.read_text(encoding="utf-8").split(), "slow")
    for path, reason in (THOROUGH | slow).items():
        place, _, function = path.partition("::")
        assert reason
        assert (ROOT / place).exists()
        assert not function or f"def {function}(" in (ROOT / place).read_text(encoding="utf-8")


def test_a_function_is_slow_by_all_its_parameters(tmp_path: Path) -> None:
    cases = [("a", "test_x[1]", SECONDS), ("a", "test_x[2]", 0.1), ("a", "test_y", SECONDS), ("b", "test_x", 0.1)]
    lines = [f'<testcase classname="tests.{file}" name="{name}" time="{time}"/>' for file, name, time in cases]
    junit = tmp_path / "tests.xml"
    junit.write_text(f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>", encoding="utf-8")

    assert slow(junit) == ["tests/a.py::test_x"]


# Light imports

HEAVY = (
    "coremltools",
    "onnx",
    "onnx_coreml",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "torch",
    "torchvision",
)


def heavy_imports_of(statement: str) -> list[str]:
    """Run a statement in a fresh interpreter and list the heavy packages that it loaded."""
    probe = f"{statement}; import sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, text=True, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_packages_loads_nothing_heavy() -> None:
    assert heavy_imports_of("import conversion, parity, parity.cli") == []


def test_a_heavy_import_is_found() -> None:
    assert heavy_imports_of("import safetensors") == ["safetensors"]


# Nothing local

LOCAL = re.compile(
    rb"(?<![\w.~$}-])/(?:home|Users|root|work|opt)/[\w.-]+"  # a path on somebody's machine
    rb"|pypi\.org|pythonhosted\.org|download\.pytorch\.org|conda\.anaconda\.org"  # a registry's host
)


def local_mentions(content: bytes) -> list[str]:
    return [match.decode() for match in LOCAL.findall(content)]


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    listed = None
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    if listed is None:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert files
    mentions = {str(path.relative_to(ROOT)): local_mentions(path.read_bytes()) for path in files if path.is_file()}
    assert {name: found for name, found in mentions.items() if found} == {}


@pytest.mark.parametrize(
    ("content", "mentioned"),
    [
        ("see /" + "home/ada/models/net.onnx", True),
        (b"\x0a\x00\xff" + b"/" + b"Users/ada/weights", True),
        ("https://" + "pypi." + "org/simple", True),
        ("#!/usr/bin/env bash", False),
        ("https://example.org/home/page and ~/work/notes", False),
    ],
)
def test_what_counts_as_local(content: str | bytes, mentioned: bool) -> None:
    assert bool(local_mentions(content if isinstance(content, bytes) else content.encode())) is mentioned


# Hypothesis profiles


def test_the_default_profile_repeats_itself() -> None:
    profile = settings.get_profile("ci")
    assert (profile.derandomize, profile.deadline, profile.database) == (True, None, None)
    assert settings.get_profile("nightly").max_examples >= 1000 > profile.max_examples


@pytest.mark.parametrize(("chosen", "examples"), [(None, 50), ("nightly", 5000)])
def test_the_environment_picks_the_profile(chosen: str | None, examples: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HYPOTHESIS_PROFILE"}
    if chosen:
        environment["HYPOTHESIS_PROFILE"] = chosen
    probe = "import conftest; from hypothesis import settings; print(settings().max_examples)"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout.strip() == str(examples)
