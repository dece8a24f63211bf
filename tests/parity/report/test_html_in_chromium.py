"""The page in a browser: at phone and desktop width, light and dark, by keyboard, without scripts, printed.

Needs Chromium and its driver on the PATH, and the package selenium (extra `test`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parity.core.results import Run
from parity.report.html import to_html
from tests.parity.report.samples import complete_run, full_run, hostile_run, run_of, streamed_run, subject

selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install 'coreml-parity[test]'")
PROGRAM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on the PATH"),
    pytest.mark.skipif(DRIVER is None, reason="no chromedriver on the PATH"),
]

QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-color-profile=srgb"
)
CONTROLS = {
    "button",
    "link",
    "searchbox",
    "textbox",
    "checkbox",
    "combobox",
    "DisclosureTriangle",
    "image",
    "region",
}

# Computed contrast of every piece of text that is seen, as the guidelines (WCAG 2) define it.
CONTRAST = """
const channel = (c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const background = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const found = numbers(getComputedStyle(e).backgroundColor);
    if (found.length === 3 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
const bad = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
  if (["SCRIPT", "STYLE", "OPTION", "title", "desc"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const drawn = element instanceof SVGElement ? style.fill : style.color;
  const pair = [luminance(numbers(drawn)), luminance(background(element))].sort((a, b) => b - a);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (ratio < 4.5) bad.push([ratio.toFixed(2), walker.currentNode.textContent.trim().slice(0, 40)]);
}
return bad;
"""


class Browser:
    """Show pages in one Chromium."""

    def __init__(self, driver: Any, directory: Path) -> None:
        self.driver = driver
        self.directory = directory

    def emulate(self, method: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(f"Emulation.{method}", parameters)

    def show(
        self, run: Run, width: int = 1440, scheme: str = "light", scripts: bool = True, hash_: str = ""
    ) -> None:
        size = {"width": width, "height": 844 if width < 800 else 900}
        self.emulate("setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)
        self.media("screen", scheme)
        self.emulate("setScriptExecutionDisabled", value=not scripts)
        page = self.directory / "page.html"
        page.write_text(to_html(run), encoding="utf-8")
        self.driver.get("about:blank")
        self.driver.get(f"{page.as_uri()}{hash_}")

    def media(self, media: str, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.emulate("setEmulatedMedia", media=media, features=features)

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def shown(self) -> list[str]:
        """List the titles of the comparisons that are shown, in their order."""
        return [e.text for e in self.all("details.subject:not([hidden]) > summary h3")]

    def roles(self) -> list[tuple[str, str]]:
        """List role and name of what a screen reader meets; Chromium makes that tree some time after the page."""
        from selenium.webdriver.support.ui import WebDriverWait

        def listed(driver: Any) -> list[tuple[str, str]]:
            nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
            met = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
            return met if len(met) > 1 else []  # the root alone: not made yet

        tree: list[tuple[str, str]] = WebDriverWait(self.driver, 60).until(listed)
        return tree

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    directory = tmp_path_factory.mktemp("chromium")
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (*QUIET.split(), f"--user-data-dir={directory / 'profile'}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield Browser(driver, directory)
    driver.quit()


# Widths and schemes


@pytest.mark.parametrize("width", [360, 390, 1440])
@pytest.mark.parametrize("make", [full_run, hostile_run, streamed_run], ids=["full", "hostile", "streamed"])
def test_the_page_does_not_scroll_sideways(make: Callable[[], Run], width: int, chromium: Browser) -> None:
    chromium.show(make(), width)
    chromium.run("for (const d of document.querySelectorAll('details')) d.open = true")

    assert chromium.run("return document.documentElement.scrollWidth") <= width
    assert chromium.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_all_text_has_contrast(width: int, scheme: str, chromium: Browser) -> None:
    chromium.show(full_run(), width, scheme)
    chromium.run("for (const d of document.querySelectorAll('details')) d.open = true")

    assert chromium.run(CONTRAST) == []


def test_the_scheme_is_the_readers(chromium: Browser) -> None:
    colours = []
    for scheme in ("light", "dark"):
        chromium.show(full_run(), scheme=scheme)
        colours.append(chromium.run("return getComputedStyle(document.body).backgroundColor"))

    assert colours == ["rgb(246, 247, 249)", "rgb(14, 19, 24)"]


def test_contrast_is_computed_at_all(chromium: Browser) -> None:
    chromium.show(full_run())
    chromium.run("document.querySelector('h1').style.color = '#cccccc'")

    assert [text for _, text in chromium.run(CONTRAST)] == ["Parity does not hold"]


# Names and roles


@pytest.mark.parametrize("make", [full_run, lambda: streamed_run(2)], ids=["full", "streamed"])
def test_every_control_has_a_name(make: Callable[[], Run], chromium: Browser) -> None:
    chromium.show(make())
    chromium.run("for (const d of document.querySelectorAll('details')) d.open = true")
    found = chromium.roles()
    controls = [(role, name) for role, name in found if role in CONTROLS]
    assert len({role for role, _ in controls}) >= 6
    assert [role for role, name in controls if not name.strip()] == []
    assert {"main", "banner", "contentinfo", "heading", "columnheader", "rowheader", "status"} <= {
        r for r, _ in found
    }


def test_the_matrix_is_a_table_on_a_phone_too(chromium: Browser) -> None:
    chromium.show(full_run(), 390)
    roles = [role for role, _ in chromium.roles()]

    assert "table" in roles
    assert roles.count("rowheader") >= 4


# Scripts


def test_comparisons_are_sorted(chromium: Browser) -> None:
    chromium.show(full_run())
    assert chromium.shown()[:3] == [
        "tiny by mlprogram on coreml-evaluator",
        "tiny by onnx-coreml on -",
        "flat by onnx on onnxruntime",
    ]

    chromium.run(
        "const s = document.querySelector('#order'); s.value = 'run'; s.dispatchEvent(new Event('change'))"
    )
    assert chromium.shown()[0] == "tiny by onnx on onnxruntime"
    chromium.run(
        "const s = document.querySelector('#order'); s.value = 'model'; s.dispatchEvent(new Event('change'))"
    )
    assert chromium.shown()[0] == "flat by onnx on onnxruntime"


def test_comparisons_are_filtered_by_words_and_verdicts(chromium: Browser) -> None:
    chromium.show(full_run())
    find = chromium.one("#find")

    find.send_keys("MLPROGRAM bgr")
    assert chromium.shown() == ["tiny by mlprogram on coreml-evaluator"]
    assert chromium.one("#shown").text == "1 of 6 shown"
    find.clear()
    find.send_keys("x")
    find.clear()
    find.send_keys(" ")
    for box in chromium.all('input[name="verdict"]'):
        if box.get_attribute("value") != "skipped":
            box.click()
    assert chromium.shown() == ["tiny by mlprogram on coreml-native"]


def test_images_are_sorted_by_their_columns(chromium: Browser) -> None:
    chromium.show(complete_run(1, 30))
    chromium.run("document.querySelector('details.list').open = true")
    head = chromium.one("table.cases.sortable thead th:nth-child(5)")
    rows = "[...document.querySelectorAll('table.sortable tbody tr')]"
    column = f"return {rows}.map((row) => Number(row.cells[4].textContent))"
    button = head.find_element("css selector", "button")

    assert head.get_attribute("aria-sort") == "none"
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert (values := chromium.run(column)) == sorted(values)
    assert len(values) == 30
    button.send_keys("\ue007")  # Enter
    assert head.get_attribute("aria-sort") == "descending"
    assert (values := chromium.run(column)) == sorted(values, reverse=True)
    chromium.one("table.cases.sortable thead th:nth-child(1) button").click()
    assert head.get_attribute("aria-sort") == "none"


def test_a_link_opens_what_it_leads_to(chromium: Browser) -> None:
    chromium.show(full_run())
    passed = chromium.one("#subject-1").find_element("xpath", "..")
    assert not passed.get_property("open")

    chromium.one('.matrix a[href="#subject-1"]').click()
    chromium.run("return new Promise((done) => requestAnimationFrame(done))")
    assert passed.get_property("open")
    chromium.show(full_run(), hash_="#subject-4")
    assert chromium.one("#subject-4").find_element("xpath", "..").get_property("open")


def test_all_can_be_opened_and_closed(chromium: Browser) -> None:
    chromium.show(full_run())
    count = "return document.querySelectorAll('details.subject[open]').length"

    chromium.one("#open").click()
    assert chromium.run(count) == 6
    chromium.one("#close").click()
    assert chromium.run(count) == 0


def test_one_comparison_needs_no_tools(chromium: Browser) -> None:
    chromium.show(run_of(subject()))

    assert not chromium.one("#tools").is_displayed()
    assert chromium.complaints() == []


# Keyboard


def test_the_keyboard_reaches_everything_and_shows_where_it_is(chromium: Browser) -> None:
    chromium.show(full_run())
    seen, outlines = [], set()
    for _ in range(60):
        chromium.driver.switch_to.active_element.send_keys("\ue004")  # Tab
        tag, name, width = chromium.run(
            "const e = document.activeElement; const s = getComputedStyle(e);"
            "const name = e.id || e.name || e.textContent.trim().slice(0, 30);"
            "return [e.tagName, name, s.outlineStyle + s.outlineWidth]"
        )
        if tag == "BODY":
            break
        seen.append(f"{tag} {name}")
        outlines.add(width)

    assert seen[0] == "A Skip to the comparisons"
    for control in ("INPUT find", "SELECT order", "INPUT verdict", "BUTTON open", "BUTTON close"):
        assert control in seen
    assert sum(one.startswith("SUMMARY") for one in seen) >= 6
    assert outlines == {"solid3px"}


# Without scripts, and on paper


def test_without_scripts_everything_is_there(chromium: Browser) -> None:
    chromium.show(full_run(), scripts=False)

    assert not chromium.one("#tools").is_displayed()
    assert len(chromium.shown()) == 6
    closed = chromium.one("details.subject:not([open])")
    closed.find_element("css selector", "summary").click()
    assert closed.find_element("css selector", ".facts").is_displayed()
    assert not chromium.all("th button")
    chromium.emulate("setScriptExecutionDisabled", value=False)


def test_on_paper_all_is_open_and_light(chromium: Browser) -> None:
    chromium.show(full_run(), scheme="dark")
    chromium.media("print", "dark")

    assert chromium.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heights = "return [...document.querySelectorAll('.subject .body')].map((e) => e.getBoundingClientRect().height)"
    assert min(chromium.run(heights)) > 20
    assert not chromium.one("#tools").is_displayed()


# Names are data, and nothing is asked for


def test_a_hostile_page_runs_nothing_and_asks_for_nothing(chromium: Browser) -> None:
    chromium.show(hostile_run())

    assert chromium.run("return document.scripts.length") == 1
    asked = chromium.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    assert chromium.complaints() == []
    assert "<script>alert(1)</script>" in chromium.one("h3").text


def test_the_policy_stops_what_is_not_the_pages_own(chromium: Browser) -> None:
    chromium.show(full_run())
    chromium.run(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"
        "const i = new Image(); i.src = 'https://example.invalid/x.png'; document.body.append(i)"
    )

    assert chromium.run("return window.broken ?? null") is None
    assert len([line for line in chromium.complaints() if "Content Security Policy" in line]) == 2


def test_pictures_are_shown(chromium: Browser) -> None:
    chromium.show(streamed_run())

    sizes = chromium.run("return [...document.images].map((i) => i.naturalWidth)")
    assert len(sizes) == 6
    assert min(sizes) > 0
