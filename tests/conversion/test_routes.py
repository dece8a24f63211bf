from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from filelock import FileLock

from conversion import ROUTES, Artifact, Classifier, ConversionError, convert, open_artifact, routes
from conversion.provenance import Provenance
from conversion.routes import Route, find_route
from conversion.shapes import OpenAxes
from tests.conversion.classifiers import LABELS, PREPROCESSING, tiny
from tests.conversion.needs import needs_coreai

Converted = Callable[[str], Artifact]

REPOSITORY = Path(__file__).parents[2]


def refusal(classifier: Classifier, route: str, directory: Path) -> str:
    """Return the one line with which a conversion is refused."""
    with pytest.raises(ConversionError) as caught:
        convert(classifier, route, directory)
    message = str(caught.value)
    assert "\n" not in message
    return message


def files_in(directory: Path) -> list[str]:
    """List what a conversion left, without the empty files that processes take turns by."""
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.suffix != ".lock")
    return sorted(str(path) for path in found)


# The real routes


def test_the_routes_have_the_names_that_others_rely_on() -> None:
    assert tuple(ROUTES) == (
        "onnx",
        "onnx-torchscript",
        "mlprogram",
        "mlprogram-fp32",
        "mlprogram-export",
        "onnx-coreml",
        "coreai",
        "coreai-fp16",
    )
    assert all(route.name == name for name, route in ROUTES.items())


def test_a_known_route_is_found() -> None:
    assert find_route("mlprogram") is ROUTES["mlprogram"]


@pytest.mark.parametrize(("name", "near"), [("mlprograms", "mlprogram"), ("onnx_coreml", "onnx-coreml")])
def test_an_unknown_route_names_the_nearest_and_all(name: str, near: str) -> None:
    with pytest.raises(ConversionError) as caught:
        find_route(name)

    message = str(caught.value)
    assert message.startswith(f"unknown route `{name}`; did you mean {near}? (routes: onnx, ")
    assert all(route in message for route in ROUTES)


def test_an_unknown_route_that_is_like_no_other(tmp_path: Path) -> None:
    message = refusal(tiny(), "tflite", tmp_path)

    assert message.startswith("unknown route `tflite` (routes: ")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("route", "kind", "precision", "name"),
    [
        ("onnx", "onnx", "fp32", "tiny.onnx"),
        ("onnx-torchscript", "onnx", "fp32", "tiny.onnx"),
        ("mlprogram", "mlprogram", "fp16", "tiny.mlpackage"),
        ("mlprogram-fp32", "mlprogram", "fp32", "tiny.mlpackage"),
        ("onnx-coreml", "neuralnetwork", "fp32", "tiny.mlmodel"),
        ("coreai", "coreai", "fp32", "tiny.aimodel"),
        ("coreai-fp16", "coreai", "fp16", "tiny.aimodel"),
    ],
)
def test_each_route_converts(
    route: str, kind: str, precision: str, name: str, converted: Converted, conversions: Path
) -> None:
    artifact = converted(route)

    assert artifact.path.exists()
    assert (artifact.format, artifact.precision, artifact.route) == (kind, precision, route)
    assert artifact.path.name == name
    assert artifact.path.is_relative_to(conversions / "tiny")
    assert (artifact.path.parent / "convert.log").is_file()
    assert artifact.provenance is not None
    assert (artifact.provenance.model, artifact.provenance.labels) == ("tiny", LABELS)


