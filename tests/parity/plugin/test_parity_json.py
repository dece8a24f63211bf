"""--parity-json: results.json of the whole session."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

import parity.core.results
from conversion import ConversionError
from parity.core.results import read_run
from tests.parity.plugin.project import ALONE, XDIST, XDIST_ANYHOW, Project, figures, leg

SCHEMA = json.loads((Path(parity.__file__).parent / "schemas" / "results.schema.json").read_text(encoding="utf-8"))
SUITE = """
[models.weak]
COLOURS
arguments = {converted = [1.0, 0.5, 1.0]}
[models.good]
COLOURS
[[known_issues]]
model = "weak"
backend = "onnxruntime"
reason = "green is halved"
"""
LOST = "models.py:forgetful: the factory fails with FileNotFoundError: weights.pth has not been downloaded"


@pytest.mark.parametrize("mode", [ALONE, XDIST_ANYHOW], ids=["alone", "xdist-anyhow"])
def test_it_holds_what_parity_run_finds(project: Project, mode: tuple[str, ...]) -> None:
    project.quick = False
    project.suite(SUITE)

    result, found = project.judged("parity.toml", mode=mode)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    jsonschema.validate(json.loads((project.path / "found.json").read_text(encoding="utf-8")), SCHEMA)
    assert [(s.model, s.backend, s.verdict, s.known_issue is not None) for s in found.subjects] == [
        ("weak", "onnxruntime", "fail", True),
        ("weak", "onnx-reference", "fail", False),
        ("good", "onnxruntime", "pass", False),
        ("good", "onnx-reference", "pass", False),
    ]
    assert leg(found, "weak", "onnxruntime").required_tolerance == pytest.approx(0.177677, abs=1e-5)
    assert found.summary == {"pass": 2, "fail": 2, "error": 0, "inconclusive": 0, "skipped": 0}
    assert project.command("run", "parity.toml", "--json", "run.json") == found.exit_code == 1
    assert found == read_run(project.path / "run.json")


def test_a_part_of_a_suite_is_what_was_run_of_it(project: Project) -> None:
    project.suite(SUITE)

    _, found = project.judged("parity.toml", "-k", "good and red and onnx-reference")

    # The images of a leg are compared together, whichever of them are shown.
    assert [(s.model, s.backend, s.images) for s in found.subjects] == [("good", "onnx-reference", 3)]


def test_a_failed_conversion_and_a_factory_that_fails_are_errors(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConversionError("the converter lacks an operation")

    monkeypatch.setattr("parity.entries.convert", refuse)
    project.suite('[models.good]\nCOLOURS\n[models.lost]\nfactory = "models.py:forgetful"\n')

    _, found = project.judged("parity.toml")

    # No artefact came about, so there is nothing that each backend could say for itself.
    assert [(s.model, s.route, s.backend, s.verdict, s.reason) for s in found.subjects] == [
        ("good", "onnx-torchscript", "-", "error", "the converter lacks an operation"),
        ("lost", "onnx-torchscript", "-", "error", LOST),
    ]
    assert project.command("run", "parity.toml", "--model", "good", "--json", "run.json") == found.exit_code == 1
    assert read_run(project.path / "run.json").subjects == found.subjects[:1]


def test_the_images_of_a_leg_tell_of_it_once(project: Project) -> None:
    # A leg lists all of its images: told by each of a thousand tests it would be a million.
    project.suite(SUITE)
    project.pytester.makeconftest(
        """
        def pytest_runtest_logreport(report):
            print("told", len(getattr(report, "parity_found", ())))
        """
    )

    result = project.run("parity.toml", "-s")

    assert sum("told 1" in line for line in result.outlines) == 4


def test_suites_and_tests_in_python_share_a_file(project: Project) -> None:
    project.suite(SUITE, "b.parity.toml")
    project.suite("[models.good]\nCOLOURS", "a.parity.toml")
    project.pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("images", ["images", "images/red.png"])
        def test_it(parity, images):
            parity.check("models.py:colours", route="onnx-torchscript", images=images, backends=["onnxruntime"])
        """
    )

    _, found = project.judged()

    assert [(s.model, s.images) for s in found.subjects] == [
        ("colours", 3),
        ("colours", 1),
        *[("good", 3)] * 2,
        *[("weak", 3)] * 2,
        *[("good", 3)] * 2,
    ]
    assert [s.known_issue is not None for s in found.subjects].count(True) == 1


