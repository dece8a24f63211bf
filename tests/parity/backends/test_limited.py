"""An artefact that hangs or kills its process is an error of its own; everything after it is still judged."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conversion import Artifact
from conversion.errors import ImageError
from parity import check
from parity.backends import CannotRunError, OutputNotFoundError, find_backend, limited, worker
from parity.backends.limited import DEFAULT, ArtifactEndedError, TimeLimit, time_limit
from parity.backends.reference import make_reference
from parity.cli import main
from parity.core.errors import ParityError, UnsupportedOperationsError
from parity.core.results import Prediction
from parity.diagnosis.causes import Explainer
from parity.judging import judge_with_prediction
from parity.suite.images import load_images
from tests.parity.tiny import PREPROCESSING, converted, pictures, tiny


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return load_images(pictures(), PREPROCESSING).pixels


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards which artefacts ended."""
    monkeypatch.setattr(limited, "_ENDED", {})


def endless(path: Path) -> Path:
    """Write a network whose loop runs as long as a constant is true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Neg", ["v"], ["v_"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("Loop", ["", "true", "means"], ["classLabelProbs"], body=body),
        ],
        "endless",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("classLabelProbs", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor("true", TensorProto.BOOL, [], [True])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.usefixtures("ended")
def test_a_loop_without_an_end_is_an_error_and_what_follows_is_judged(tmp_path: Path) -> None:
    """Takes as long as the limit: the one test here that waits for a clock."""
    hanging = endless(tmp_path / "endless.onnx")
    run = check(tiny(), [hanging, converted("onnx")], pictures(), ["onnxruntime"], time_limit=3)
    first, second = run.subjects
    assert (first.verdict, second.verdict) == ("error", "pass")
    assert "endless.onnx: on onnxruntime it took longer than 3 s" in first.reason
    assert "--time-limit" in first.reason
    assert first.diagnoses == ()


@pytest.mark.parametrize(
    ("route", "backend"),
    [("onnx", "onnxruntime"), ("onnx", "onnx-reference"), ("mlprogram", "coreml-evaluator")],
)
def test_the_answers_are_the_same_as_in_this_process(route: str, backend: str, pixels: np.ndarray) -> None:
    here = find_backend(backend).load(converted(route))(pixels)
    with time_limit(TimeLimit(600)):
        there = find_backend(backend).load(converted(route))(pixels)
    np.testing.assert_array_equal(there.probabilities, here.probabilities)
    assert (there.labels, there.top1, there.answer_shape) == (here.labels, here.top1, here.answer_shape)


@pytest.mark.usefixtures("ended")
def test_a_process_that_dies_is_told_and_another_goes_on(pixels: np.ndarray) -> None:
    with time_limit(600):
        artifact = converted("onnx")
        predict = find_backend("onnxruntime").load(artifact)
        assert limited._WORKER._process is not None
        limited._WORKER._process.popen.send_signal(signal.SIGSEGV)
        with pytest.raises(ArtifactEndedError, match=r"ran it on onnxruntime died of SIGSEGV"):
            predict(pixels)
        other = find_backend("onnx-reference").load(artifact)
        assert other(pixels).probabilities.shape == (6, 8)


def test_memory_that_ran_out_is_named(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "_ENDED", {})
    with time_limit(600):
        predict = find_backend("onnxruntime").load(converted("onnx"))
        assert limited._WORKER._process is not None
        limited._WORKER._process.popen.kill()
        with pytest.raises(ArtifactEndedError, match=r"SIGKILL.*memory ran out"):
            predict(pixels)


def test_the_worker_ends_with_its_parent() -> None:
    alone = limited.Worker()
    alone.prepare("onnxruntime")
    process = alone._process
    assert process is not None
    process.connection.close()
    assert process.popen.wait(timeout=60) == 0
    alone.end()


def test_ctrl_c_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = limited.Worker()
    alone.prepare("onnxruntime")
    process = alone._process
    assert process is not None

    def interrupted(self: Connection, timeout: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Connection, "poll", interrupted)
    with pytest.raises(KeyboardInterrupt):
        alone.ask(("prepare", "onnxruntime"), 60)
    assert process.popen.returncode == -signal.SIGKILL


def test_a_file_that_cannot_be_read_is_the_same_error_there(tmp_path: Path) -> None:
    broken = Artifact(tmp_path / "broken.onnx", "onnx", "fp32")
    broken.path.write_bytes(b"\x08\x09")
    with pytest.raises(ParityError) as here:
        find_backend("onnxruntime").load(broken)
    with time_limit(600), pytest.raises(ParityError) as there:
        find_backend("onnxruntime").load(broken)
    assert str(there.value) == str(here.value)


@pytest.mark.parametrize(
    "error", [CannotRunError("c"), OutputNotFoundError("o"), ParityError("p"), ImageError("i")]
)
def test_errors_of_ours_stay_what_they_are(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, answer = _raised(error, monkeypatch)
    assert (kind, type(answer), str(answer)) == ("own", type(error), str(error))


def test_an_error_that_cannot_be_sent_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, answer = _raised(UnsupportedOperationsError("a.mlmodel", {"warp": ["warp_1"]}), monkeypatch)
    assert (kind, type(answer)) == ("own", ParityError)
    assert "warp (warp_1)" in str(answer)


def test_other_errors_keep_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, (name, message, traceback) = _raised(MemoryError("2 GiB"), monkeypatch)
    assert (kind, name, message) == ("other", "MemoryError", "2 GiB")
    assert "in _do" in traceback


def _raised(error: Exception, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    def fail(name: str) -> Any:
        raise error

    monkeypatch.setattr(worker, "find_backend", fail)
    return worker._answer({}, ("prepare", "onnxruntime"))


@dataclass
class Slow:
    """Stand for the worker; takes too long for what is in `slow`."""

    slow: str = ""
    failing: str = ""
    started: int = 0
    asked: list[tuple[str, float]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(100)))

    def prepare(self, name: str) -> None:
        pass

    def ask(self, request: tuple[Any, ...], seconds: float) -> Any:
        self.asked.append((request[0], round(seconds)))
        if request[0] == self.slow:
            self.started += 1
            raise limited.TookTooLongError
        if request[0] == self.failing:
            raise ParityError("fails on images")
        return Prediction(np.zeros((1, 8)))


@pytest.mark.usefixtures("ended")
def test_the_default_grows_with_the_images_and_each_set_of_them_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow()
    monkeypatch.setattr(limited, "_WORKER", slow)
    with time_limit(TimeLimit(600.0, per_image=10.0)):
        predict = find_backend("onnxruntime").load(converted("onnx"))
    predict(np.zeros((4, 32, 32, 3), np.uint8))
    predict(np.zeros((30, 32, 32, 3), np.uint8))
    assert slow.asked == [("load", 600), ("predict", 640), ("predict", 900)]


@pytest.mark.usefixtures("ended")
def test_an_answer_that_fails_takes_no_time_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(limited, "_WORKER", slow)
    monkeypatch.setattr(limited.time, "monotonic", iter(range(100)).__next__)
    with time_limit(5):
        predict = find_backend("onnxruntime").load(converted("onnx"))
    slow.failing = "predict"
    for _ in range(3):
        with pytest.raises(ParityError, match="fails on images"):
            predict(np.zeros((1, 32, 32, 3), np.uint8))
    # Loading took one of the five; each request takes one by this clock.
    assert slow.asked == [("load", 5), ("predict", 4), ("predict", 5), ("predict", 5)]


@pytest.mark.usefixtures("ended")
def test_what_took_too_long_is_not_asked_again_in_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow("predict")
    monkeypatch.setattr(limited, "_WORKER", slow)
    with time_limit(5):
        predict = find_backend("onnxruntime").load(converted("onnx"))
        for _ in range(3):
            with pytest.raises(ArtifactEndedError, match=r"longer than 5 s to be loaded, and to answer 2 image"):
                predict(np.zeros((2, 32, 32, 3), np.uint8))
        with pytest.raises(ArtifactEndedError):
            find_backend("onnxruntime").load(converted("onnx"))
    assert [verb for verb, _ in slow.asked] == ["load", "predict"]
    with time_limit(50):  # more time is another question
        find_backend("onnxruntime").load(converted("onnx"))
    assert slow.asked[-1] == ("load", 50)


@pytest.mark.usefixtures("ended")
def test_another_that_was_loaded_is_loaded_again_in_the_next_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(limited, "_WORKER", slow)
    with time_limit(5):
        predict = find_backend("onnxruntime").load(converted("onnx"))
    slow.started += 1
    predict(np.zeros((1, 32, 32, 3), np.uint8))
    assert [verb for verb, _ in slow.asked] == ["load", "load", "predict"]


@pytest.mark.usefixtures("ended")
def test_what_took_too_long_is_not_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow("predict")
    monkeypatch.setattr(limited, "_WORKER", slow)
    reference = make_reference(tiny(), load_images(pictures(), PREPROCESSING))
    with time_limit(5):
        subject, answers = judge_with_prediction(reference, converted("onnx"), "onnxruntime")
        assert Explainer()(subject, reference, converted("onnx"), answers) == subject
    assert subject.verdict == "error"
    assert [verb for verb, _ in slow.asked] == ["load", "predict"]


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "soon"])
def test_what_is_no_limit_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "a.onnx", "a.png", "--time-limit", seconds])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "limit"), [([], TimeLimit(600, 10)), (["--time-limit", "7.5"], TimeLimit(7.5, 0))]
)
def test_commands_run_artefacts_within_a_limit(
    options: list[str], limit: TimeLimit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    holding: list[TimeLimit] = []
    monkeypatch.setattr(limited, "DEFAULT", TimeLimit(600, 10))
    monkeypatch.setattr(
        "parity.artifacts.answers.open_artifact", lambda *_: holding.append(limited.current_limit())
    )
    with pytest.raises((AttributeError, SystemExit)):
        main(["predict", str(tmp_path / "a.onnx"), "a.png", *options])
    assert holding == [limit]
    assert limited.current_limit().seconds == float("inf")


def test_every_command_that_runs_artefacts_has_the_limit() -> None:
    from parity.cli import cli
    from parity.commands.baseline import baseline

    commands = {name: cli.get_command(None, name) for name in cli.list_commands(None)}  # type: ignore[arg-type]
    commands |= {f"baseline {name}": command for name, command in baseline.commands.items()}
    limited_ones = {n for n, c in commands.items() if c and any(p.name == "time_limit" for p in c.params)}
    assert limited_ones == {
        *("audit", "baseline check", "baseline record", "calibrate", "check", "contract"),
        *("explain", "init", "predict", "record", "run", "upgrade"),
    }


def test_users_of_commands_have_a_limit_unless_they_say_otherwise() -> None:
    """The conftest.py of these tests takes it away, for them."""
    import subprocess
    import sys

    asked = "from parity.backends import limited; print(limited.DEFAULT.seconds, limited.DEFAULT.per_image)"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert said == "600.0 10.0\n"
    assert DEFAULT.per_image in (0.0, 10.0)


def test_a_limit_of_memory_that_is_none_is_told_before_a_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARITY_MEMORY_LIMIT", "much")
    with time_limit(5), pytest.raises(ParityError, match="PARITY_MEMORY_LIMIT=much: give the GiB"):
        find_backend("onnxruntime")


@pytest.fixture
def own_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start with no process, on a machine of two processors."""
    monkeypatch.setattr(limited, "_WORKER", limited.Worker())
    monkeypatch.setattr(limited, "_SLOW", {})
    monkeypatch.setattr(limited.os, "cpu_count", lambda: 2)
    yield
    limited._end_workers()


