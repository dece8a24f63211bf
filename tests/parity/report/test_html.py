"""The page: one file that asks for nothing, whole without scripts, escaped everywhere, of a bounded size."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.results import CaseVerdict, KnownIssue, Part, Run, Unreadable, Verdict
from parity.report.html import SIGNS, to_html
from parity.report.text import visible
from tests.parity.report.samples import complete_run, full_run, hostile_run, run_of, streamed_run, subject

VOID = {"meta", "img", "input", "br", "rect", "path"}
Tag = tuple[str, dict[str, str | None]]


class Page(HTMLParser):
    """Gather tags, text and ids; every tag has to be closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.open: list[str] = []
        self.text = ""
        self.raw: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag}: an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("dt", "dd", "td", "th", "li", "p"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
        else:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def words(page: Page) -> str:
    return " ".join(page.text.split())


# What is there


def test_the_answer_comes_first() -> None:
    page = Page(to_html(full_run()))

    assert words(page).startswith(
        "Parity does not hold – coreml-parity Skip to the comparisons coreml-parity ✗ Parity"
    )
    assert "1 failure is known and expected." in page.text


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (run_of(subject()), "Parity holds"),
        (run_of(subject("fail")), "Parity does not hold"),
        (run_of(subject("skipped", reason="no Mac")), "Nothing can be concluded"),
        (run_of(), "Nothing was run."),
    ],
)
def test_every_answer_has_its_page(run: Run, told: str) -> None:
    assert told in words(Page(to_html(run)))


def test_everything_is_told() -> None:
    page = words(Page(to_html(full_run())))

    for told in (
        "pre-bgr-swap channels are swapped confirmed: PyTorch shown BGR agrees Fix: image = image[:, [2, 1, 0]]",
        "eps another epsilon suspected",
        "Guilty hop torch -> mlprogram",
        "First divergence operation 19 of 71, `conv_12` (conv)",
        "Would pass with 0.5",
        "Known issue: hard swish https://example.org/1",
        "known issue (tiny) no longer fails; remove it",
        "coreml-native: no Mac (tiny by mlprogram)",
        "Python 3.11.4 on Linux",
        "torch 2.13.0",
        "onnxruntime: answers of a phone",
        "Artefact tiny.onnx",
        "2 of 3 probabilities are not finite",
        "HardSwish is not known",
        "allowed 0.01",
        "1 tie: another top-1",
    ):
        assert told in page, told


def test_a_shard_and_what_cannot_be_explained_are_told() -> None:
    text = words(Page(to_html(run_of(subject("fail", unexplained="chance has a part in it"), shard=Part(2, 3)))))

    assert "Parity does not hold on shard 2/3 of the images" in text
    assert "Unexplained chance has a part in it" in text


def test_streamed_runs_tell_what_they_have() -> None:
    page = words(Page(to_html(streamed_run())))

    for told in (
        "The worst 32 images of 50,000",
        "9 ✗ flip, 3 ≈ tie, 49,988 ✓ match",
        "76.10 % (75.70 to 76.50)",
        "How often both are right, on 50,000 images",
        "2 images could not be read and were skipped",
        "broken.jpg: truncated",
        "label 3 50 9 7",
    ):
        assert told in page, told


def test_pictures_and_charts_say_what_they_show() -> None:
    page = Page(to_html(full_run()))

    assert all(
        image["alt"] and str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.named("img")
    )
    charts = [attributes for attributes in page.named("svg") if attributes.get("role") == "img"]
    assert len(charts) == 6
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert all(set(str(chart["aria-labelledby"]).split()) <= ids for chart in charts)
    assert all(svg.get("role") == "img" or svg.get("aria-hidden") == "true" for svg in page.named("svg"))


def test_every_verdict_is_a_word_with_a_sign() -> None:
    assert set(SIGNS) == {*Verdict.__args__, *CaseVerdict.__args__}  # type: ignore[attr-defined]
    page = to_html(full_run())
    assert not re.search(r'class="verdict v-(\w+)"><span class="sign" aria-hidden="true">.</span> (?!\w)', page)


def test_too_many_unreadable_images_need_attention() -> None:
    few, many = (replace(run_of(subject()), unreadable=Unreadable(2, share, 0.01)) for share in (0.001, 0.5))

    assert "too many" not in words(Page(to_html(few)))
    assert "too many 2 images could not be read" in words(Page(to_html(many)))