@pytest.mark.parametrize("route", ROUTES)
def test_the_second_time_converts_nothing(
    route: str, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = converted(route)

    def explode(*_: object) -> None:
        raise AssertionError(f"{route} converts again")

    monkeypatch.setitem(ROUTES, route, dataclasses.replace(ROUTES[route], write=explode))

    assert converted(route) == first


@pytest.mark.parametrize(
    "route", [r if ROUTES[r].format != "coreai" else pytest.param(r, marks=needs_coreai) for r in ROUTES]
)
def test_converting_prints_nothing_and_the_log_has_it(
    route: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    artifact = convert(tiny(seed=1), route, tmp_path)

    assert capfd.readouterr() == ("", "")
    log = (artifact.path.parent / "convert.log").read_text(encoding="utf-8")
    said = {
        "onnx": "",
        "onnx-torchscript": "DeprecationWarning: You are using the legacy TorchScript-based ONNX export",
        "mlprogram": "Converting PyTorch Frontend ==> MIL Ops",
        "mlprogram-fp32": "Running MIL default pipeline",
        "mlprogram-export": "Running MIL default pipeline",
        "onnx-coreml": "Converting Node Type Conv",
        "coreai": "converting 1 program(s) to Core AI",
        "coreai-fp16": "converting 1 program(s) to Core AI",
    }
    assert said[route] in log


def test_a_fresh_interpreter_prints_nothing_either(tmp_path: Path) -> None:
    """Nothing is imported yet: coremltools and the exporters talk most at their import."""
    script = f"""
import sys
sys.path.insert(0, "tests/conversion")
from conversion import ROUTES, convert, open_artifact
from classifiers import tiny
for route in ("onnx-coreml", "mlprogram", "onnx"):
    open_artifact(convert(tiny(), route, {str(tmp_path)!r}).path)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The cache and its failures, with a route that writes a small file at once


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Add a route `stub`; `calls` are its conversions, `then` is done when half of the file is written."""
    state = SimpleNamespace(calls=[], then=lambda: None)

    def write(classifier: Classifier, path: Path, provenance: Provenance, opened: OpenAxes) -> None:
        print("chatter")
        state.calls.append(path)
        path.write_text("half", encoding="utf-8")
        state.then()
        path.write_text("whole", encoding="utf-8")

    monkeypatch.setitem(ROUTES, "stub", Route("stub", "onnx", "fp32", ".onnx", write, {"option": "1"}))
    return state


def fail_with(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_what_was_converted_once_is_found_by_another_object(stub: SimpleNamespace, tmp_path: Path) -> None:
    first, second = (convert(tiny(), "stub", tmp_path) for _ in range(2))

    assert first == second
    assert len(stub.calls) == 1
    assert first.path.read_text(encoding="utf-8") == "whole"
    home = first.path.parent.relative_to(tmp_path)
    assert files_in(tmp_path) == [
        "tiny",
        str(home),
        f"{home}/convert.log",
        f"{home}/digests.json",
        f"{home}/probe.json",
        f"{home}/tiny.onnx",
    ]
    assert (first.path.parent / "convert.log").read_text(encoding="utf-8") == "chatter\n"


class EditedNet(torch.nn.Module):
    """Compute what TinyNet does, in other words."""

    def __init__(self) -> None:
        super().__init__()
        original = tiny().module
        self.features, self.head = original.features, original.head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = self.features(image)
        return self.head(maps.mean(dim=(2, 3)))


EditedNet.__name__ = EditedNet.__qualname__ = "TinyNet"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"labels": (*LABELS[:7], "other")},
        {"preprocessing": dataclasses.replace(PREPROCESSING, mean=(0.2, 0.5, 0.6))},
        {"preprocessing": dataclasses.replace(PREPROCESSING, interpolation="bicubic")},
        {"seed": 1},
        {"module": EditedNet().eval()},
    ],
    ids=["name", "labels", "mean", "interpolation", "weights", "forward"],
)
def test_another_classifier_is_converted_anew(
    changes: dict[str, Any], stub: SimpleNamespace, tmp_path: Path
) -> None:
    first = convert(tiny(), "stub", tmp_path)
    second = convert(tiny(**changes), "stub", tmp_path)

    assert len(stub.calls) == 2
    assert first.path != second.path
    assert first.path.is_file()
    assert second.path.is_file()


