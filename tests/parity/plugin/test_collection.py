"""What a suite file becomes: ids, marks, groups; what is selected, shared, ignored and refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.parity.plugin.project import ALONE, XDIST, XDIST_ANYHOW, Project

GOOD = "[models.good]\nCOLOURS\n"
ROUTES = 'routes = ["onnx", "onnx-torchscript", "mlprogram-fp32"]\n'


def collected(result: pytest.RunResult) -> list[str]:
    """List the ids that --collect-only -q printed."""
    assert result.ret == 0
    return [line for line in result.outlines if "::" in line]


def test_one_test_per_model_route_backend_and_image(project: Project) -> None:
    project.suite(GOOD + 'routes = ["onnx-torchscript", "mlprogram-fp32"]\nimages = ["images/[gr]*.png"]')

    assert collected(project.run("parity.toml", "--collect-only", "-q")) == [
        "parity.toml::good[onnx-torchscript-onnxruntime-green.png]",
        "parity.toml::good[onnx-torchscript-onnxruntime-red.png]",
        "parity.toml::good[onnx-torchscript-onnx-reference-green.png]",
        "parity.toml::good[onnx-torchscript-onnx-reference-red.png]",
        "parity.toml::good[mlprogram-fp32-coreml-native-green.png]",
        "parity.toml::good[mlprogram-fp32-coreml-native-red.png]",
        "parity.toml::good[mlprogram-fp32-coreml-evaluator-green.png]",
        "parity.toml::good[mlprogram-fp32-coreml-evaluator-red.png]",
    ]
    assert not (project.path / ".parity").exists()


def test_suites_are_found_by_their_names_and_other_toml_files_left_alone(project: Project) -> None:
    for name in ("parity.toml", "phones.parity.toml", "parity.toml.bak", "pyproject.toml", "myparity.toml"):
        project.suite(GOOD, name, "images/red.png")
    (project.path / "deep").mkdir()
    project.suite(
        GOOD.replace("COLOURS", 'factory = "../models.py:colours"'), "deep/x.parity.toml", "../images/red.png"
    )
    (project.path / "pyproject.toml").write_text("", encoding="utf-8")

    files = [line.partition("::")[0] for line in collected(project.run("--collect-only", "-q"))]

    assert sorted(set(files)) == ["deep/x.parity.toml", "parity.toml", "phones.parity.toml"]
    assert project.run("myparity.toml", "--collect-only").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("selection", "tests"),
    [
        (["parity.toml::good[onnx-onnx-reference-red.png]"], ["good[onnx-onnx-reference-red.png]"]),
        (["-k", "good and native"], ["good[mlprogram-fp32-coreml-native-red.png]"]),
        (["-k", "onnx-torchscript-onnxruntime and not fine"], ["good[onnx-torchscript-onnxruntime-red.png]"]),
        (["-m", "good and coreml-native"], ["good[mlprogram-fp32-coreml-native-red.png]"]),
        (["-m", "fine"], [f"fine[onnx-torchscript-{b}-red.png]" for b in ("onnxruntime", "onnx-reference")]),
        # A mark is the whole name: `onnx` is not `onnx-torchscript`, nor onnx-reference.
        (["-m", "onnx"], ["good[onnx-onnxruntime-red.png]", "good[onnx-onnx-reference-red.png]"]),
        (
            ["-m", "onnx-torchscript and onnx-reference and not fine"],
            ["good[onnx-torchscript-onnx-reference-red.png]"],
        ),
        (
            ["-m", "parity(route='onnx')"],
            ["good[onnx-onnxruntime-red.png]", "good[onnx-onnx-reference-red.png]"],
        ),
        (["-m", "parity(model='fine', backend='onnxruntime')"], ["fine[onnx-torchscript-onnxruntime-red.png]"]),
        (
            ["-m", "parity(image='red.png') and fine"],
            [f"fine[onnx-torchscript-{b}-red.png]" for b in ("onnxruntime", "onnx-reference")],
        ),
    ],
)
def test_selection(project: Project, selection: Sequence[str], tests: Sequence[str]) -> None:
    project.suite(GOOD + ROUTES + "[models.fine]\nCOLOURS\n", images="images/red.png")
    arguments = selection if "::" in selection[0] else ["parity.toml", *selection]

    ids = collected(project.run(*arguments, "--collect-only", "-q"))

    assert ids == [f"parity.toml::{test}" for test in tests]


@pytest.mark.parametrize("model", ["skip", "xfail", "usefixtures", "xdist_group", "parity", "tryfirst"])
def test_a_model_that_is_called_like_a_marker_is_a_model(project: Project, model: str) -> None:
    project.suite(f"[models.{model}]\nCOLOURS", images="images/[br]*.png")

    project.run("parity.toml").assert_outcomes(passed=4)

    result = project.run("parity.toml", "-m", f"parity(model='{model}')", "--collect-only", "-q")
    assert len(collected(result)) == 4


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("timm/resnet18.a1", "timm/resnet18.a1"),
        ("müsli (v2), 50%", "müsli (v2), 50%"),
        ("a[0]@b", "a[0]@b"),
        ("_private", "_private"),
        ("not", "not"),
        ("two\\nlines", "two\\nlines"),
    ],
)
def test_a_model_may_be_called_anything(project: Project, model: str, shown: str) -> None:
    project.suite(f'[models."{model}"]\nCOLOURS', images="images/[br]*.png")

    ids = collected(project.run("parity.toml", "--collect-only", "-q"))

    assert ids == [
        f"parity.toml::{shown}[onnx-torchscript-{backend}-{image}.png]"
        for backend in ("onnxruntime", "onnx-reference")
        for image in ("blue", "red")
    ]
    project.run(ids[3]).assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", [ALONE, XDIST_ANYHOW], ids=["alone", "xdist-anyhow"])
def test_a_model_is_converted_once_by_a_route(project: Project, mode: tuple[str, ...]) -> None:
    project.quick = False
    log = project.path / "log"
    project.suite(f'[models."a[0]@b"]\nCOLOURS\narguments = {{log = "{log.as_posix()}"}}')

    project.run("parity.toml", "--parity-artifacts=fresh", mode=mode).assert_outcomes(passed=6)

    assert log.read_text(encoding="utf-8") == "traced\n"


def test_a_model_and_its_route_are_a_group_by_a_name_that_xdist_can_read(project: Project) -> None:
    # It looks for the last @ and the last ] of "id@group".
    project.suite('[models."a[0]@b"]\nCOLOURS\n' + ROUTES, images="images/red.png")
    project.pytester.makeconftest(
        """
        def pytest_collection_finish(session):
            for item in session.items:
                print("group", *(mark.args[0] for mark in item.iter_markers("xdist_group")))
        """
    )

    result = project.run("parity.toml", "--collect-only", "-q", "-s")

    assert [line for line in result.outlines if line.startswith("group ")] == [
        *["group parity.toml-a_0__b-onnx"] * 2,
        *["group parity.toml-a_0__b-onnx-torchscript"] * 2,
        *["group parity.toml-a_0__b-mlprogram-fp32"] * 2,
    ]


@pytest.mark.skipif(
    pytest.version_tuple >= (9, 2),
    reason="xdist 3.8 groups nothing with pytest 9.2: https://github.com/pytest-dev/pytest-xdist/issues/1386",
)
def test_a_group_has_one_worker(project: Project) -> None:
    project.suite('[models."a[0]@b"]\nCOLOURS')

    result = project.run("parity.toml", "-v", mode=XDIST)

    result.assert_outcomes(passed=6)
    assert len({line[: line.index("]")] for line in result.outlines if line.startswith("[gw")}) == 1


def test_a_model_is_loaded_and_run_once_for_all_images(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import parity.entries
    import parity.judging

    calls: list[str] = []
    for home, name in ((parity.entries, "load_entry"), (parity.judging, "judge_with_prediction")):
        original = getattr(home, name)

        def counted(*given: object, name: str = name, original: object = original) -> object:
            calls.append(name)
            return original(*given)  # type: ignore[operator]

        monkeypatch.setattr(home, name, counted)
    project.suite(GOOD)

    project.run("parity.toml").assert_outcomes(passed=6)

    assert calls == ["load_entry", "judge_with_prediction", "judge_with_prediction"]


WRONG = """
images = ["images/*.png", "pictures/*.jpg"]
[models.good]
factory = "models.py:colours"
routes = ["onx"]
tolerence = {}
[models.other]
factory = "module.py:colours"
"""


def test_a_wrong_suite_is_a_collection_error_with_a_line_for_each_problem(project: Project) -> None:
    (project.path / "parity.toml").write_text(WRONG, encoding="utf-8")
    project.suite(GOOD, "fine.parity.toml")

    result = project.run("parity.toml", "fine.parity.toml")

    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    path = project.path / "parity.toml"
    told = [line for line in result.outlines if line.startswith(str(path))]
    assert [line.removeprefix(f"{path}: ").partition(";")[0].partition(" (")[0] for line in told] == [
        "[models.good] routes[0]: unknown route `onx`",
        "[models.good] tolerence: unknown key",
        f"images: pattern {project.path / 'pictures/*.jpg'} matches nothing: correct it, or name the files",
        f"[models.other] factory: no file {project.path / 'module.py'}",
    ]
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:[0-9]*")


def test_a_file_that_is_no_toml_is_told_in_a_line(project: Project) -> None:
    (project.path / "parity.toml").write_text("models = [", encoding="utf-8")

    result = project.run("parity.toml")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"{project.path / 'parity.toml'}: not valid TOML: *"])
    result.stdout.no_fnmatch_line("*.py:[0-9]*")


def test_the_markers_are_listed(project: Project) -> None:
    project.run("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.parity(model, route, backend, image): a comparison of a suite file; *"]
    )


def test_an_unknown_marker_of_a_test_in_python_is_still_refused(project: Project) -> None:
    # The names of a suite are registered while it is collected; nothing else is.
    project.suite(GOOD)
    project.pytester.makepyfile("import pytest\n@pytest.mark.god\ndef test_a(): pass")

    project.run().assert_outcomes(errors=1)