@pytest.mark.parametrize("selection", [["-k", "nothing"], ["--collect-only"]])
def test_nothing_ran(project: Project, selection: list[str]) -> None:
    project.suite(SUITE)

    result, found = project.judged("parity.toml", *selection)

    assert figures(found) == []
    assert found.exit_code == 3
    result.stdout.fnmatch_lines(["nothing can be concluded: nothing was run"])


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        (".", "is a directory; give the name of a file"),
        ("nowhere/found.json", "the directory does not exist; create it first"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    project: Project, mode: tuple[str, ...], place: str, told: str
) -> None:
    project.suite(SUITE)

    result = project.run("parity.toml", f"--parity-json={place}", mode=mode)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --parity-json {place}: {told}"])
    result.stdout.no_fnmatch_line("*collected*")


def test_a_test_that_changes_directory_does_not_move_the_file(project: Project) -> None:
    project.pytester.makepyfile("import os\ndef test_a(tmp_path): os.chdir(tmp_path)")

    _, found = project.judged()

    assert figures(found) == []


def test_what_is_no_earlier_output_is_kept_unless_forced(project: Project) -> None:
    suite = project.suite("[models.good]\nCOLOURS")
    (project.path / "empty.py").touch()
    precious = {path: path.read_bytes() for path in project.path.rglob("*") if path.is_file()}

    for name in ("parity.toml", "models.py", "empty.py", "images/red.png", "pytest.ini"):
        result = project.run("parity.toml", f"--parity-json={name}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: --parity-json {name}: * or --parity-force to overwrite it"])
    assert {path: path.read_bytes() for path in precious} == precious

    # Again, over anything by force, but not over the suite.
    _, found = project.judged("parity.toml", "-k", "red and onnxruntime")
    assert found == project.judged("parity.toml", "-k", "red and onnxruntime")[1]
    result = project.run("parity.toml", "-k", "red", "--parity-json=parity.toml", "--parity-force")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["--parity-json parity.toml: would be overwritten, and this run reads it; *"])
    assert suite.read_bytes() == precious[suite]
    (project.path / "notes").write_text("mine", encoding="utf-8")
    assert project.run("parity.toml", "-k", "red", "--parity-json=notes", "--parity-force").ret == 0
    assert read_run(project.path / "notes").exit_code == 0


def test_a_full_disk_fails_the_session_after_its_table(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS")

    result = project.run("parity.toml", "-k", "red", "--parity-json=/dev/full")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, deselected=4)
    result.stdout.fnmatch_lines(
        ["parity holds: 2 pass", "--parity-json /dev/full: cannot be written (No space left on device); *"]
    )


@pytest.mark.parametrize("when", ["", "def pytest_configure(config): "])
def test_a_conftest_that_changes_directory_moves_nothing(
    project: Project, tmp_path_factory: pytest.TempPathFactory, when: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    project.suite("[models.good]\nCOLOURS")
    inside = project.path / "inside"
    inside.mkdir()
    project.pytester.makeconftest(f"import os\n{when}os.chdir({str(elsewhere)!r})")
    project.artifacts = Path("kept")

    before = Path.cwd()
    try:
        os.chdir(inside)
        result = project.run(project.path / "parity.toml", "-k", "red and onnxruntime", "--parity-json=found.json")
    finally:
        os.chdir(before)

    result.assert_outcomes(passed=1, deselected=5)
    assert read_run(inside / "found.json").exit_code == 0  # where pytest was started
    assert [path.name for path in (project.path / "kept").iterdir()] == ["good"]  # at the rootdir
    assert not list(elsewhere.iterdir())


def test_a_file_is_no_place_for_artifacts(project: Project) -> None:
    project.artifacts = Path("pytest.ini")

    result = project.run("--collect-only")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --parity-artifacts *pytest.ini: is a file, not a directory"])
