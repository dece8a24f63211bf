"""What reports say of the faults that they name."""

from __future__ import annotations

import io
from dataclasses import replace

from parity.core.faults import catalogue
from parity.core.results import Diagnosis, Run
from parity.report.explanation import print_explanation
from parity.report.faults import where_to_read
from parity.report.html import to_html
from parity.report.markdown import to_markdown
from parity.report.terminal import make_console, print_run
from tests.parity.report.samples import full_run, run_of, subject

SWAP = catalogue()["pre-bgr-swap"]


def terminal(run: Run) -> str:
    stream = io.StringIO()
    print_run(run, make_console(stream))
    return stream.getvalue()


def test_the_terminal_says_once_where_to_read_about_a_fault() -> None:
    assert terminal(full_run()).count("parity faults ") == 1
    assert "what is pre-bgr-swap, and what to do: parity faults pre-bgr-swap\n" in terminal(full_run())
    assert "parity faults" not in terminal(run_of(subject()))


def test_an_explanation_says_where_to_read_about_its_fault() -> None:
    stream = io.StringIO()
    failed = subject("fail", diagnoses=(Diagnosis("g-clip", "cut off"),), reason="1 flip of 1 image(s)")
    print_explanation(failed, make_console(stream))

    assert stream.getvalue().endswith("what is g-clip, and what to do: parity faults g-clip\n")


def test_of_several_faults_the_first_stands_for_all() -> None:
    assert where_to_read(["of-another-version"]) == ()
    assert where_to_read(["g-clip", "g-clip"]) == ("what is g-clip, and what to do: parity faults g-clip",)
    assert where_to_read(["g-clip", "g-scale"])[0].endswith("parity faults g-clip (the others likewise)")


def test_the_page_shows_the_catalogue_of_the_faults_that_it_names_and_links_to_it() -> None:
    page = to_html(full_run())

    assert page.count('<li id="fault-') == 1
    assert '<a href="#fault-pre-bgr-swap">pre-bgr-swap</a>' in page
    assert SWAP.what in page
    assert SWAP.shows in page
    # A name that this version does not know is shown, and leads nowhere.
    assert "<code>eps</code>" in page
    assert "What the causes are" not in to_html(run_of(subject()))


def test_markdown_ends_with_the_catalogue_of_the_faults_that_it_names() -> None:
    text = to_markdown(full_run())

    assert text.count(SWAP.title) == 1
    assert SWAP.what in text
    assert SWAP.title not in to_markdown(run_of(subject()))


def test_a_fault_of_two_subjects_is_described_once() -> None:
    run = full_run()
    twice = replace(run, subjects=(*run.subjects, replace(run.subjects[1], model="other")))

    assert to_markdown(twice).count(SWAP.title) == to_html(twice).count(f"<strong>{SWAP.title}") == 1
