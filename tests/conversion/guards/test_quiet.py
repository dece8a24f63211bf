from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from rich.progress import track

from conversion.guards.quiet import chatter_to, import_coremltools

REPOSITORY = Path(__file__).parents[3]


def print_to_stdout() -> None:
    print("chatter")


def print_to_stderr() -> None:
    print("chatter", file=sys.stderr)


def write_past_python() -> None:
    os.write(1, b"chatter\n")


def write_past_python_to_stderr() -> None:
    os.write(2, b"chatter\n")


def write_as_c_does() -> None:
    ctypes.CDLL(None).printf(b"chatter\n")


def write_in_a_subprocess() -> None:
    subprocess.run([sys.executable, "-c", "print('chatter')"], check=True)


def warn() -> None:
    warnings.warn("chatter", UserWarning, stacklevel=1)


def warn_again() -> None:
    for _ in range(2):
        warnings.warn("chatter", DeprecationWarning, stacklevel=1)


def log_as_coremltools() -> None:
    logging.getLogger("coremltools.converters").warning("chatter")


def log_as_torch_onnx() -> None:
    logging.getLogger("torch.onnx").warning("chatter")


def show_progress() -> None:
    for _ in track(range(2), description="chatter"):
        pass


CHATTER = (
    print_to_stdout,
    print_to_stderr,
    write_past_python,
    write_past_python_to_stderr,
    write_as_c_does,
    write_in_a_subprocess,
    warn,
    warn_again,
    log_as_coremltools,
    log_as_torch_onnx,
    show_progress,
)