@pytest.mark.usefixtures("ended", "own_workers")
@pytest.mark.parametrize("backend", ["onnxruntime", "onnx-reference"])
def test_what_was_begun_is_the_answer_and_is_computed_once(
    backend: str, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, expected = converted("onnx"), find_backend(backend).load(converted("onnx"))(pixels)
    with time_limit(600):
        limited.begin(backend, artifact, 1, pixels)
        with monkeypatch.context() as patch:
            patch.setattr(limited.Worker, "ask", None)  # nothing more is asked
            predict = find_backend(backend).load(artifact)
            np.testing.assert_array_equal(predict(pixels).probabilities, expected.probabilities)
        # What was loaded answers other pixels, and the same ones once more.
        np.testing.assert_array_equal(predict(pixels[:2]).probabilities, expected.probabilities[:2])
        np.testing.assert_array_equal(predict(pixels).probabilities, expected.probabilities)


@pytest.mark.usefixtures("ended", "own_workers")
def test_what_fails_when_begun_is_asked_again_and_tells_why(tmp_path: Path, pixels: np.ndarray) -> None:
    broken = Artifact(tmp_path / "broken.onnx", "onnx", "fp32")
    broken.path.write_bytes(b"\x08\x09")
    with time_limit(600):
        limited.begin("onnxruntime", broken, 1, pixels)
        limited.begin("onnxruntime", converted("onnx"), 1, pixels)
        with pytest.raises(ParityError, match="cannot load it"):
            find_backend("onnxruntime").load(broken)
        assert find_backend("onnxruntime").load(converted("onnx"))(pixels).probabilities.shape == (6, 8)
    assert limited._WORKER.started == 1


@pytest.mark.usefixtures("ended", "own_workers")
def test_a_death_beside_others_says_nothing_and_the_artefact_runs_alone(pixels: np.ndarray) -> None:
    artifact = converted("onnx")
    with time_limit(600):
        limited.expect(["onnxruntime"])
        limited._WORKER.prepare("onnxruntime")
        assert limited._WORKER._process is not None
        limited._WORKER._process.popen.send_signal(signal.SIGSTOP)
        limited.begin("onnxruntime", artifact, 1, pixels)
        limited._WORKER._process.popen.kill()
        assert find_backend("onnxruntime").load(artifact)(pixels).probabilities.shape == (6, 8)
    assert limited._WORKER.started == 2


@pytest.mark.usefixtures("ended", "own_workers")
def test_what_nobody_asks_for_is_let_go(pixels: np.ndarray) -> None:
    with time_limit(600):
        limited.begin("onnxruntime", converted("onnx"), 1, pixels)
        limited._WORKER.finish()
        assert len(limited._WORKER._answers) == 1
    assert (limited._WORKER._answers, limited._WORKER.dropped) == ({}, [0])


@pytest.mark.usefixtures("own_workers")
def test_nothing_is_begun_without_a_limit_or_on_one_processor(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited.begin("onnxruntime", converted("onnx"), 1, pixels)
    monkeypatch.setattr(limited.os, "cpu_count", lambda: 1)
    with time_limit(600):
        limited.begin("onnxruntime", converted("onnx"), 1, pixels)
    assert limited._WORKER.started == 0
