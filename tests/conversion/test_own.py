"""Routes of a team's own: what a callable is given, what is kept of what it returns, commands, and when a file is
made anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from conversion import Artifact, Classifier, ConversionError, Preprocessing, convert, open_artifact
from conversion.guards.quiet import import_coremltools
from conversion.own import Callback, Command, own_route, save_result
from conversion.recipe import Route
from tests.conversion.classifiers import LABELS, answers, expected, photos, tiny
from tests.conversion.test_artifact import onnx_file
from tests.parity.team import TOOLS

# The names that the answers of these tests are read by.
EXPORT = TOOLS.replace('"photo"', '"image"').replace('"probabilities"', '"classLabelProbs"')


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a team's directory, whose files can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "scaling.py").write_text("FACTOR = 1.0\n", encoding="utf-8")
    (tmp_path / "tools.py").write_text(EXPORT, encoding="utf-8")
    (tmp_path / "labels.txt").write_text("one\n", encoding="utf-8")
    return tmp_path


def loaded(directory: Path, name: str = "convert") -> Callable[[], Callable[..., Any]]:
    """Import the team's export as a new process would."""

    def load() -> Callable[..., Any]:
        import importlib
        import sys

        importlib.invalidate_caches()
        for module in ("tools", "scaling"):
            sys.modules.pop(module, None)
        shutil.rmtree(directory / "__pycache__", ignore_errors=True)
        function: Callable[..., Any] = getattr(importlib.import_module("tools"), name)
        return function

    return load


def by_export(directory: Path, **options: Any) -> Route:
    return own_route(
        "ship", Callback("tools.py:convert", loaded(directory)), ".onnx", directory=directory, **options
    )


def by(function: Callable[..., Any], suffix: str = ".onnx") -> Route:
    return own_route("ship", Callback("tools.py:convert", lambda: function), suffix)


def by_command(*words: str, directory: Path = Path(), seconds: float = 60.0, suffix: str = ".onnx") -> Route:
    return own_route("ship", Command(words, directory, seconds), suffix)


def adding(path: Path) -> onnx.ModelProto:
    """Write the smallest ONNX model, and return it."""
    return onnx.load(str(onnx_file(path)))


def refusal(route: Route, directory: Path, classifier: Classifier | None = None) -> str:
    with pytest.raises(ConversionError) as refused:
        convert(classifier or tiny(), route, directory)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_callable_converts_and_the_file_is_taken_as_one_from_anywhere(team: Path) -> None:
    artifact = convert(tiny(), by_export(team), team / "kept")

    assert (artifact.route, artifact.format, artifact.precision) == ("ship", "onnx", "fp32")
    assert artifact.provenance is None
    pixels = photos(3)
    np.testing.assert_allclose(answers(artifact, pixels), expected(tiny(), pixels), rtol=0, atol=1e-6)


def test_it_gets_what_its_parameters_name(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def everything(
        classifier: Any, module: Any, example: Any, labels: Any, preprocessing: Any, path: Path, other: int = 3
    ) -> onnx.ModelProto:
        seen.update(locals())
        return adding(path)

    classifier = tiny()
    artifact = convert(classifier, by(everything), tmp_path)

    assert seen["classifier"] is classifier
    assert seen["module"] is classifier.module
    assert tuple(seen["example"].shape) == (1, 3, 32, 32)
    assert seen["labels"] == list(LABELS)
    assert seen["preprocessing"] == classifier.preprocessing
    assert seen["path"].name == artifact.path.name == "tiny.onnx"
    assert seen["other"] == 3


def test_a_parameter_that_nobody_knows_is_named(tmp_path: Path) -> None:
    def wrong(model: Any, path: Path) -> None: ...

    said = refusal(by(wrong), tmp_path)

    assert "tools.py:convert: takes `model`, which nobody can give" in said
    assert "classifier, module, example, labels, preprocessing, path" in said


@pytest.mark.parametrize("external", [False, True])
def test_a_path_elsewhere_is_copied_with_the_weights_beside_it(external: bool, tmp_path: Path) -> None:
    def elsewhere() -> str:
        model = adding(tmp_path / "built.onnx")
        onnx.save(
            model, str(tmp_path / "built.onnx"), save_as_external_data=external, location="w.data", size_threshold=0
        )
        return str(tmp_path / "built.onnx")

    artifact = convert(tiny(), by(elsewhere), tmp_path / "kept")

    assert open_artifact(artifact.path).format == "onnx"
    assert (artifact.path.parent / "w.data").is_file() == external
    assert (tmp_path / "built.onnx").is_file()


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (lambda path: None, "left no file tiny.onnx; write it at `path`, or return the model"),
        (lambda path: 3, "returns a int; a conversion returns a coremltools MLModel, an onnx ModelProto, a path"),
        (lambda path: path.with_suffix(".mlmodel"), "gives tiny.mlmodel, where `suffix` is .onnx"),
        (lambda path: path.with_name("other.onnx"), "other.onnx, where no file is"),
    ],
)
def test_what_is_no_result_is_told(result: Callable[[Path], Any], told: str, tmp_path: Path) -> None:
    assert told in refusal(by(result), tmp_path)


