"""A worker that was asked ahead imports meanwhile; what it answers is heard before the next request."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from parity.backends.worker_process import DiedError, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.end()


def test_what_was_asked_ahead_is_prepared_once(worker: Worker) -> None:
    worker.expect(["onnxruntime", "onnx-reference", "onnxruntime"])
    assert [key for key, _ in worker._ahead] == ["onnxruntime", "onnx-reference"]
    assert worker.started == 1

    worker.prepare("onnxruntime")

    assert not worker._ahead
    assert worker._prepared == {"onnxruntime", "onnx-reference"}
    assert worker.started == 1


def test_the_next_answer_is_that_of_the_next_request(worker: Worker) -> None:
    worker.expect(["onnxruntime"])

    with pytest.raises(Exception, match="no-such-backend"):
        worker.ask(("prepare", "no-such-backend"), 60)


def test_a_backend_that_cannot_be_prepared_is_told_when_it_is_asked_for(worker: Worker) -> None:
    worker.expect(["no-such-backend"])

    with pytest.raises(Exception, match="no-such-backend"):
        worker.prepare("no-such-backend")


def test_a_worker_that_died_meanwhile_is_told_and_another_follows(worker: Worker) -> None:
    worker.expect(["onnxruntime"])
    assert worker._process is not None
    worker._process.popen.send_signal(signal.SIGSEGV)
    worker._process.popen.wait()

    with pytest.raises(DiedError, match="SIGSEGV"):
        worker.prepare("onnxruntime")
    worker.prepare("onnxruntime")

    assert worker.started == 2
