"""Talk to a process inside a tool chain; whatever becomes of it is an answer or a ToolChainFailure."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from parity.versions.toolchain_environment import WORKER, Environment, ToolChainFailure, last_lines


class Session:
    """Ask a tool chain's process for one thing after another; started when first asked, and again after a crash.

    A context manager: leaving it ends the process. remarks: what it did to make old and new fit, a line each.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.remarks = list(environment.remarks)
        self._process: subprocess.Popen[str] | None = None
        self._heard: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._log: IO[str] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(patience=10)

    def ask(self, verb: str, arguments: Mapping[str, Any], timeout: float) -> Any | ToolChainFailure:
        """Let the process do one of the worker's verbs and return its answer.

        timeout: seconds until it is killed.
        """
        stage = "start"
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            process.stdin.write(json.dumps({"verb": verb, "arguments": arguments}) + "\n")
            process.stdin.flush()
            while True:
                message = self._heard.get(timeout=timeout)
                if message is None:
                    return self._died(stage)
                stage = message.get("stage", stage)
                if "remark" in message and message["remark"] not in self.remarks:
                    self.remarks.append(message["remark"])
                if "answer" in message or "failed" in message:
                    break
        except queue.Empty:
            said = self._said()
            self._end()
            return ToolChainFailure(stage, (*said, f"no answer after {timeout:g} s: given up"), died=True)
        except OSError as error:
            if self._process is None:
                return ToolChainFailure(stage, (f"{self.environment.python} does not start: {error}",))
            return self._died(stage)  # before it read
        except BaseException:  # interrupted: the process must not go on alone, in a group of its own
            self._end()
            raise
        if "failed" in message:
            return ToolChainFailure("load" if message["importing"] else stage, last_lines(message["failed"]))
        return message["answer"]

    def _start(self) -> subprocess.Popen[str]:
        standalone = self.environment.toolchain.python is not None
        # Another Python must not see what is installed for this one.
        paths = [] if standalone else [os.path.abspath(path) for path in sys.path]  # noqa: PTH100  "" is here
        log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed by _end
        # A new queue: what an earlier process still had to say must not answer a new question.
        self._heard = queue.Queue()
        try:
            process = subprocess.Popen(
                [self.environment.python, "-I", WORKER, json.dumps(paths)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # so that its own children end with it
            )
        except OSError:
            log.close()
            raise
        self._process, self._log = process, log
        self._listener = threading.Thread(target=_listen, args=(process, self._heard), daemon=True)
        self._listener.start()
        return process

    def _died(self, stage: str) -> ToolChainFailure:
        assert self._process is not None
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        log = self._read_log()
        self._end()
        return ToolChainFailure(
            "load" if _crashed_while_importing(log) else stage, (*last_lines(log), f"the process {how}"), died=True
        )

    def _said(self) -> tuple[str, ...]:
        return last_lines(self._read_log())

    def _read_log(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read()

    def _end(self, patience: float = 0) -> None:
        """End the process; patience: seconds in which it may do so by itself, and remove its temporary files."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):  # it is dead, and there was something left to say
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._listener.join()
        if self._log is not None:
            self._log.close()


def _crashed_while_importing(log: str) -> bool:
    """Say whether the stack that faulthandler wrote at the end of a log runs through an import."""
    _, crash, stacks = log.rpartition("Fatal Python error")
    current = stacks.partition("Current thread")[2].partition("\n\n")[0]
    return bool(crash) and "<frozen importlib._bootstrap" in current


def _listen(process: subprocess.Popen[str], heard: queue.Queue[dict[str, Any] | None]) -> None:
    assert process.stdout is not None
    with process.stdout, suppress(ValueError):  # half a line: the process died while it wrote
        for line in process.stdout:
            heard.put(json.loads(line))
    heard.put(None)
