"""The fixture `parity`, for those who prefer Python."""

from __future__ import annotations

import shutil

import pytest

from tests.parity.plugin.project import ALONE, XDIST, Project, leg

# The start of a user's test file.
HEAD = """
import models

ROUTE = "onnx-torchscript"

"""


@pytest.fixture(autouse=True)
def importable(project: Project) -> None:
    """Let tests import models.py, as a user's do whose project is installed."""
    project.quick = False
    project.pytester.makeconftest("import sys, pathlib; sys.path.insert(0, str(pathlib.Path(__file__).parent))")


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_it_passes_and_fails_in_the_words_of_assert_parity(project: Project, mode: tuple[str, ...]) -> None:
    project.pytester.makepyfile(
        test_mine=HEAD
        + """
def test_good(parity):
    found = parity.check(models.colours(), route=ROUTE, images="images/")
    assert [s.verdict for s in found.subjects] == ["pass", "pass"]

def test_named(parity):
    parity.check("models.py:colours", route=[ROUTE], images=["images/red.png", "images/blue.png"])

def test_weak(parity):
    parity.check(models.colours(converted=(1.0, 0.5, 1.0)), ROUTE, "images/", backends=["onnxruntime"])
"""
    )

    result, found = project.judged(mode=mode)

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">   *parity.check(models.colours(converted=(1.0, 0.5, 1.0)), ROUTE, *",
            "E   *colours by onnx-torchscript on onnxruntime: fail: 1 drift of 3 image(s)",
            "E   *worst image green.png (drift): PyTorch 'green' at 0.9647, candidate 'green' at 0.787",
            "E   *largest difference 0.178 at 'green' (0.9647 against 0.787), allowed 1e-05",
            "E   *a tolerance of 0.178 would have passed",
            "E   *guilty hop: torch -> onnx",
            "test_mine.py:*: AssertionError",
        ]
    )
    # The test that failed is the last place that is shown, not what it called.
    result.stdout.no_fnmatch_line("*fixture.py:[0-9]*")
    result.stdout.no_fnmatch_line("*compare.py:[0-9]*")
    assert sorted(s.verdict for s in found.subjects) == ["fail", "pass", "pass", "pass", "pass"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            "models.colours(), images='images'",
            "parity.check takes a route to convert by, or artifacts; give one of *",
        ),
        ("models.colours(), ROUTE, 'images', artifacts='x.onnx'", "parity.check takes a route to convert by, or *"),
        ("models.colours(), 'onnxx', 'images'", "unknown route `onnxx`; did you mean onnx? *"),
        ("models.colours(), ROUTE, 'images', backends=['coreml']", "unknown backend `coreml`*"),
        ("models.colours(), ROUTE, 'nowhere'", "*nowhere*"),
        ("models.colours(), ROUTE", "images are paths or PIL images, not NoneType"),
        ("models.colours(), ROUTE, 'images', tolerance=2", "a tolerance is a difference of probabilities *, not 2"),
        ("models.colours(), artifacts='x.onnx', images='images'", "*x.onnx*"),
        (
            "'models.py:colors', ROUTE, 'images'",
            "models.py:colors: no callable `colors` there; did you mean colours?",
        ),
        (
            "'models.py:forgetful', ROUTE, 'images'",
            "models.py:forgetful: the factory fails with FileNotFoundError: *",
        ),
    ],
)
def test_bad_input_is_one_line(project: Project, arguments: str, line: str) -> None:
    project.pytester.makepyfile(HEAD + f"def test_it(parity):\n    parity.check({arguments})")

    result = project.run()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])
    result.stdout.no_fnmatch_line("*.py:[0-9]*")


@pytest.mark.parametrize("images", ["[]", "(), backends=['onnxruntime']"])
def test_without_images_nothing_passes(project: Project, images: str) -> None:
    project.pytester.makepyfile(HEAD + f"def test_it(parity):\n    parity.check(models.colours(), ROUTE, {images})")

    result = project.run()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *no images were compared; give at least one"])


def test_without_a_route_in_the_list_nothing_passes(project: Project) -> None:
    project.pytester.makepyfile(HEAD + "def test_it(parity):\n    parity.check(models.colours(), [], 'images')")

    result = project.run()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *nothing was compared"])