# Structure


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    page = Page(to_html(full_run()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]

    assert len(set(ids)) == len(ids)
    targets = [str(link["href"]) for link in page.named("a") if str(link["href"]).startswith("#")]
    assert len(targets) > 8
    assert {target[1:] for target in targets} <= set(ids)
    labels = [str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a]
    assert {one for label in labels for one in label.split()} <= set(ids)


def test_table_heads_say_what_they_head() -> None:
    page = Page(to_html(full_run()))

    assert {head.get("scope") for head in page.named("th")} == {"col", "row"}


def test_headings_do_not_skip_a_level() -> None:
    levels = [int(tag[1]) for tag, _ in Page(to_html(full_run())).tags if re.fullmatch("h[1-6]", tag)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_controls_are_hidden_until_the_script_shows_them() -> None:
    tools = next(a for _, a in Page(to_html(full_run())).tags if a.get("id") == "tools")

    assert "hidden" in tools


# Nothing from outside


@pytest.mark.parametrize("make", [full_run, hostile_run, streamed_run])
def test_the_page_asks_for_nothing(make: Callable[[], Run]) -> None:
    page = Page(to_html(make()))

    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "audio", "video")
        assert not any(name.startswith("on") for name in attributes), tag
        assert "style" not in attributes
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            value = attributes.get(name) or ""
            if name == "href" and value.startswith("https://"):
                assert attributes["rel"] == "noreferrer noopener"
            else:
                assert value.startswith(("#", "data:image/")) or value == "", (tag, name)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(|eval\(", "".join(page.raw.values()))


def test_the_policy_names_the_digests_of_the_pages_own_style_and_script() -> None:
    page = Page(to_html(hostile_run()))
    policy = next(str(m["content"]) for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    assert list(directives) == ["default-src", "img-src", "style-src", "script-src", "base-uri", "form-action"]
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
    assert directives["img-src"] == "data:"
    for tag in ("style", "script"):
        assert len(page.named(tag)) == 1
        digest = base64.b64encode(hashlib.sha256(page.raw[tag].encode()).digest()).decode()
        assert directives[f"{tag}-src"] == f"'sha256-{digest}'"
    names = [next(iter(m.values())) for m in page.named("meta")]
    assert names.index("Content-Security-Policy") < 2  # what stands before it would not be covered


# Names are data


def test_a_hostile_name_makes_no_tag() -> None:
    clean, hostile = (Page(to_html(hostile_run(text))) for text in ("name", hostile_run().subjects[0].model))

    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in clean.tags]
    assert "</script><script>alert(1)</script>" in hostile.text
    assert visible(hostile_run().subjects[0].model) in hostile.text


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=25)
def test_any_name_is_shown_and_makes_no_tag(name: str) -> None:
    run = run_of(subject("fail", model=name, reason=name, known_issue=KnownIssue(name, name)))
    page, clean = Page(to_html(run)), Page(to_html(run_of(subject("fail", model="x", reason="x"))))

    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"]
    assert visible(name).strip() in page.text
    assert len(page.named("details")) == len(clean.named("details"))
    to_html(run).encode("utf-8")


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.org", "x"]
)
def test_only_links_into_the_web_are_links(link: str) -> None:
    page = Page(to_html(run_of(subject("fail", known_issue=KnownIssue("why", link)))))

    assert link in page.text
    assert all(str(a["href"]).startswith("#") for a in page.named("a"))


# Size


@pytest.mark.parametrize("make", [lambda: streamed_run(20), lambda: complete_run(20, 1_000)], ids=["worst", "all"])
def test_large_runs_stay_under_two_megabytes(make: Callable[[], Run]) -> None:
    page = to_html(make())

    assert len(page.encode()) < 2_000_000
    assert "<img" in page


def test_what_is_not_listed_is_said() -> None:
    page = words(Page(to_html(complete_run(1, 1_000))))

    assert "40 images of 1,000: the worst, and a sample of the others" in page
    assert "The most probable classes of the worst images and a sample of the others" in page


# The palette

PAIRS = [  # (colour, what it lies on, the ratio that WCAG 2.2 asks for: 4.5 for text, 3 for shapes and borders)
    *((text, ground, 4.5) for text in ("text", "muted") for ground in ("page", "card", "inset")),
    *((text, ground, 4.5) for text in ("pass", "fail", "error", "unsure", "link") for ground in ("page", "card")),
    *((shape, ground, 3.0) for shape in ("reference", "candidate") for ground in ("card", "inset")),
    *((shape, "card", 3.0) for shape in ("edge", "fail", "link")),
    *((shape, "band", 3.0) for shape in ("reference", "edge")),
    *(("card", ground, 4.5) for ground in ("pass", "fail", "unsure")),  # the seal
]


def palettes() -> dict[str, dict[str, str]]:
    style = files("parity.report").joinpath("templates", "run.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    colours = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]
    return dict(zip(("light", "dark", "print"), colours, strict=True))


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        shares = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_what_the_guidelines_say() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_the_palette_has_contrast(scheme: str) -> None:
    colours = palettes()[scheme]

    found = [(one, other, contrast(colours[one], colours[other]), least) for one, other, least in PAIRS]
    assert [entry for entry in found if entry[2] < entry[3]] == []
    assert set(colours) == set(palettes()["light"])