@pytest.mark.parametrize("chatter", CHATTER)
def test_chatter_goes_to_the_file_and_not_to_the_screen(
    chatter: Callable[[], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "convert.log"
    log.write_text("before\n", encoding="utf-8")

    with chatter_to(log):
        chatter()

    assert capfd.readouterr() == ("", "")
    content = log.read_text(encoding="utf-8")
    assert content.startswith("before\n")
    assert "chatter" in content


@pytest.mark.parametrize("chatter", CHATTER)
def test_without_a_file_chatter_goes_to_logging(
    chatter: Callable[[], None], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, logger="conversion.chatter")

    with chatter_to():
        chatter()

    assert capfd.readouterr() == ("", "")
    records = [record for record in caplog.records if record.name == "conversion.chatter"]
    assert [record.levelno for record in records] == [logging.DEBUG]
    assert "chatter" in records[0].getMessage()


def test_silence_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="conversion.chatter")

    with chatter_to():
        pass

    assert caplog.records == []


def test_a_handler_that_writes_to_the_screen_may_show_the_chatter(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("conversion.chatter")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with chatter_to():
            print("chatter")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)

    assert capfd.readouterr() == ("", "chatter\n\n")


def test_lines_keep_their_order(tmp_path: Path) -> None:
    with chatter_to(tmp_path / "log"):
        print("1")
        os.write(1, b"2\n")
        print("3", file=sys.stderr)
        os.write(2, b"4\n")
        logging.getLogger("coremltools").warning("5")

    assert (tmp_path / "log").read_text(encoding="utf-8").split() == ["1", "2", "3", "4", "5"]


def test_a_logger_that_writes_to_the_screen_itself_is_turned_away(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("coremltools")
    own = logging.StreamHandler(sys.stderr)
    logger.addHandler(own)
    try:
        with chatter_to(tmp_path / "log"):
            logger.warning("chatter")
        assert capfd.readouterr().err == ""
        assert (tmp_path / "log").read_text(encoding="utf-8") == "chatter\n"

        logger.warning("afterwards")
        assert capfd.readouterr().err == "afterwards\n"
    finally:
        logger.removeHandler(own)


def test_what_is_no_utf_8_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="conversion.chatter")

    for log in (tmp_path / "log", None):
        with chatter_to(log):
            print("lone \ud800 surrogate")
            os.write(1, b"\xff\n")

    assert (tmp_path / "log").read_bytes() == b"lone ? surrogate\n\xff\n"
    assert caplog.messages == ["lone ? surrogate\n\ufffd\n"]


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold that a test leaves screen, warnings and loggers as they were."""
    names = ("coremltools", "torch.onnx", "onnxscript", "onnx_ir", "onnxslim", "torch.export")
    loggers = [logging.getLogger(name) for name in names]
    monkeypatch.setattr(loggers[0], "propagate", True)
    monkeypatch.setattr(loggers[1], "propagate", False)

    def state() -> list[object]:
        streams = [sys.stdout, sys.stderr, warnings.showwarning, list(warnings.filters)]
        files = [(os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino) for descriptor in (1, 2)]
        return [*streams, *files, *((list(logger.handlers), logger.propagate) for logger in loggers)]

    before = state()
    yield
    assert state() == before


@pytest.mark.usefixtures("unchanged")
def test_afterwards_everything_is_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with chatter_to(tmp_path / "log"), chatter_to():
        print("chatter")

    print("out")
    os.write(2, b"err\n")
    assert capfd.readouterr() == ("out\n", "err\n")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_a_failure_too(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), chatter_to(tmp_path / "log"), chatter_to():
        raise error

    with pytest.raises(FileNotFoundError), chatter_to(tmp_path / "no such directory" / "log"):
        pass


@pytest.mark.usefixtures("unchanged")
def test_threads_take_turns(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # So often that two threads would be inside at once if they could.
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    start = threading.Barrier(4)

    def chat(name: str) -> None:
        start.wait()
        for _ in range(20):
            with chatter_to(tmp_path / name):
                print(name)

    threads = [threading.Thread(target=chat, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in "abcd"} == {
        name: f"{name}\n" * 20 for name in "abcd"
    }


def run(script: str, *arguments: str) -> tuple[int, str, str]:
    # Unbuffered, as some environments ask for, C would hold nothing back.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, *arguments, "-c", script],
        cwd=REPOSITORY,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_importing_coremltools_for_the_first_time_is_silent() -> None:
    script = "from conversion.guards.quiet import import_coremltools; print(import_coremltools().__name__)"

    assert run(script, "-W", "error") == (0, "coremltools\n", "")


def test_what_another_thread_prints_while_coremltools_is_imported_is_on_the_screen() -> None:
    script = """
import logging, os, sys, threading
class PrintOnImport:
    def find_spec(self, name, path=None, target=None):
        if name == "coremltools.models":
            def write():
                print("printed", flush=True)
                os.write(1, b"raw\\n")
                logging.getLogger("coremltools").warning("logged")
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
sys.meta_path.insert(0, PrintOnImport())
from conversion.guards.quiet import import_coremltools
import_coremltools()
print("afterwards")
"""
    assert run(script) == (0, "printed\nraw\nafterwards\n", "logged\n")


def test_what_coremltools_says_on_import_is_logged() -> None:
    script = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(name)s", level=logging.DEBUG)
from conversion.guards.quiet import import_coremltools
import_coremltools()
"""
    code, out, err = run(script)

    assert (code, err) == (0, "")
    assert "conversion.chatter" in out.splitlines()
    assert "coremltools" not in out.splitlines()


def test_coremltools_own_import_is_not_silent() -> None:
    """Without this, the test above would pass whatever import_coremltools does."""
    _, out, err = run("import coremltools")

    assert out + err


def test_what_c_holds_back_is_not_printed_afterwards(tmp_path: Path) -> None:
    script = f"""
import ctypes
from pathlib import Path
from conversion.guards.quiet import chatter_to
printf = ctypes.CDLL(None).printf
printf(b"before, ")
with chatter_to(Path({str(tmp_path)!r}) / "log"):
    printf(b"chatter")
printf(b"after")
"""
    assert run(script) == (0, "before, after", "")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "chatter"


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_a_closed_screen_is_no_failure(closed: tuple[int, ...], tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from conversion.guards.quiet import chatter_to
for descriptor in {closed}:
    os.close(descriptor)
with chatter_to(Path({str(tmp_path)!r}) / "log"):
    print("chatter")
"""
    code, _, _ = run(script)

    assert code == 0
    assert (tmp_path / "log").read_text(encoding="utf-8") == "chatter\n"


def test_coremltools_is_what_is_imported() -> None:
    assert import_coremltools() is sys.modules["coremltools"]