def test_what_can_run_nowhere_here_is_skipped_with_the_reason(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parity.backends.onnxruntime.why_not", lambda: "not on this machine")
    project.pytester.makepyfile(
        test_mine=HEAD
        + """
def test_alone(parity):
    parity.check(models.colours(), ROUTE, "images", backends=["onnxruntime"])

def test_beside_another(parity):
    parity.check(models.colours(), ROUTE, "images")
"""
    )

    result = project.run("-rs")

    result.assert_outcomes(skipped=1, passed=1)
    result.stdout.fnmatch_lines(["SKIPPED [[]1[]] test_mine.py:*: onnxruntime: not on this machine"])


def test_images_lie_beside_the_tests_or_at_the_rootdir(project: Project) -> None:
    (project.path / "tests" / "photos").mkdir(parents=True)
    for label in ("red", "blue"):
        shutil.copy(project.path / "images" / f"{label}.png", project.path / "tests" / "photos")
    (project.path / "tests" / "test_mine.py").write_text(
        HEAD
        + """
def test_beside(parity):
    found = parity.check(models.colours(), ROUTE, "photos/*.png")
    assert found.subjects[0].images == 2

def test_at_the_rootdir(parity):
    found = parity.check(models.colours(), ROUTE, "images")
    assert found.subjects[0].images == 3

def test_both(parity, request):
    found = parity.check(models.colours(), ROUTE, ["photos", request.config.rootpath / "images" / "green.png"])
    assert found.subjects[0].images == 3

def test_nowhere(parity):
    parity.check(models.colours(), ROUTE, "pictures")
""",
        encoding="utf-8",
    )
    project.pytester.chdir()

    result = project.run("tests")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines([f"*{project.path / 'tests' / 'pictures'}*"])


def test_pictures_that_are_open_already_are_images_too(project: Project) -> None:
    project.pytester.makepyfile(
        HEAD
        + """
from PIL import Image

def test_it(parity):
    parity.check(models.colours(), ROUTE, [Image.new("RGB", (8, 8), name) for name in ("red", "blue")])
"""
    )

    project.run().assert_outcomes(passed=1)


def test_artifacts_that_somebody_converted(project: Project) -> None:
    project.pytester.makepyfile(
        HEAD
        + """
import conversion

def test_it(parity, tmp_path):
    made = conversion.convert(models.colours(), ROUTE, tmp_path)
    found = parity.check(models.colours(), images="images", artifacts=made)
    again = parity.check(models.colours(), images="images", artifacts=[str(made.path)])
    assert [s.verdict for run in (found, again) for s in run.subjects] == ["pass"] * 4
"""
    )

    _, found = project.judged()

    assert len(found.subjects) == 4


def test_what_a_file_does_itself_is_stated_or_measured(project: Project) -> None:
    project.pytester.makepyfile(
        test_mine=HEAD
        + """
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

def bare(path):
    module, image = models.colours().module, torch.rand(1, 3, *models.colours().preprocessing.size)
    torch.onnx.export(module, (image,), str(path), input_names=["input"], output_names=["output"], dynamo=False)
    return path

def test_stated(parity, tmp_path):
    parity.check(models.colours(), images="images", artifacts=bare(tmp_path / "m.onnx"), inside=[])

def test_measured(parity, tmp_path):
    parity.check(models.colours(), images="images", artifacts=bare(tmp_path / "m.onnx"))
"""
    )

    project.run().assert_outcomes(passed=2)
    project.run("--parity-strict").assert_outcomes(passed=1, failed=1)


def test_artefacts_are_kept_in_the_directory_that_is_given(project: Project) -> None:
    project.pytester.makepyfile(HEAD + "def test_it(parity):\n    parity.check(models.colours(), ROUTE, 'images')")

    project.run("--parity-artifacts=kept").assert_outcomes(passed=1)

    assert [path.name for path in (project.path / "kept").rglob("*.onnx")] == ["colours.onnx"]


def test_batches_and_other_sizes(project: Project) -> None:
    project.pytester.makepyfile(
        HEAD
        + """
def test_batch(parity):
    parity.check(models.colours(), ROUTE, "images", batch=2, dynamic="batch", bounds=[1, 4])

def test_refused(parity):
    parity.check(models.colours(), ROUTE, "images", size=(9, 9), backends=["onnxruntime"])
"""
    )

    result, found = project.judged()

    result.assert_outcomes(passed=1, failed=1)
    assert [(s.verdict, s.images) for s in found.subjects] == [("pass", 3), ("pass", 3), ("error", 0)]
    assert leg(type(found)(found.environment, found.subjects[2:]), "colours", "onnxruntime").reason.endswith(
        "give such images, or convert with dynamic= for others"
    )


def test_one_function_may_check_many(project: Project) -> None:
    project.pytester.makepyfile(
        HEAD
        + """
def test_it(parity):
    weak = models.colours(converted=(1.0, 0.5, 1.0))
    for image in ("red", "green"):
        parity.check(weak, ROUTE, ["images/blue.png", f"images/{image}.png"], backends=["onnxruntime"])
"""
    )

    result, found = project.judged()

    result.assert_outcomes(failed=1)
    assert [s.verdict for s in found.subjects] == ["pass", "fail"]
