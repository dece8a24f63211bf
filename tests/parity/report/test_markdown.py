"""Markdown for a pull request: what is in it, that names are data to a Markdown parser, and its bound."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from parity.core.results import Run
from parity.report.markdown import MOST_CHARACTERS, block, data, to_markdown
from parity.report.run_diff import diff_to_markdown
from parity.report.text import visible
from parity.versions.run_diff import compare_runs
from tests.parity.report.samples import HOSTILE, complete_run, full_run, hostile_run, run_of, streamed_run, subject

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class Read(HTMLParser):
    """Gather tags, and the text of code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.code: list[str] = []
        self.open: list[str] = []
        self.feed(PARSER.render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self.open:
            self.code[-1] += data


def test_the_answer_is_the_heading() -> None:
    text = to_markdown(full_run())

    assert text.startswith("### ❌ coreml-parity: parity does not hold: 1 pass, 2 fail, 1 error, 1 inconclusive, ")
    assert to_markdown(run_of(subject())).startswith("### ✅ coreml-parity: parity holds: 1 pass\n")
    assert to_markdown(run_of()) == "### ❔ coreml-parity: nothing can be concluded: nothing was run\n"


def test_the_table_has_a_row_for_what_ran_the_worst_first() -> None:
    rows = [line for line in to_markdown(full_run()).splitlines() if line.startswith("| ")]

    assert rows[0] == "|  | model | route | backend | images | top-1 | max \\|Δp\\| | allowed |"
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| ❌ fail",
        "| 💥 error",
        "| ❔ inconclusive",
        "| ✅ pass",
        "| ❌ fail (known)",
    ]
    assert rows[2] == (
        "| ❌ fail | <code>tiny</code> | <code>mlprogram (fp32)</code> | <code>coreml-evaluator</code> | 3 | 33% | "
        "5.0e-01 | 1.0e-02 |"
    )


def test_failures_are_explained() -> None:
    text = to_markdown(full_run())

    for told in (
        "<details><summary>❌ <code>tiny</code> by <code>mlprogram</code> on <code>coreml-evaluator</code>: fail",
        "  worst image nan.png (error): PyTorch 'ant' at 0.75, candidate '-' without a finite probability",
        "- Cause: <code>pre-bgr-swap</code> <code>channels are swapped</code> "
        "(<code>confirmed&#58; PyTorch shown BGR agrees</code>)",
        "- Fix: <code>image &#61; image&#91;&#58;, &#91;2, 1, 0&#93;&#93;</code>",
        "- Suspected: <code>eps</code> <code>another epsilon</code>",
        "- First divergence: <code>operation 19 of 71, &#96;conv_12&#96; (conv)</code>",
        "- Known issue: <code>hard swish</code> <code>https&#58;//example.org/1</code>",
        "❌ Stale: <code>known issue (tiny) no longer fails; remove it</code>",
        "➖ Skipped 1 × <code>coreml-native</code>: <code>no Mac</code>",
        "1 tie: another top-1",
    ):
        assert told in text, told


def test_it_is_markdown() -> None:
    read = Read(to_markdown(full_run()))

    assert read.tags.count("table") == 1
    assert read.tags.count("tr") == 6
    assert read.tags.count("details") == 4
    assert read.tags.count("pre") == 4


def test_accuracy_and_unreadable_images_are_told() -> None:
    text = to_markdown(streamed_run())

    assert "2 images could not be read and were skipped: 0.004 % of all, 1 % allowed." in text
    assert "right on 76.10 % (75.70 to 76.50) of the images" in text


# Names are data


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_a_name_is_itself_to_a_parser(name: str) -> None:
    shown = visible(name)
    read = Read(f"before {data(shown)} after\n\n| a | b |\n| --- | --- |\n| x | {data(shown)} |\n")

    assert [tag for tag in read.tags if tag not in ("p", "table", "thead", "tbody", "tr", "th", "td")] == [
        "code"
    ] * 2
    for found in read.code:
        assert found.strip() == shown.strip()
    assert read.tags.count("td") == 2


@pytest.mark.parametrize(
    "name",
    [
        "a|b",
        "\\|",
        "a\\|b",
        "`a`",
        "``",
        "_a_",
        "**a**",
        "<b>",
        "&lt;",
        "[x](y)",
        "@everyone",
        "#12",
        ":cat:",
        "$x$",
    ],
)
def test_what_github_would_take_for_its_own_is_an_entity(name: str) -> None:
    assert not set(data(name).removeprefix("<code>").removesuffix("</code>")) & set("|`*<>[]@:$\\")
    assert "#" not in re.sub(r"&#\d+;", "", data(name))


def test_names_with_underscores_stay_readable() -> None:
    assert data("mobilenet_v2_digits") == "<code>mobilenet_v2_digits</code>"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "```",
        "````\n```",
        "</details>",
        "|",
        "</pre>",
        "</code></pre>\n\n# a",
        "</script>",
        "a\n\n    b",
        "&lt;",
    ],
)
def test_a_block_shows_its_lines(text: str) -> None:
    read = Read(f"{block(text.splitlines())}\nafter\n")

    assert read.code == [f"{text}\n"]
    assert read.tags == ["pre", "code", "p"]


def test_a_hostile_run_has_the_structure_of_a_clean_one() -> None:
    hostile, clean = Read(to_markdown(hostile_run())), Read(to_markdown(hostile_run("name")))

    assert hostile.tags == clean.tags
    assert visible(HOSTILE) in hostile.code


@pytest.mark.parametrize(
    "name", [HOSTILE, "<script>", "</pre><img src=x onerror=alert(1)>", "<!--", "<svg/onload=x>"]
)
def test_no_tag_of_a_name_is_left_in_the_text(name: str) -> None:
    run = hostile_run(name)
    ours = {"code", "/code", "pre", "/pre", "details", "/details", "summary", "/summary"}

    for text in (to_markdown(run), diff_to_markdown(compare_runs(hostile_run("name"), run))):
        tags = re.findall("<([^>]*)", text)
        assert "code" in tags
        assert set(tags) <= ours


# Length


def test_a_large_run_fits_into_a_comment() -> None:
    text = to_markdown(complete_run(500, 3))

    assert len(text) <= MOST_CHARACTERS < 65_536
    assert re.search(
        r"\n\*Left out for length: \d+ explanations; results\.json and the HTML report have all\.\*\n$", text
    )
    Read(text)


@pytest.mark.parametrize("most", [2_000, 10_000, 64_000])
def test_the_bound_is_kept_and_what_is_left_out_is_counted(most: int) -> None:
    run: Run = complete_run(300, 1)
    text = to_markdown(run, most)
    rows, explained = len(re.findall(r"^\| ❌ fail", text, re.M)), text.count("<details>")

    assert len(text) <= most
    told = {kind: int(number) for number, kind in re.findall(r"(\d+) (row|explanation)s?", text.splitlines()[-1])}
    assert rows + told.get("row", 0) == 300
    assert explained + told.get("explanation", 0) == 300


def test_nothing_is_left_out_of_a_small_run() -> None:
    assert "Left out" not in to_markdown(full_run())
