"""The table and the remarks below it: what a user reads of a run."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from parity.core.results import Answer, Case, CaseVerdict, Environment, KnownIssue, Run, Subject, summarise
from parity.report.progress import progress_bar
from parity.report.terminal import make_console, print_run

# Rich reads [red] as a colour, fails at a lone [/], and turns :cat: into a picture.
MARKUP = "[red]x[/] :cat: [/] [link=https://example.org]y[/link]"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Terminal()


@pytest.fixture(autouse=True)
def _colourless(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def subject(verdict: Any = "pass", backend: str = "onnxruntime", **more: Any) -> Subject:
    return Subject("tiny", "onnx", "tiny.onnx", backend, "fp32", verdict, **more)


def run_of(*subjects: Subject, stale: tuple[str, ...] = ()) -> Run:
    return Run(Environment("3.11", "Linux", {}), subjects, stale, summarise(subjects))


def printed(run: Run, stream: io.StringIO | None = None) -> str:
    stream = io.StringIO() if stream is None else stream
    print_run(run, make_console(stream))
    return stream.getvalue()


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def case(verdict: CaseVerdict, image: str = "a.png", label: str = "ant") -> Case:
    return Case(image, verdict, Answer(label, 0.75), Answer(label, 0.5), 0.25, 0.1, label, 0.75, 0.5)


# The table


def test_the_table_says_who_agrees() -> None:
    text = printed(
        run_of(
            subject(images=8, top1_agreement=1.0, max_abs_diff=1.23e-7, tolerance=1e-5),
            subject("fail", "onnx-reference", images=8, top1_agreement=0.875, max_abs_diff=0.25, tolerance=1e-5),
            subject("error", "coreml-evaluator", reason="broken file"),
            subject("skipped", "coreml-native", reason="no Mac"),
        )
    )

    assert [line.split() for line in lines(text)[2:6]] == [
        ["tiny", "onnx", "(fp32)", "onnxruntime", "pass", "8", "100%", "1.2e-07", "1.0e-05"],
        ["tiny", "onnx", "(fp32)", "onnx-reference", "fail", "8", "87%", "2.5e-01", "1.0e-05"],
        ["tiny", "onnx", "(fp32)", "coreml-evaluator", "error"],
        ["tiny", "onnx", "(fp32)", "coreml-native", "skipped"],
    ]
    assert lines(text)[0].split() == [
        *("model", "route", "backend", "verdict", "images", "top-1", "max", "|Δp|", "allowed"),
    ]
    assert lines(text)[-1] == "parity does not hold: 1 pass, 1 fail, 1 error, 1 skipped"


@pytest.mark.parametrize(
    ("share", "told"), [(0.999, "99%"), (0.29, "29%"), (0.57, "57%"), (1.0, "100%"), (2 / 3, "66%"), (0.0, "0%")]
)
def test_a_hundred_percent_is_said_of_all_images_alone(share: float, told: str) -> None:
    assert f" {told} " in printed(run_of(subject(images=1000, top1_agreement=share)))


def test_an_expected_failure_is_marked() -> None:
    known = subject("fail", known_issue=KnownIssue("hard swish", "https://example.org/1"))

    text = lines(printed(run_of(known, subject())))

    assert text[2].split()[-2:] == ["fail", "(known)"]
    assert "known issue: hard swish https://example.org/1" in text
    assert text[-1] == "parity holds: 1 pass, 1 fail (1 known)"


def test_expected_failures_alone_are_not_parity() -> None:
    known = [subject("fail", known_issue=KnownIssue("hard swish", ""))] * 3

    text = lines(printed(run_of(*known, subject("skipped", "coreml-native", reason="no Mac"))))

    assert text[-1] == "nothing can be concluded, because nothing passed: 3 fail, 1 skipped (3 known)"


# Below the table


def test_what_did_not_pass_is_explained() -> None:
    failed = subject("fail", reason="1 drift of 1 image(s)", tolerance=0.01, cases=(case("drift"),))

    assert lines(printed(run_of(failed)))[3:6] == [
        "tiny by onnx on onnxruntime: fail: 1 drift of 1 image(s)",
        "worst image a.png (drift): PyTorch 'ant' at 0.75, candidate 'ant' at 0.5",
        "largest difference 0.25 at 'ant' (0.75 against 0.5), allowed 0.01",
    ]


def test_what_was_skipped_for_one_reason_shares_a_line() -> None:
    skipped = [subject("skipped", "coreml-native", reason="no Mac")] * 3

    text = lines(printed(run_of(*skipped, subject("skipped", "onnx-reference", reason="not installed"))))

    assert text[-3:] == [
        "skipped 3 × coreml-native: no Mac",
        "skipped 1 × onnx-reference: not installed",
        "nothing can be concluded: 4 skipped",
    ]


def test_ties_are_told() -> None:
    text = printed(run_of(subject(cases=(case("tie"), case("match"))), subject(cases=(case("tie"),))))

    assert "2 tie(s): another top-1, but the two labels are nearer than the tolerance" in lines(text)


def test_stale_entries_are_told() -> None:
    assert lines(printed(run_of(subject(), stale=("an old entry",))))[-2:] == [
        "an old entry",
        "parity does not hold: 1 pass",
    ]


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (run_of(subject()), "parity holds: 1 pass"),
        (run_of(subject("fail")), "parity does not hold: 1 fail"),
        (run_of(subject("inconclusive")), "nothing can be concluded: 1 inconclusive"),
        (run_of(), "nothing can be concluded: nothing was run"),
    ],
)
def test_the_last_line_is_the_answer(run: Run, told: str) -> None:
    assert lines(printed(run))[-1] == told


# Plain text, colours, widths


def test_where_no_terminal_is_there_are_no_escapes() -> None:
    assert "\x1b" not in printed(run_of(subject(), subject("fail"), subject("skipped")))


def test_a_terminal_gets_colours(terminal: Terminal) -> None:
    text = printed(run_of(subject(), subject("fail")), terminal)

    assert "\x1b[32mpass" in text
    assert "\x1b[31mfail" in text


def test_a_file_gets_lines_that_are_neither_wrapped_nor_cut() -> None:
    reason, name = "because " * 60, "model_" * 40
    text = printed(run_of(Subject(name, "onnx", "a.onnx", "onnxruntime", "fp32", "error", reason.strip())))

    assert f"{name} by onnx on onnxruntime: error: {reason.strip()}" in lines(text)
    assert lines(text)[2].split()[0] == name


def test_a_narrow_terminal_cuts_no_number(terminal: Terminal) -> None:
    name = "mobilenet_v2_with_a_long_name"
    found = Subject(name, "onnx-torchscript", "a.onnx", "coreml-evaluator", "fp32", "inconclusive")
    text = printed(
        run_of(*[Subject(**{**vars(found), "images": 8, "max_abs_diff": 1.2e-7, "tolerance": 1e-5})]), terminal
    )

    table = text.split("\n\n")[0]
    assert "…" not in table
    assert all(told in table for told in ("inconclusive", "1.2e-07", "1.0e-05"))
    assert name in "".join(line[:12].strip() for line in table.splitlines()[2:])


# Names mean themselves


def everywhere(text: str) -> Run:
    """Put a text into every place of a run that a user names."""
    failed = Subject(
        *(text, "onnx", text, "onnxruntime", "fp32", "fail", text),
        tolerance=0.01,
        known_issue=KnownIssue(text, text),
        cases=(case("flip", image=text, label=text),),
    )
    return run_of(failed, subject("skipped", reason=text), subject("error", reason=text), stale=(text,))


def test_markup_in_names_is_printed_literally() -> None:
    text = printed(everywhere(MARKUP))

    # In the table: the model. Below: the model, why, the image, three labels, the issue and its link, why it was
    # skipped, why it is an error, the stale entry.
    assert text.count(MARKUP) == 12
    assert f"worst image {MARKUP} (flip): PyTorch {MARKUP!r} at 0.75" in text


def test_markup_in_names_is_printed_literally_on_a_terminal(terminal: Terminal) -> None:
    assert printed(everywhere(MARKUP), terminal).count(MARKUP) == 11  # in the table it is folded


@pytest.mark.parametrize("text", ["\\", "[", "[[x]]", "\\[red]", "日本", "{0} %s"])
def test_other_signs_are_printed_literally(text: str) -> None:
    assert printed(everywhere(text)).count(text) >= 12


# Progress


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, messages: Sequence[str]) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar() as progress:
        for message in messages:
            progress(message, 0.5)
    return stream.getvalue()


def test_progress_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    assert "tiny: loading" in shown(monkeypatch, terminal, ["tiny: loading"])


def test_progress_shows_names_literally(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    assert "[red]x[/] [/]" in shown(monkeypatch, terminal, ["[red]x[/] [/]"])


def test_progress_is_silent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO(), ["tiny: loading"]) == ""


def test_progress_stays_on_the_screen_while_a_converter_writes_to_its_log(tmp_path: Path) -> None:
    """A real terminal: the converter's chatter must not take the bar with it into the log."""
    program = (
        "from conversion.guards.quiet import chatter_to\n"
        "from pathlib import Path\n"
        "from parity.report.progress import progress_bar\n"
        "with progress_bar() as progress:\n"
        "    progress('before', 0.1)\n"
        f"    with chatter_to(Path({str(tmp_path / 'log')!r})):\n"
        "        print('chatter')\n"
        "        progress('converting by a route', 0.5)\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", program], stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        # Linux ends a terminal that nobody holds any more with an error, macOS with an empty read.
        with contextlib.suppress(OSError):
            while read := os.read(ours, 4096):
                seen += read
    os.close(ours)

    assert process.returncode == 0
    assert b"converting by a route" in seen
    assert b"chatter" not in seen
    assert (tmp_path / "log").read_text() == "chatter\n"


def test_what_a_terminal_would_obey_is_spelt_out_whoever_prints_it() -> None:
    from rich.table import Table

    file = io.StringIO()
    table = Table()
    table.add_column("a\x1b[2J")
    table.add_row("b\r\u202e")

    make_console(file).print(table)
    make_console(file).print("c\x1b]0;title\x07\nd", soft_wrap=True)

    told = file.getvalue()
    assert not set(told) & set("\x1b\r\x07\u202e")
    assert "a\\x1b[2J" in told
    assert "b\\r\\u202e" in told
    assert told.endswith("c\\x1b]0;title\\x07\nd\n")
