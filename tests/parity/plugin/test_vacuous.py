"""A test whose comparison proves nothing fails, and says what would."""

from __future__ import annotations

import shutil

import pytest

from tests.parity import tiny
from tests.parity.plugin.project import Project
from tests.parity.vacuous import VACUOUS


@pytest.fixture(autouse=True)
def laid_out(project: Project) -> None:
    """Lay out the models, and for each the images that prove nothing of it."""
    shutil.copy(tiny.__file__, project.path / "models.py")
    for kind, (_, paint, _) in VACUOUS.items():
        tiny.save_pictures(project.path / kind, paint)


def test_in_a_suite(project: Project) -> None:
    project.suite(
        "\n".join(
            f'[models."{kind}"]\nfactory = "models.py:{make.__name__}"\nimages = ["{kind}/*.png"]'
            for kind, (make, _, _) in VACUOUS.items()
        )
    )

    result, found = project.judged("parity.toml", "-k", "onnxruntime")

    result.assert_outcomes(failed=sum(len(paint()) for _, paint, _ in VACUOUS.values()))
    assert [(s.model, s.verdict) for s in found.subjects] == [(kind, "inconclusive") for kind in VACUOUS]
    for subject in found.subjects:
        assert VACUOUS[subject.model][2] in subject.reason


def test_one_image_of_a_suite(project: Project) -> None:
    suite = project.suite('[models.tiny]\nfactory = "models.py:tiny"', images="one class/picture0.png")

    result, found = project.judged("parity.toml", "-k", "onnxruntime")

    result.assert_outcomes(failed=1)
    assert [(s.verdict, s.images) for s in found.subjects] == [("inconclusive", 1)]
    result.stdout.fnmatch_lines(["tiny by *: inconclusive: one image was compared, and a model that gives every *"])
    # A selection of one image's test is a selection: all images of the suite are compared.
    suite.write_text(suite.read_text(encoding="utf-8").replace("one class/picture0", "colours/*"), encoding="utf-8")
    tiny.save_pictures(project.path / "colours")
    project.run("parity.toml", "-k", "onnxruntime and picture0").assert_outcomes(passed=1, deselected=11)


def test_by_the_fixture(project: Project) -> None:
    tests = [
        f"""
def test_{make.__name__}_{number}(parity):
    parity.check("models.py:{make.__name__}", "mlprogram-fp32", "{kind}/", backends=["coreml-evaluator"])
"""
        for number, (kind, (make, _, _)) in enumerate(VACUOUS.items())
    ]
    project.pytester.makepyfile(test_mine="\n".join(tests))

    result, found = project.judged()

    result.assert_outcomes(failed=len(VACUOUS))
    assert [subject.verdict for subject in found.subjects] == ["inconclusive"] * len(VACUOUS)
    result.stdout.fnmatch_lines([f"E *: inconclusive: *{told.split('(')[0]}*" for _, _, told in VACUOUS.values()])
