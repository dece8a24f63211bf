"""Charts: well-formed SVG whose shapes are where the numbers are, and whose words say the same."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.distribution import Distribution
from parity.report.case_view import Pair
from parity.report.charts import distribution_chart, scatter_chart


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def bars(svg: str) -> list[tuple[str, float, float]]:
    """List bars: class, left edge, height."""
    found = [e.attrib for e in drawn(svg).iter("rect")]
    return [(a["class"], float(a["x"]), float(a["height"])) for a in found]


def told(svg: str) -> str:
    return drawn(svg).findtext("desc") or ""


def test_bars_beyond_the_tolerance_are_marked() -> None:
    svg = distribution_chart(Distribution().add([1e-4] * 9 + [0.5]), 0.01, 0, "s1")

    (near, near_x, near_height), (apart, apart_x, apart_height) = bars(svg)
    assert (near, apart) == ("bar", "bar apart")
    assert near_x < apart_x
    assert near_height > apart_height > 20  # one image of many is seen
    assert len(re.findall('class="mark"', svg)) == 1
    assert told(svg) == "10 images; half of them differ by at most 0.00013; 1 in bins beyond the tolerance of 0.01."


def test_the_tolerance_is_a_line_between_what_it_parts() -> None:
    svg = distribution_chart(Distribution().add([1e-4, 0.5]), 0.01, 0, "s1")
    limit = next(e for e in drawn(svg).iter("path") if e.get("class") == "limit")
    x = float(re.findall(r"M([\d.]+)", limit.attrib["d"])[0])

    (_, left, _), (_, right, _) = bars(svg)
    assert left < x < right
    assert "allowed 0.01" in svg


def test_zero_has_a_place() -> None:
    svg = distribution_chart(Distribution().add([0.0, 0.0]), 1e-5, 0, "s1")

    assert len(bars(svg)) == 1
    assert ">0<" in svg


def test_images_without_an_answer_are_told() -> None:
    assert told(distribution_chart(Distribution().add([0.1]), None, 3, "s1")).endswith(
        "not counted: 3 images without a finite answer."
    )


def test_of_nothing_there_is_no_chart() -> None:
    assert distribution_chart(Distribution(), 0.01, 0, "s1") == ""
    assert scatter_chart((), 0.01, "s1") == ""


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.none() | st.floats(1e-12, 0.999))
@settings(max_examples=60)
def test_everything_is_drawn_inside(values: list[float], tolerance: float | None) -> None:
    for svg in (
        distribution_chart(Distribution().add(values), tolerance, 0, "a"),
        scatter_chart([Pair(v, 1 - v, v > 0.5) for v in values], tolerance, "a"),
    ):
        root = drawn(svg)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter():
            assert -1 <= float(element.get("x", 0)) <= width
            assert -1 <= float(element.get("y", 0)) <= height
            assert float(element.get("height", 0)) <= height
            assert "nan" not in str(element.attrib)


def test_points_apart_are_crosses_and_the_band_is_the_tolerance() -> None:
    svg = scatter_chart([Pair(0.5, 0.5, False), Pair(0.9, 0.1, True), Pair(0.9, 0.1, True)], 0.25, "s1")
    paths = {e.get("class"): e.get("d", "") for e in drawn(svg).iter("path")}

    assert paths["dots"].count("M") == 1
    assert paths["crosses"].count("l6 6") == 1  # two at one place are one
    band = next(drawn(svg).iter("polygon")).attrib["points"].split()
    assert len(band) == 6
    assert told(svg) == (
        "3 probabilities of the most probable classes of the images shown. On the diagonal both say the same; "
        "the band around it is what is allowed, 0.25; 2 lie outside, drawn as crosses."
    )


@pytest.mark.parametrize("anchor", ["s1", 'x"><script>'])
def test_titles_and_descriptions_belong_to_the_chart(anchor: str) -> None:
    for svg in (
        distribution_chart(Distribution().add([0.5]), 0.01, 0, anchor),
        scatter_chart([Pair(0.5, 0.5, False)], 0.01, anchor),
    ):
        root = drawn(svg)
        ids = [root[0].attrib["id"], root[1].attrib["id"]]
        assert (root[0].tag, root[1].tag, root.attrib["role"]) == ("title", "desc", "img")
        assert root.attrib["aria-labelledby"] == " ".join(ids)