def test_other_options_are_converted_anew(
    stub: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = convert(tiny(), "stub", tmp_path)
    monkeypatch.setitem(ROUTES, "stub", dataclasses.replace(ROUTES["stub"], options={"option": "2"}))

    assert convert(tiny(), "stub", tmp_path).path != first.path


def test_other_versions_are_converted_anew(
    stub: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = convert(tiny(), "stub", tmp_path)
    monkeypatch.setattr(routes, "package_versions", lambda: {**first.provenance.packages, "torch": "1.13.1"})

    second = convert(tiny(), "stub", tmp_path)

    assert second.path != first.path
    assert second.provenance.packages["torch"] == "1.13.1"


def test_a_file_that_somebody_deleted_is_converted_anew(stub: SimpleNamespace, tmp_path: Path) -> None:
    first = convert(tiny(), "stub", tmp_path)
    first.path.unlink()
    assert not first.path.exists()

    assert convert(tiny(), "stub", tmp_path).path.read_text(encoding="utf-8") == "whole"


def test_a_bad_classifier_is_refused_and_leaves_nothing(stub: SimpleNamespace, tmp_path: Path) -> None:
    assert "8 outputs" in refusal(tiny(labels=LABELS[:7]), "stub", tmp_path)

    assert stub.calls == []
    assert files_in(tmp_path) == ["tiny"]


def test_training_mode_is_refused_though_the_result_is_there(stub: SimpleNamespace, tmp_path: Path) -> None:
    convert(tiny(), "stub", tmp_path)
    classifier = tiny()
    classifier.module.train()

    assert "training mode" in refusal(classifier, "stub", tmp_path)


def test_what_is_no_module_is_refused(stub: SimpleNamespace, tmp_path: Path) -> None:
    assert "give a torch.nn.Module" in refusal(tiny(module=lambda image: image), "stub", tmp_path)


@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (SystemExit(1), ConversionError)]
)
def test_an_interrupted_conversion_leaves_nothing(
    error: BaseException, raised: type[BaseException], stub: SimpleNamespace, tmp_path: Path
) -> None:
    stub.then = fail_with(error)
    with pytest.raises(raised):
        convert(tiny(), "stub", tmp_path)
    assert files_in(tmp_path) == ["tiny"]

    stub.then = lambda: None
    assert convert(tiny(), "stub", tmp_path).path.read_text(encoding="utf-8") == "whole"


def test_a_failed_conversion_leaves_its_log_alone(stub: SimpleNamespace, tmp_path: Path) -> None:
    stub.then = fail_with(RuntimeError("no such\n  operator"))

    message = refusal(tiny(), "stub", tmp_path)

    (log,) = tmp_path.glob("tiny/*.log")
    assert files_in(tmp_path) == ["tiny", str(log.relative_to(tmp_path))]
    assert log.read_text(encoding="utf-8") == "chatter\n"
    assert message == (
        "tiny, route stub: the conversion failed with RuntimeError: no such operator; "
        f"what the converters said is in {log}"
    )

    stub.then = lambda: None
    assert convert(tiny(), "stub", tmp_path).path.read_text(encoding="utf-8") == "whole"


@pytest.mark.parametrize(
    ("text", "told"), [("", "NotImplementedError; what"), ("x" * 999, f"{'x' * 300}...; what")]
)
def test_failures_without_words_and_with_too_many(
    text: str, told: str, stub: SimpleNamespace, tmp_path: Path
) -> None:
    stub.then = fail_with(NotImplementedError(text))

    assert told in refusal(tiny(), "stub", tmp_path)


def test_what_a_route_explains_itself_is_passed_on(stub: SimpleNamespace, tmp_path: Path) -> None:
    stub.then = fail_with(ConversionError("install it"))

    assert refusal(tiny(), "stub", tmp_path) == "install it"
    assert files_in(tmp_path) == ["tiny"]


@pytest.mark.parametrize("newline", ["", "\n"])
def test_the_failure_that_numpy_2_4_causes_says_what_to_install(
    newline: str, stub: SimpleNamespace, tmp_path: Path
) -> None:
    text = f"only 0-dimensional arrays can be{newline or ' '}converted to Python scalars"
    stub.then = fail_with(TypeError(text))

    message = refusal(tiny(), "stub", tmp_path)

    assert "numpy 2.4" in message
    assert "pip install 'numpy<2.4'" in message


def test_what_killed_conversions_left_is_swept_and_what_others_build_is_not(
    stub: SimpleNamespace, tmp_path: Path
) -> None:
    """A process that is killed cannot tidy up: its scratch directory stays, and is taken for nothing."""
    home = convert(tiny(), "stub", tmp_path).path.parent
    home.rename(home.with_name(f"{home.name}.abcdefg1"))
    (home.with_name(f"{home.name}.abcdefg1") / "tiny.onnx").write_text("half", encoding="utf-8")
    left = home.with_name("onnx-0123456789ab.abcdefg1")
    alive = home.with_name("mlprogram-0123456789ab.abcdefg1")
    strange = home.with_name("onnx-0123456789ab.notes")
    for directory in (left, alive, strange):
        directory.mkdir()
        (directory / "model").touch()

    with FileLock(home.with_name("mlprogram-0123456789ab.lock")):
        assert convert(tiny(), "stub", tmp_path).path.read_text(encoding="utf-8") == "whole"
    assert len(stub.calls) == 2
    assert {path.name for path in home.parent.iterdir() if path.is_dir()} == {home.name, alive.name, strange.name}

    convert(tiny(seed=1), "stub", tmp_path)
    assert not alive.exists()
    assert (strange / "model").exists()


