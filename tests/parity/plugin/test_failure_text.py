"""What a failure prints: all that one needs to know, and nothing of a traceback."""

from __future__ import annotations

import pytest

from tests.parity.plugin.project import ALONE, XDIST, Project

NOTHING_SEEN = (
    "every operation that can be compared gives what PyTorch's gives, and no cause that was tried explains it"
)
DRIFT = """\
weak by onnx-torchscript on onnxruntime: fail: 1 drift of 3 image(s)
  cause: Operation 5 of 6, `/module/Mul` (Mul), which is mul of the classifier's own forward: is 0.5 times what it \
should be (confirmed: undoing it restores parity) [g-scale]
  image green.png (drift): PyTorch 'green' at 0.9647, candidate 'green' at 0.787
  largest difference 0.178 at 'green' (0.9647 against 0.787), allowed 1e-05
  a tolerance of 0.178 would have passed
  guilty hop: torch -> onnx
  first divergence: operation 5 of 6, `/module/Mul` (Mul), which is mul of the classifier's own forward: is \
0.5 times what it should be
  look further: parity run parity.toml --model weak --route onnx-torchscript --backend onnxruntime"""

FLIP = """\
turned by onnx-torchscript on onnxruntime: fail: 3 flip of 3 image(s)
  cause: All labels are shifted by one (a background entry is present or missing); permuted labels and \
permuted rows of the last layer are the same, and both would explain it (confirmed: undoing it restores parity) \
[lab-off-by-one-background]
  image red.png (flip): PyTorch 'red' at 0.9647, candidate 'green' at 0.9647
  largest difference 0.947 at 'red' (0.9647 against 0.01767), allowed 1e-05
  guilty hop: torch -> onnx
  look further: parity run parity.toml --model turned --route onnx-torchscript --backend onnxruntime"""

FORGETFUL = """\
forgetful by onnx-torchscript on onnxruntime: error: models.py:forgetful: the factory fails with \
FileNotFoundError: weights.pth has not been downloaded
  look further: parity run parity.toml --model forgetful --route onnx-torchscript --backend onnxruntime"""

SUITE = """
[models.weak]
COLOURS
arguments = {converted = [1.0, 0.5, 1.0]}
[models.turned]
COLOURS
arguments = {turned = 1}
[models.forgetful]
factory = "models.py:forgetful"
"""


def told(result: pytest.RunResult, test: str) -> str:
    """Cut out what is printed under a test's name."""
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if line.strip("_ ") == test and line.startswith("_"))
    ends = (i for i, line in enumerate(lines) if i > start and line[:1] in "_=" and line[:1])
    return "\n".join(line for line in lines[start + 1 : next(ends)] if not line.startswith("[gw")).rstrip()


def expected(text: str, mode: tuple[str, ...]) -> str:
    """Leave out what is seen by looking into a file: quick.py, in workers, has none, and that is said."""
    if mode is ALONE:
        return text
    heading, *lines = text.splitlines()
    looked_into = ("  cause: ", "  first divergence: ")
    rest = [line for line in lines if not line.startswith(looked_into)]
    return "\n".join((heading, f"  unexplained: {NOTHING_SEEN}", *rest))


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_a_failure_says_which_what_how_far_where_and_what_next(project: Project, mode: tuple[str, ...]) -> None:
    project.suite(SUITE)

    result = project.run("parity.toml", "-k", "onnxruntime", mode=mode)

    result.assert_outcomes(passed=2, failed=7)
    assert told(result, "weak[onnx-torchscript-onnxruntime-green.png]") == expected(DRIFT, mode)
    assert told(result, "turned[onnx-torchscript-onnxruntime-red.png]") == expected(FLIP, mode)
    assert told(result, "forgetful[onnx-torchscript-onnxruntime-blue.png]") == FORGETFUL
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:[0-9]*")


def test_images_that_agree_do_not_fail_with_the_one_that_does_not(project: Project) -> None:
    project.suite("[models.weak]\nCOLOURS\narguments = {converted = [1.0, 0.5, 1.0]}")

    result = project.run("parity.toml", "-rA")

    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["PASSED parity.toml::weak[[]onnx-torchscript-onnxruntime-red.png[]]"])


def test_the_command_can_be_pasted(project: Project) -> None:
    (project.path / "my suites").mkdir()
    project.suite(
        '[models."a model"]\nfactory = "../models.py:colours"\narguments = {turned = 1}',
        "my suites/parity.toml",
        "../images/red.png",
    )

    result = project.run("my suites/parity.toml", "-k", "onnxruntime")

    result.stdout.fnmatch_lines(
        ["*look further: parity run 'my suites/parity.toml' --model 'a model' --route onnx-torchscript *"]
    )


def test_a_file_that_is_no_image_is_told_in_a_line(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS")
    (project.path / "images" / "torn.png").write_text("not a picture", encoding="utf-8")

    result = project.run("parity.toml", "-k", "onnxruntime")

    result.assert_outcomes(failed=4)
    (first, second) = told(result, "good[onnx-torchscript-onnxruntime-red.png]").splitlines()
    assert first.startswith("good by onnx-torchscript on onnxruntime: error: ")
    assert "torn.png is not an image that Pillow can read" in first
    assert second.startswith("  look further: ")


def test_an_image_that_went_away_was_not_compared_and_does_not_pass(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS")
    project.pytester.makeconftest(
        """
        from pathlib import Path

        def pytest_collection_finish(session):
            Path("images/green.png").unlink()
        """
    )

    result = project.run("parity.toml", "-k", "onnxruntime")

    result.assert_outcomes(passed=2, failed=1)
    assert told(result, "good[onnx-torchscript-onnxruntime-green.png]") == (
        "good[onnx-torchscript-onnxruntime-green.png]: the image went away after the tests were collected; "
        "run them again"
    )


def test_what_proves_nothing_fails_and_says_so(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS", images="images/*d.png")
    (project.path / "images" / "also red.png").write_bytes((project.path / "images" / "red.png").read_bytes())

    result = project.run("parity.toml", "-k", "onnxruntime")

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["good by onnx-torchscript on onnxruntime: inconclusive: the reference answers the same for every image*"]
    )


def test_a_bug_shows_its_traceback(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("parity.entries.convert_entry", broken)
    project.suite("[models.good]\nCOLOURS", images="images/red.png")

    result = project.run("parity.toml", "-k", "onnxruntime")

    result.stdout.fnmatch_lines(["*RuntimeError: a bug of ours", "*test_failure_text.py:*"])
