"""The process that parity.backends.limited runs artefacts in: requests come in, answers and errors go back.

    python -m parity.backends.worker DESCRIPTOR

It ends when the process that started it does, whatever it is doing then.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

from conversion.errors import ConversionError
from parity.backends import find_backend
from parity.core.errors import ParityError
from parity.core.memory import memory_limit

if TYPE_CHECKING:
    from parity.backends import Predict

# Numbers of artefacts to drop; PyTorch's threads and the current directory of who asks; and what is asked.
Request = tuple[list[int], "tuple[int | None, str | None]", tuple[Any, ...]]


# What the process of the artefacts may have: of the machine's memory, for the rest is the run's; and of the largest
# value that a network may have. A network with weights of 2 GiB needs five times as much while it is loaded.
_SHARE, _VALUES = 0.8, 16


def main(descriptor: int) -> None:
    """Serve one request after the other until the other side closes the connection."""
    connection = Connection(descriptor)
    _leave_memory()
    requests: SimpleQueue[Request] = SimpleQueue()
    # Listens while an artefact runs, so that the end of the other side is heard at once.
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    loaded: dict[int, Predict] = {}
    while True:
        dropped, surroundings, request = requests.get()
        for number in dropped:
            loaded.pop(number, None)
        _settle(*surroundings)
        connection.send(_answer(loaded, request))


def _listen(connection: Connection, requests: SimpleQueue[Request]) -> None:
    while True:
        try:
            requests.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _leave_memory() -> None:
    """Refuse this process what the machine does not have, and where that is short let it end, not the run.

    Of all that a process has, RLIMIT_DATA counts what it may write to: PyTorch reserves addresses by the dozens of
    GiB, which RLIMIT_AS would count. macOS has neither.
    """
    with suppress(ValueError, OSError, AttributeError):
        import resource

        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = min(int(there * _SHARE), _VALUES * memory_limit())
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _answer(loaded: dict[int, Predict], request: tuple[Any, ...]) -> tuple[str, Any]:
    """Do what is asked; what is raised is part of the answer."""
    try:
        return "answer", _do(loaded, request)
    except BaseException as error:  # a runtime, or what it runs, may raise anything
        if isinstance(error, ParityError | ConversionError):
            return "own", _portable(error)
        return "other", (type(error).__name__, str(error), traceback.format_exc())


def _do(loaded: dict[int, Predict], request: tuple[Any, ...]) -> Any:
    match request:
        case "prepare", name:
            prepared = find_backend(name)
            if prepared.why_not() is None:
                for module in prepared.ABOUT.imports:
                    importlib.import_module(module)
        case "load", number, name, artifact, batch, options:
            loaded[number] = cast(Any, find_backend(name)).load(artifact, batch, **options)
        case "answer", number, name, artifact, batch, pixels:  # both at once
            loaded[number] = cast(Any, find_backend(name)).load(artifact, batch)
            return loaded[number](pixels)
        case "predict", number, pixels:
            return loaded[number](pixels)
    return None


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent: itself, or its message where its class asks for more to be made."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its constructor raises
        return ParityError(str(error))
    return error


def _settle(threads: int | None, directory: str | None) -> None:
    """Be where the other side is, and compute as it does."""
    torch = sys.modules.get("torch")
    if torch and threads and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if directory is not None:
        os.chdir(directory)


if __name__ == "__main__":
    main(int(sys.argv[1]))