def test_a_core_ml_model_that_is_returned_is_saved_with_its_own_precision(tmp_path: Path) -> None:
    ct = import_coremltools()

    def traced(module: torch.nn.Module, example: torch.Tensor, labels: list[str]) -> Any:
        script = torch.jit.trace(torch.nn.Sequential(module, torch.nn.Softmax(1)).eval(), example)
        return ct.convert(
            script,
            inputs=[ct.ImageType(name="photo", shape=example.shape, scale=1 / 255)],
            classifier_config=ct.ClassifierConfig(labels),
            minimum_deployment_target=ct.target.iOS16,
        )

    artifact = convert(tiny(), by(traced, ".mlpackage"), tmp_path)

    assert (artifact.format, artifact.precision, artifact.route) == ("mlprogram", "fp16", "ship")


def test_a_file_that_cannot_be_read_is_told_and_not_kept(tmp_path: Path) -> None:
    route = by(lambda path: path.write_bytes(b"no model") and None)

    assert "not an ONNX model" in refusal(route, tmp_path)
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.parametrize(
    ("raised", "told"), [(ValueError("no such layer"), "ValueError: no such layer"), (SystemExit(0), "SystemExit")]
)
def test_what_it_raises_is_one_line(raised: BaseException, told: str, tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise raised

    assert told in refusal(by(fail), tmp_path)


# When it is made anew


def test_it_is_kept_until_something_that_decides_it_changes(team: Path) -> None:
    def made() -> Artifact:
        return convert(tiny(), by_export(team, depends=["labels.txt", "data/*"]), team / "kept")

    first = made()
    assert made().path == first.path

    # A helper that only the converter imports.
    (team / "scaling.py").write_text("FACTOR = 0.5\n", encoding="utf-8")
    second = made()
    assert second.path != first.path
    pixels = photos(2)
    assert np.abs(answers(second, pixels) - answers(first, pixels)).max() > 0.01

    (team / "labels.txt").write_text("two\n", encoding="utf-8")
    third = made()
    assert third.path != second.path

    (team / "data").mkdir()
    (team / "data" / "a.bin").write_bytes(b"a")
    fourth = made()
    assert fourth.path != third.path

    # A package is a directory.
    (team / "data" / "base.mlpackage").mkdir()
    (team / "data" / "base.mlpackage" / "weight.bin").write_bytes(b"a")
    assert made().path != fourth.path

    (team / "unrelated.txt").write_text("x", encoding="utf-8")
    assert len({made().path for _ in range(2)}) == 1


def test_other_weights_or_preprocessing_are_another_file(team: Path) -> None:
    others = [tiny(), tiny(seed=1), tiny(preprocessing=Preprocessing(size=(32, 32), resize=32))]

    assert len({convert(one, by_export(team), team / "kept").path for one in others}) == 3


# Commands


SCRIPT = """
import sys
import torch
import onnx
weights, labels, output = sys.argv[1:4]
state = torch.load(weights)
lines = open(labels, encoding="utf-8").read().splitlines()
print(len(state), "tensors,", len(lines), "labels")
onnx.save(onnx.load("built.onnx"), output)
"""


def test_a_command_runs_where_the_suite_is_by_this_python(tmp_path: Path) -> None:
    adding(tmp_path / "built.onnx")
    (tmp_path / "to.py").write_text(SCRIPT, encoding="utf-8")
    route = by_command("python", "to.py", "{weights}", "{labels}", "{output}", directory=tmp_path)

    artifact = convert(tiny(), route, tmp_path / "kept")

    assert (artifact.route, artifact.format, artifact.path.name) == ("ship", "onnx", "tiny.onnx")
    log = (artifact.path.parent / "convert.log").read_text(encoding="utf-8")
    assert f"{len(tiny().module.state_dict())} tensors, {len(LABELS)} labels" in log


def test_a_command_is_run_again_where_its_script_changes(tmp_path: Path) -> None:
    adding(tmp_path / "built.onnx")
    (tmp_path / "to.sh").write_text("echo once >> runs\ncp built.onnx $1\n", encoding="utf-8")
    route = by_command("sh", "to.sh", "{output}", directory=tmp_path)

    for _ in range(2):
        convert(tiny(), route, tmp_path / "kept")
    assert (tmp_path / "runs").read_text(encoding="utf-8") == "once\n"

    (tmp_path / "to.sh").write_text("echo twice >> runs\ncp built.onnx $1\n", encoding="utf-8")
    convert(tiny(), route, tmp_path / "kept")
    assert (tmp_path / "runs").read_text(encoding="utf-8") == "once\ntwice\n"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo loading; echo no such layer >&2; exit 3",
            "ended with exit code 3, having said: loading | no such layer",
        ),
        ("kill -9 $$", "died of SIGKILL"),
        ("exit 0", "left no file at {output}, tiny.onnx"),
    ],
)
def test_a_command_that_fails_is_one_line(script: str, told: str, tmp_path: Path) -> None:
    assert told in refusal(by_command("sh", "-c", script, "{output}"), tmp_path)


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "cannot be started (No such file or directory)" in refusal(
        by_command("no-such-tool", "{output}"), tmp_path
    )


def test_a_command_without_an_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    route = by_command("sh", "-c", "sleep 1000 & echo $! > child; wait", "{output}", directory=tmp_path, seconds=1)

    assert "took longer than 1 s, and was ended; `timeout` gives it more" in refusal(route, tmp_path / "kept")
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z" or not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_model_of_another_class_of_that_name_is_told(tmp_path: Path) -> None:
    class MLModel:
        pass

    with pytest.raises(ConversionError, match="returns a MLModel"):
        save_result("tools.py:convert", MLModel(), tmp_path / "a.mlpackage")
