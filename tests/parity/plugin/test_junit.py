"""The figures as properties of JUnit's XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.parity.plugin.project import ALONE, XDIST, Project


def properties(file: Path, test: str) -> dict[str, str]:
    (case,) = (case for case in ElementTree.parse(file).iter("testcase") if case.attrib["name"].startswith(test))
    return {found.attrib["name"]: found.attrib["value"] for found in case.iter("property")}


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_every_test_of_a_suite_carries_its_figures(project: Project, mode: tuple[str, ...]) -> None:
    project.suite("[models.weak]\nCOLOURS\narguments = {converted = [1.0, 0.5, 1.0]}")

    project.run("parity.toml", "--junitxml=junit.xml", "-k", "onnxruntime", mode=mode)

    found = properties(project.path / "junit.xml", "weak[onnx-torchscript-onnxruntime-green.png]")
    numbers = {name: float(value) for name, value in found.items() if value[0].isdigit()}
    assert {name: value for name, value in found.items() if name not in numbers} == {
        "parity_model": "weak",
        "parity_route": "onnx-torchscript",
        "parity_backend": "onnxruntime",
        "parity_verdict": "fail",
        "parity_image": "green.png",
        "parity_case_verdict": "drift",
        "parity_reference_label": "green",
        "parity_candidate_label": "green",
        "parity_precision": "fp32",
    }
    # e^4 / (e^4 + 2) and e^2 / (e^2 + 2), their difference, and the divergence of the one from the other.
    assert numbers == {
        "parity_reference_probability": pytest.approx(0.964663, abs=1e-5),
        "parity_candidate_probability": pytest.approx(0.786986, abs=1e-5),
        "parity_max_abs_diff": pytest.approx(0.177677, abs=1e-5),
        "parity_required_tolerance": pytest.approx(0.177677, abs=1e-5),
        "parity_tolerance": 1e-5,
        "parity_kl": pytest.approx(0.132895, abs=1e-5),
        "parity_top5_overlap": 1.0,
    }
    red = properties(project.path / "junit.xml", "weak[onnx-torchscript-onnxruntime-red.png]")
    assert (red["parity_image"], red["parity_case_verdict"]) == ("red.png", "match")


def test_what_did_not_run_carries_what_is_known(project: Project) -> None:
    project.suite('[models.lost]\nfactory = "models.py:forgetful"', images="images/red.png")

    project.run("parity.toml", "--junitxml=junit.xml")

    assert properties(project.path / "junit.xml", "lost[onnx-torchscript-onnx-reference-red.png]") == {
        "parity_model": "lost",
        "parity_route": "onnx-torchscript",
        "parity_backend": "onnx-reference",
        "parity_verdict": "error",
        "parity_precision": "fp32",
    }


def test_a_test_in_python_carries_those_of_each_backend(project: Project) -> None:
    project.pytester.makepyfile(
        """
        def test_it(parity):
            parity.check("models.py:colours", route="onnx-torchscript", images="images", tolerance=0.5)
        """
    )

    project.run("--junitxml=junit.xml")

    found = properties(project.path / "junit.xml", "test_it")
    assert {name: value for name, value in found.items() if "max_abs_diff" not in name} == {
        "parity_onnx-torchscript_onnxruntime_verdict": "inconclusive",
        "parity_onnx-torchscript_onnxruntime_tolerance": "0.5",
        "parity_onnx-torchscript_onnx-reference_verdict": "inconclusive",
        "parity_onnx-torchscript_onnx-reference_tolerance": "0.5",
    }
    assert float(found["parity_onnx-torchscript_onnxruntime_max_abs_diff"]) < 1e-5