def broken_package(path: Path) -> None:
    (path / "Data" / "com.apple.CoreML" / "model.mlmodel").unlink()


def without_weights(path: Path) -> None:
    (path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").write_bytes(b"")


def one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("route", "break_it", "told"),
    [
        ("onnx-torchscript", lambda path: path.write_bytes(b""), "tiny.onnx has other content"),
        ("onnx-torchscript", lambda path: path.write_bytes(path.read_bytes()[:-9]), "tiny.onnx has other content"),
        ("onnx-torchscript", one_byte, "tiny.onnx has other content"),
        ("onnx-torchscript", Path.unlink, "tiny.onnx is missing"),
        ("onnx-torchscript", lambda path: os.mkfifo(path.unlink() or path), "tiny.onnx is missing"),
        ("onnx-torchscript", lambda path: one_byte(path.with_name("probe.json")), "probe.json has other content"),
        (
            "onnx-torchscript",
            lambda path: path.with_name("digests.json").write_text("{}"),
            "digests.json names no file",
        ),
        (
            "onnx-torchscript",
            lambda path: path.with_name("digests.json").write_text("[" * 9999),
            "digests.json is missing or damaged",
        ),
        ("mlprogram", shutil.rmtree, "tiny.mlpackage/Data/com.apple.CoreML/model.mlmodel is missing"),
        ("mlprogram", broken_package, "tiny.mlpackage/Data/com.apple.CoreML/model.mlmodel is missing"),
        ("mlprogram", without_weights, "tiny.mlpackage/Data/com.apple.CoreML/weights/weight.bin has other content"),
    ],
)  # fmt: skip
def test_a_damaged_result_is_converted_again_and_that_is_said(
    route: str, break_it: Callable[[Path], Any], told: str, converted: Converted, tmp_path: Path
) -> None:
    whole = converted(route)
    home = tmp_path / "tiny" / whole.path.parent.name
    shutil.copytree(whole.path.parent, home)
    path = home / whole.path.name
    break_it(path)

    again = convert(tiny(), route, tmp_path)

    assert again.remark == f"{path.name} was converted again: in the cache, {told}"
    assert (again.path, again.provenance) == (path, whole.provenance)
    assert open_artifact(path).format == whole.format
    assert convert(tiny(), route, tmp_path).remark == ""


def test_what_lies_beside_a_result_is_no_damage(stub: SimpleNamespace, tmp_path: Path) -> None:
    first = convert(tiny(), "stub", tmp_path)
    (first.path.parent / ".DS_Store").touch()
    (first.path.parent / "convert.log").unlink()

    assert convert(tiny(), "stub", tmp_path) == first
    assert len(stub.calls) == 1


def test_two_threads_that_find_a_damaged_result_convert_it_once(stub: SimpleNamespace, tmp_path: Path) -> None:
    convert(tiny(), "stub", tmp_path).path.write_text("", encoding="utf-8")

    results = at_once(lambda classifier: convert(classifier, "stub", tmp_path))

    assert sorted(one.remark for one in results) == [
        "",
        "tiny.onnx was converted again: in the cache, tiny.onnx has other content",
    ]
    assert len(stub.calls) == 2
    assert results[0].path.read_text(encoding="utf-8") == "whole"


def at_once(work: Callable[[Classifier], Artifact]) -> list[Artifact]:
    """Do the same in two threads."""
    start = threading.Barrier(2)
    results: list[Artifact] = []

    def wait_and_work(classifier: Classifier) -> None:
        start.wait()
        results.append(work(classifier))

    threads = [threading.Thread(target=wait_and_work, args=(tiny(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_threads_at_once_convert_once(stub: SimpleNamespace, tmp_path: Path) -> None:
    results = at_once(lambda classifier: convert(classifier, "stub", tmp_path))

    assert results[0] == results[1]
    assert len(stub.calls) == 1
    assert results[0].path.read_text(encoding="utf-8") == "whole"


def test_two_processes_at_once_convert_once(tmp_path: Path) -> None:
    script = f"""
import dataclasses, sys
sys.path.insert(0, "tests/conversion")
from conversion import ROUTES, convert
from classifiers import tiny
route = ROUTES["onnx-torchscript"]

def counted(classifier, path, provenance, opened):
    with open({str(tmp_path / "calls")!r}, "a") as calls:
        calls.write("x")
    route.write(classifier, path, provenance, opened)

ROUTES["onnx-torchscript"] = dataclasses.replace(route, write=counted)
classifier = tiny()
print("ready", flush=True)
input()
print(convert(classifier, "onnx-torchscript", {str(tmp_path / "out")!r}).path)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate() for process in processes]

    assert [process.returncode for process in processes] == [0, 0], told
    assert told[0] == told[1]
    assert (tmp_path / "calls").read_text(encoding="utf-8") == "x"
    path = Path(told[0][0].strip())
    onnx.checker.check_model(onnx.load(str(path)))
    assert open_artifact(path).route == "onnx-torchscript"
    home = path.parent.relative_to(tmp_path)
    inside = [f"{home}/{name}" for name in ("convert.log", "digests.json", "probe.json", "tiny.onnx")]
    assert files_in(tmp_path) == ["calls", "out", "out/tiny", f"{home}", *inside]


# Places that cannot be written to


def test_a_file_in_place_of_the_directory(stub: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("", encoding="utf-8")

    message = refusal(tiny(), "stub", tmp_path / "models")

    assert message.startswith(f"{tmp_path / 'models' / 'tiny'}: converted models cannot be written there")
    assert "give a directory that can be written to" in message
    assert stub.calls == []


def test_a_file_in_place_of_the_models_directory(stub: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text("", encoding="utf-8")

    assert "cannot be written there" in refusal(tiny(), "stub", tmp_path)


def test_a_file_in_place_of_the_result(stub: SimpleNamespace, tmp_path: Path) -> None:
    home = convert(tiny(), "stub", tmp_path).path.parent
    for path in home.iterdir():
        path.unlink()
    home.rmdir()
    home.write_text("", encoding="utf-8")

    assert str(home) in refusal(tiny(), "stub", tmp_path)
    assert home.is_file()


def test_a_result_that_is_there_needs_no_place_to_write(
    stub: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = convert(tiny(), "stub", tmp_path)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: fail_with(PermissionError(13, "Permission denied"))())

    assert convert(tiny(), "stub", tmp_path) == first


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission(stub: SimpleNamespace, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in refusal(tiny(), "stub", tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")]
)
def test_a_directory_in_which_nothing_can_be_made(
    error: OSError, stub: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: fail_with(error)())

    message = refusal(tiny(), "stub", tmp_path)

    assert f"cannot be written there ({error.strerror})" in message
    monkeypatch.undo()
    # The turn was given back.
    assert files_in(tmp_path) == ["tiny"]


def test_a_disk_that_is_full_is_told(stub: SimpleNamespace, tmp_path: Path) -> None:
    def full() -> None:
        stub.calls[-1].with_name("convert.log").unlink()
        raise OSError(28, "No space left on device")

    stub.then = full

    assert "No space left on device" in refusal(tiny(), "stub", tmp_path)


# Names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("timm/resnet18.a1_in1k", "timm_resnet18.a1_in1k"),
        ("..", "_"),
        ("../escape", "__escape"),
        (".hidden", "_hidden"),
        ("/etc/net", "_etc_net"),
        ("two words\nand: a *", "two_words_and__a__"),
        ("猫", "猫"),
    ],
)
def test_any_name_becomes_a_file_in_the_directory(
    name: str, safe: str, stub: SimpleNamespace, tmp_path: Path
) -> None:
    artifact = convert(tiny(name=name), "stub", tmp_path / "out")

    assert artifact.path.name == f"{safe}.onnx"
    assert artifact.path.is_file()
    assert artifact.path.parent.parent == tmp_path / "out" / safe
    assert artifact.provenance.model == name
    assert convert(tiny(name=name), "stub", tmp_path / "out") == artifact
    assert len(stub.calls) == 1


def test_names_that_become_the_same_file_name_stay_apart(stub: SimpleNamespace, tmp_path: Path) -> None:
    paths = {convert(tiny(name=name), "stub", tmp_path).path for name in ("a/b", "a_b", "a:b")}

    assert len(paths) == 3


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32"])
def test_a_label_that_no_file_can_hold_is_told_in_one_line(route: str, tmp_path: Path) -> None:
    message = refusal(tiny(labels=(*LABELS[:7], "lone \ud800 surrogate")), route, tmp_path)

    assert "surrogate" in message
    message.encode()
